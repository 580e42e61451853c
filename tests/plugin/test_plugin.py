"""The plugin in suites that don't use it, and what it says of itself."""

import subprocess
import sys
from importlib import metadata

import pytest

from tests.plugin.conftest import LOAD, said


def test_loading_the_plugin_imports_nothing_heavy(tmp_path):
    script = (
        "import sys, pytest, pytest_ensemble.plugin\n"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'scipy', 'rich', 'threadpoolctl', 'maraboupy'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_suite_without_gates_loads_three_modules_of_us(pytester):
    """Each costs every suite half a millisecond."""
    pytester.makeconftest("""
        import sys
        def pytest_unconfigure():
            print("LOADED", sorted({"numpy", "onnx", "onnxruntime", "scipy"} & set(sys.modules)))
            print("LOADED", sorted(name for name in sys.modules if name.startswith("pytest_ensemble")))
    """)
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_subprocess(*LOAD)
    result.assert_outcomes(passed=1)
    assert "LOADED []" in said(result)
    ours = ["pytest_ensemble", "pytest_ensemble.plugin", "pytest_ensemble.plugin.options"]
    assert f"LOADED {ours}" in said(result)


def test_a_suite_without_gates_gets_no_output_and_no_files(pytester):
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_subprocess(*LOAD, "-p", "no:cacheprovider", "-s")
    result.assert_outcomes(passed=1)
    assert "ensemble" not in said(result).split("test session starts")[1].replace(str(pytester.path), "")
    of_pytester = {"__pycache__", "runpytest-0", "runpytest-current", "stdout", "stderr"}
    made = {path.name for path in pytester.path.iterdir()} - of_pytester
    assert made == {"test_a_suite_without_gates_gets_no_output_and_no_files.py"}


def test_pytest_finds_the_plugin_by_itself(pytester, monkeypatch):
    entries = [entry for entry in metadata.entry_points(group="pytest11") if entry.name == "ensemble"]
    if not entries:
        pytest.skip("pytest-ensemble is not installed")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    assert "--ensemble-pool" in said(pytester.runpytest_subprocess("--help"))


def test_ini_settings_say_nothing_where_no_test_uses_them(repo):
    repo.ini(pool="no/such/folder", data="missing.npz")
    repo.test(fixture="", body="pass")
    result = repo.run()
    result.assert_outcomes(passed=1)
    assert "ensemble gates" not in said(result)


def test_a_fixture_of_the_users_own_named_ensemble_is_theirs(repo):
    repo.conftest("import pytest\n@pytest.fixture\ndef ensemble(): return 7")
    repo.test(fixture="ensemble", body="assert ensemble == 7")
    result = repo.run()
    result.assert_outcomes(passed=1)
    assert "ensemble gates" not in said(result)


def test_markers_shows_full_signatures(repo):
    text = said(repo.run("--markers"))
    assert "@pytest.mark.ensemble(members=None, epsilon=..., points=200, label=None, bounds=None): " in text
    assert "@pytest.mark.ensemble_min_uniqueness(score, *, epsilon=None, confidence=None): " in text
    assert "@pytest.mark.ensemble_max_mutual_error(score, *, epsilon=None, confidence=None): " in text


def test_fixtures_shows_their_manuals(repo):
    text = said(repo.run("--fixtures", "-v"))
    for name in ("ensemble_pool", "ensemble_data", "ensemble_members", "ensemble", "ensemble_gate"):
        assert f"\n{name}" in text
    assert "return (x, y), or the path of an .npz" in text


def test_help_names_the_other_places_of_a_setting(repo):
    text = " ".join(said(repo.run("--help")).split())
    assert "--ensemble-engine=" in text
    assert "Also PYTEST_ENSEMBLE_ENGINE and ensemble_engine in the ini." in text
    assert "ensemble_epsilon (args)" in text
    assert "--ensemble-epsilon" not in text  # defaults of markers are no options
    assert "PYTEST_ENSEMBLE_POINTS" not in text
