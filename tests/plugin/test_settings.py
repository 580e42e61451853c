"""Where settings come from, what bad ones say, and that files are found from where they are named."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_ensemble.engines import ENGINES
from pytest_ensemble.plugin import options, session
from pytest_ensemble.plugin.values import VALUES
from pytest_ensemble.report.write import FORMATS
from tests.plugin.conftest import said, stopped


@pytest.fixture
def gated(repo):
    repo.gate("min_uniqueness(0.7)")
    return repo


def test_command_line_beats_environment_beats_ini_beats_default(gated):
    def engine(*arguments):
        return said(gated.run(*arguments)).partition(", by ")[2].split()[0]

    assert engine() == "auto-1"
    gated.ini(jobs=2)
    assert engine() == "auto-2"
    gated.monkeypatch.setenv("PYTEST_ENSEMBLE_JOBS", "3")
    assert engine() == "auto-3"
    assert engine("--ensemble-jobs=4") == "auto-4"


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("engine", "marabu", ["Did you mean 'marabou'?", "Valid: auto, marabou"]),
        ("timeout", "-3", ["a number > 0", "'none'"]),
        ("timeout", "soon", ["is not a number of seconds"]),
        ("timeout", "nan", ["is not a number of seconds"]),
        ("timeout", "inf", ["is not a number of seconds"]),
        ("budget", "0", ["is not a number of seconds"]),
        ("jobs", "0", ["a whole number >= 1, or 'auto'"]),
        ("jobs", "many", ["a whole number >= 1, or 'auto'"]),
        ("suggest", "allways", ["Did you mean 'always'?", "Valid: always, failing, never"]),
        ("inconclusive", "pass", ["Valid: fail, warn"]),
        ("progress", "loud", ["Valid: auto, off"]),
        ("report", "x.jsn", ["has no known suffix", "Did you mean '.json'?"]),
        ("report", "nowhere/x.json", ["there is no folder", "nowhere"]),
    ],
)
def test_a_bad_value_stops_pytest_and_says_where_it_came_from(gated, name, value, parts):
    result = gated.run(f"--ensemble-{name}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert stopped(result, f"--ensemble-{name}: {value!r}", *parts)

    gated.monkeypatch.setenv(f"PYTEST_ENSEMBLE_{name.upper()}", value)
    result = gated.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert stopped(result, f"environment variable PYTEST_ENSEMBLE_{name.upper()}: {value!r}", *parts)

    gated.monkeypatch.delenv(f"PYTEST_ENSEMBLE_{name.upper()}")
    gated.ini(**{name: value})
    result = gated.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert stopped(result, f"ensemble_{name} in tox.ini: {value!r}", *parts)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("points", "0", "a whole number >= 1, or 'all'"),
        ("bounds", "1, 0", "two numbers, low and high"),
        ("bounds", "0 1 2", "two numbers, low and high"),
        ("epsilon", "-0.1", "finite numbers >= 0"),
        ("epsilon", "0.1, big", "finite numbers >= 0"),
    ],
)
def test_a_bad_default_of_markers_in_the_ini(gated, name, value, part):
    gated.ini(**{name: value})
    result = gated.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert stopped(result, f"ensemble_{name} in tox.ini: {value!r}", part)


def test_no_option_sets_a_threshold_or_what_gates_are_asked_on(gated):
    for option in ("min-uniqueness", "max-mutual-error", "points", "bounds", "epsilon"):
        result = gated.run(f"--ensemble-{option}=0.5")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "unrecognized arguments" in said(result)


def test_environment_and_command_line_paths_start_where_pytest_is_called(gated):
    gated.ini(pool=None, data=None)
    (gated.path / "models").rename(gated.path / "tests" / "pool")
    (gated.path / "data.npz").rename(gated.path / "tests" / "labelled.npz")
    gated.monkeypatch.chdir(gated.path / "tests")
    gated.monkeypatch.setenv("PYTEST_ENSEMBLE_DATA", "labelled.npz")
    result = gated.run("--ensemble-pool=pool")
    result.assert_outcomes(passed=1)


def test_ini_paths_start_at_the_ini(gated):
    gated.monkeypatch.chdir(gated.path / "tests")
    gated.run().assert_outcomes(passed=1)


def test_timeout_reaches_the_engine(gated):
    gated.ini(cache="off")
    gated.run()
    assert {entry[-1] for entry in gated.queries()} == {"60.0"}
    (gated.path / "queries.log").unlink()
    gated.run("--ensemble-timeout=2.5")
    assert {entry[-1] for entry in gated.queries()} == {"2.5"}
    (gated.path / "queries.log").unlink()
    gated.run("--ensemble-timeout=none")
    assert {entry[-1] for entry in gated.queries()} == {"None"}


def test_a_spent_budget_is_inconclusive_not_a_pass(gated):
    result = gated.run("--ensemble-budget=1e-9")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"inconclusive": 1}
    assert "release: inconclusive: " in said(result)
    assert "(120 undecided: 120 unasked)" in said(result)
    assert "--ensemble-budget was spent before their turn; raise it" in said(result)


def test_the_budget_is_that_of_all_tests_together(monkeypatch):
    clock = iter([100.0, 107.0, 200.0, 201.0, 300.0, 350.0, 400.0, 401.0])
    monkeypatch.setattr(session.time, "monotonic", lambda: next(clock))
    shared = session.Session(SimpleNamespace(budget=10.0), Path(), [])
    analysis = SimpleNamespace(deadline=None)
    deadlines = []
    for _ in range(4):
        with shared.solving(analysis):
            deadlines.append(analysis.deadline)
        assert analysis.deadline is None
    assert deadlines == [110.0, 203.0, 302.0, 400.0]


def test_jobs_auto_is_a_number_of_cores(gated):
    text = said(gated.run("--ensemble-jobs=auto"))
    assert int(text.partition("by auto-")[2].split()[0]) >= 1


def test_jobs_auto_is_shared_by_the_workers_of_xdist(monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    alone = VALUES["jobs"]("auto", Path())
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(alone))
    assert VALUES["jobs"]("auto", Path()) == 1
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(alone + 1))
    assert VALUES["jobs"]("auto", Path()) == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("2 GiB", 2 << 30), ("1.5G", 3 << 29), ("800", 800 << 20), ("900 mb", 900 << 20), ("none", None)],
)
def test_sizes_of_memory(text, size):
    assert VALUES["memory"](text, Path()) == size


@pytest.mark.parametrize("text", ["lots", "-2 GiB", "1.2.3 GiB", "100 MiB", "2 XB", "0", "9" * 30])
def test_bad_sizes_of_memory_are_refused(gated, text):
    gated.ini(memory=text)
    assert stopped(gated.run(), "ensemble_memory in ", f"{text!r} is not a size of memory", "512 MiB or more")


def test_names_beside_the_options_are_those_of_engines_and_formats():
    settings = {setting.name: setting for setting in options.SETTINGS}
    assert settings["engine"].value == ENGINES
    assert f"Suffixes: {', '.join(FORMATS)}." in settings["report"].help


def test_every_setting_has_a_value_that_is_read():
    kinds = {setting.value for setting in options.SETTINGS if isinstance(setting.value, str)}
    assert kinds == set(VALUES)
