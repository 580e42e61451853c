"""The pytest plugin: what every suite loads where it is installed. It imports neither numpy nor onnx.

Fixtures, and the hooks that notice whether a suite uses the plugin. Only then its state is made, and the rest
of the hooks is registered. Each module costs every suite half a millisecond: so these are one.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ensemble.plugin.options import MARKERS, SETTINGS, add_options

if TYPE_CHECKING:
    from pytest_ensemble.analysis.points import Data
    from pytest_ensemble.networks.pool import Pool
    from pytest_ensemble.plugin.failures import Failure
    from pytest_ensemble.plugin.gate import EnsembleGate
    from pytest_ensemble.plugin.markers import Marks
    from pytest_ensemble.plugin.state import State
    from pytest_ensemble.plugin.under_test import EnsembleUnderTest

GATE_FILE = "ensemble.toml"  # in the rootdir, if there is one

STATE: pytest.StashKey[State] = pytest.StashKey()
MARKS: pytest.StashKey[Marks] = pytest.StashKey()
CHECKED = pytest.StashKey[bool]()  # of an item: ensemble_gate.check() was called
NODES = pytest.StashKey[list[Any]]()  # workers of pytest-xdist that have not ended
BLOCKS = "ensemble_blocks"  # of a report: `Failure.blocks`
INCONCLUSIVE = "ensemble_inconclusive"  # of a report: `Failure.inconclusive`
FAILURE: pytest.StashKey[Failure] = pytest.StashKey()  # of an item


def state_of(config: pytest.Config) -> State:
    """The state of this process, made when it is first asked for.

    Raises:
        pytest.UsageError: a bad setting.
    """
    if STATE not in config.stash:
        from pytest_ensemble.plugin.baseline import read_baseline
        from pytest_ensemble.plugin.settings import read_settings
        from pytest_ensemble.plugin.state import State

        settings = read_settings(config)
        config.stash[STATE] = State(settings, read_baseline(settings))
        _add_hooks(config)
    return config.stash[STATE]


def _add_hooks(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin("ensemble-hooks"):
        from pytest_ensemble.plugin import hooks

        config.pluginmanager.register(hooks, "ensemble-hooks")


# --- hooks ------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini settings."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare markers; read the settings where any is given, so that bad ones are known at once."""
    for line in MARKERS.values():
        config.addinivalue_line("markers", line)
    if (
        any(value is not None for name, value in vars(config.option).items() if name.startswith("ensemble_"))
        or any(name.startswith("PYTEST_ENSEMBLE_") for name in os.environ)
        or any(config.getini(setting.ini) for setting in SETTINGS if not setting.option_only)
    ):
        state_of(config)
    if config.getoption("dist", "no") != "no" or hasattr(config, "workerinput"):
        _add_hooks(config)  # a controller does not see its workers' tests, but must take what they found
    if STATE in config.stash or (config.rootpath / GATE_FILE).is_file():
        from pytest_ensemble.plugin.gate_file import add_gate_file

        add_gate_file(config, state_of(config).settings)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the gate file."""
    known = file_path.name == GATE_FILE or STATE in parent.config.stash
    if file_path.suffix != ".toml" or not (known or parent.session.isinitpath(file_path)):
        return None
    from pytest_ensemble.plugin.gate_file import collect_gate_file

    return collect_gate_file(file_path, parent)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Bad marks are errors of the collection."""
    report = yield
    if not report.passed or not any(map(_concerns_us, report.result)):
        return report
    from pytest_ensemble.plugin.markers import check_collected

    return check_collected(report, collector, state_of(collector.config).settings, MARKS)


def _concerns_us(collected: pytest.Item | pytest.Collector) -> bool:
    return isinstance(collected, pytest.Item) and (
        "ensemble_gate" in getattr(collected, "fixturenames", ())
        or any(mark.name.startswith("ensemble") for mark in collected.iter_markers())
    )


# --- fixtures ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ensemble_pool(request: pytest.FixtureRequest) -> Pool:
    """The classifiers that ensembles are made of: a mapping from names to models.

    By default all ONNX files of --ensemble-pool. Override it in a conftest.py to take them from elsewhere;
    return a folder, a glob pattern, paths of ONNX files, models, or a pytest_ensemble.Pool. Relative paths
    start at pytest's rootdir:

        @pytest.fixture(scope="session")
        def ensemble_pool():
            return "artifacts/classifiers/*.onnx"
    """
    from pytest_ensemble.plugin.session import plain_failures, session_of

    with plain_failures():
        return session_of(request.config).default_pool()


@pytest.fixture(scope="session")
def ensemble_data(request: pytest.FixtureRequest) -> Data:
    """The labelled data that agreement points are taken from: `.x`, shape (m, ...), and `.y`, shape (m,).

    By default the arrays of --ensemble-data. Override it in a conftest.py to load or normalise the data as
    your models need it; return (x, y), or the path of an .npz with x and y:

        @pytest.fixture(scope="session")
        def ensemble_data():
            images, labels = load_validation_set()
            return (images - MEAN) / STD, labels
    """
    from pytest_ensemble.plugin.session import plain_failures, session_of

    with plain_failures():
        return session_of(request.config).default_data()


@pytest.fixture
def ensemble_members(request: pytest.FixtureRequest) -> tuple[str, ...] | None:
    """The names of this test's members; None for the whole pool.

    By default what the closest @pytest.mark.ensemble says. Override it in a conftest.py, a module or a
    class to take them from elsewhere, for example from the configuration of a release:

        @pytest.fixture
        def ensemble_members():
            return json.loads(Path("release.json").read_text())["members"]
    """
    marks = request.node.stash.get(MARKS, None)
    return None if marks is None or marks.ensemble is None else marks.ensemble.members


@pytest.fixture
def ensemble(
    request: pytest.FixtureRequest, ensemble_pool: Any, ensemble_data: Any, ensemble_members: Any
) -> EnsembleUnderTest:
    """The scores of the ensemble that the test's @pytest.mark.ensemble describes, to be tested by hand.

    .mutual_error(epsilon=)             {(a, b): Interval} of every pair, a < b
    .uniqueness(epsilon=)               {name: Interval} of every member
    .suggest(epsilon=)                  swaps that make the ensemble more unique
    .answer(pair, point, epsilon=)      the answer of one query, with its witness
    .members, .epsilons, .points        what it is about

    An Interval has .low and .high; they are equal if every query was decided. epsilon= may be left out if
    the mark has one. Queries are solved when a score is first asked for, each once in a session:

        @pytest.mark.ensemble(members=["m1", "m2", "m3"], epsilon=0.02)
        def test_m2_is_unique(ensemble):
            assert ensemble.uniqueness()["m2"].low >= 0.85
    """
    from pytest_ensemble.plugin.session import plain_failures, session_of
    from pytest_ensemble.plugin.setup import set_up

    with plain_failures():
        return set_up(
            request.node, session_of(request.config), ensemble_pool, ensemble_data, ensemble_members
        )


@pytest.fixture
def ensemble_gate(request: pytest.FixtureRequest, ensemble: EnsembleUnderTest) -> EnsembleGate:
    """The gates that the test, its class and its module are marked with; `.check()` enforces them.

    @pytest.mark.ensemble_min_uniqueness(score) and @pytest.mark.ensemble_max_mutual_error(score) must hold
    at every epsilon of @pytest.mark.ensemble, or at their own epsilon=. A test with gates that does not
    call check() fails:

        @pytest.mark.ensemble(members=["m1", "m2", "m3"], epsilon=[0.01, 0.02])
        @pytest.mark.ensemble_min_uniqueness(0.90)
        @pytest.mark.ensemble_max_mutual_error(0.15)
        def test_members_do_not_err_together(ensemble_gate):
            ensemble_gate.check()
    """
    from pytest_ensemble.plugin.gate import EnsembleGate
    from pytest_ensemble.plugin.session import session_of

    return EnsembleGate(request.node, session_of(request.config), ensemble)
