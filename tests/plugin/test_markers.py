"""The marker `ensemble`, and what is wrong with marks: errors of the collection."""

import pytest

from tests.plugin.conftest import MEMBERS, said, stopped

GOOD = f"ensemble(members={MEMBERS}, epsilon=0.1)"


def refused(result, *parts):
    """Whether the collection failed with one message that has these parts."""
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=1)
    assert stopped(result, "ERROR collecting", "tests/test_release.py::test_it: ", *parts)
    return True


@pytest.mark.parametrize(
    ("mark", "parts"),
    [
        ("ensemble(epsilons=0.1)", ["no argument 'epsilons'", "Did you mean 'epsilon'?", "Valid: bounds, "]),
        (
            "ensemble(None, 0.1, 5, None, None, 3)",
            ["too many positional arguments", "Its signature: ensemble("],
        ),
        ("ensemble(epsilon=-0.1)", ["epsilon must be a finite number >= 0, or several; got -0.1"]),
        ("ensemble(epsilon=[0.1, -1])", ["got -1"]),
        ("ensemble(epsilon='0.1')", ["got '0.1'"]),
        ("ensemble(epsilon=True)", ["got True"]),
        ("ensemble(epsilon=float('nan'))", ["got nan"]),
        ("ensemble(epsilon=float('inf'))", ["got inf"]),
        ("ensemble(epsilon=[])", ["epsilon must be a number or several; got none"]),
        ("ensemble(epsilon=None)", ["got None"]),
        ("ensemble()", ["epsilon is missing", "ensemble_epsilon in the ini"]),
        ("ensemble", ["epsilon is missing"]),
        ("ensemble('m1', 0.1)", ["members must be a list of names; got the text 'm1'", "Write ['m1', ...]"]),
        ("ensemble(['m1'], 0.1)", ["at least two networks; got 1"]),
        ("ensemble(['m1', 'm1'], 0.1)", ["members has 'm1' twice"]),
        ("ensemble([1, 2], 0.1)", ["members must be a list of names, or None"]),
        ("ensemble(epsilon=0.1, points=0)", ["points must be a whole number >= 1, or 'all'; got 0"]),
        ("ensemble(epsilon=0.1, points=2.5)", ["got 2.5"]),
        ("ensemble(epsilon=0.1, points='every')", ["got 'every'"]),
        ("ensemble(epsilon=0.1, label='worst')", ["label must be None, a class", "'best'; got 'worst'"]),
        ("ensemble(epsilon=0.1, label=-1)", ["got -1"]),
        ("ensemble(epsilon=0.1, bounds=(1, 0))", ["bounds must have low <= high"]),
        ("ensemble(epsilon=0.1, bounds=1)", ["bounds must be (low, high)"]),
        ("ensemble(epsilon=0.1, bounds=(0, float('nan')))", ["bounds must have low <= high"]),
        (f"{GOOD}\nensemble_min_uniqueness()", ["missing a required argument: 'score'"]),
        (f"{GOOD}\nensemble_min_uniqueness(1.5)", ["score must be a number between 0 and 1; got 1.5"]),
        (f"{GOOD}\nensemble_min_uniqueness(90)", ["between 0 and 1; got 90"]),
        (f"{GOOD}\nensemble_min_uniqueness('0.9')", ["got '0.9'"]),
        (f"{GOOD}\nensemble_min_uniqueness(float('nan'))", ["got nan"]),
        (f"{GOOD}\nensemble_min_uniqueness(True)", ["got True"]),
        (f"{GOOD}\nensemble_min_uniqueness(0.9, 0.1)", ["too many positional arguments"]),
        (f"{GOOD}\nensemble_max_mutual_error(0.9, epsilon=-1)", ["got -1"]),
        (f"{GOOD}\nensemble_max_mutual_error(0.9, eps=1)", ["no argument 'eps'", "Did you mean 'epsilon'?"]),
    ],
)
def test_bad_arguments(repo, mark, parts):
    repo.test(mark if "\n" in mark else f"{mark}\nensemble_min_uniqueness(0.9)")
    assert refused(repo.run(), f"@pytest.mark.{mark.split(chr(10))[-1].partition('(')[0]}", *parts)


def test_misspelled_marker(repo):
    repo.test(f"{GOOD}\nensemble_min_uniquenes(0.9)\nensemble_max_mutual_error(0.9)")
    assert refused(
        repo.run("-Wignore::pytest.PytestUnknownMarkWarning"),
        "There is no marker 'ensemble_min_uniquenes'. Did you mean 'ensemble_min_uniqueness'?",
    )


def test_markers_that_the_user_registered_are_theirs(repo):
    repo.pytester.makeini("[pytest]\nmarkers =\n  ensemble_slow(why): takes long")
    repo.test("ensemble_slow('x')", fixture="", body="pass")
    repo.run("--strict-markers").assert_outcomes(passed=1)


def test_gate_without_ensemble(repo):
    repo.test("ensemble_min_uniqueness(0.9)")
    assert refused(
        repo.run(), "a gate without an ensemble", "@pytest.mark.ensemble(members=[...], epsilon=...)"
    )


def test_gate_without_the_fixture(repo):
    repo.test(f"{GOOD}\nensemble_min_uniqueness(0.9)", fixture="ensemble", body="pass")
    assert refused(repo.run(), "ensemble_min_uniqueness", "call ensemble_gate.check() in it")


def test_the_fixture_without_a_gate(repo):
    repo.test(GOOD)
    assert refused(repo.run(), "no gate is declared", "@pytest.mark.ensemble_min_uniqueness(score)")


def test_all_bad_tests_of_a_file_are_named_at_once(repo):
    repo.test(GOOD, name="test_it")
    repo.test("ensemble_min_uniqueness(0.9)", name="test_other")
    assert refused(repo.run(), "test_release.py::test_other: ")


def test_bad_marks_under_xdist(repo):
    repo.test("ensemble(epsilon=-0.1)\nensemble_min_uniqueness(0.9)")
    result = repo.run("-n2", subprocess=True)
    assert result.ret != 0
    assert stopped(result, "epsilon must be a finite number >= 0, or several; got -0.1")


# --- what good marks mean -------------------------------------------------------------------------


def about(repo, mark, check):
    """Run a test of the fixture `ensemble`."""
    repo.test(mark, fixture="ensemble", body=check)
    result = repo.run()
    result.assert_outcomes(passed=1)
    return said(result)


def test_defaults(repo):
    repo.ini(points=None)
    repo.test("ensemble(epsilon=0.1)", fixture="ensemble", body="pass")
    assert "200 agreement points were asked for" in said(repo.run())


def test_defaults_of_the_ini(repo):
    repo.ini(points=7, epsilon="0.1, 0.01", bounds="-1 1")
    about(repo, "ensemble", "assert ensemble.epsilons == (0.01, 0.1) and len(ensemble.points) == 7")


def test_marks_beat_the_ini(repo):
    repo.ini(points=7, epsilon="0.1, 0.01")
    about(
        repo,
        "ensemble(epsilon=0.5, points=3)",
        "assert ensemble.epsilons == (0.5,) and len(ensemble.points) == 3",
    )


def test_members_none_is_the_whole_pool(repo):
    about(repo, "ensemble(epsilon=0.1)", "assert ensemble.members == ('m1', 'm2', 'm3', 'm4', 'm5')")


def test_members_keep_their_order(repo):
    about(repo, "ensemble(['m4', 'm1'], 0.1)", "assert ensemble.members == ('m4', 'm1')")


def test_points_all(repo):
    about(repo, "ensemble(epsilon=0.1, points='all')", "assert len(ensemble.points) == 20")


def test_label(repo):
    about(
        repo,
        "ensemble(epsilon=0.1, points='all', label=1)",
        "assert ensemble.points.labels.tolist() == [1] * 10",
    )


def test_label_best(repo):
    """The rows on which a model errs are all of class 1."""
    about(repo, "ensemble(epsilon=0.1, points=5, label='best')", "assert set(ensemble.points.labels) == {0}")


def test_bounds_clip_the_balls(repo):
    """With inputs above 0.01 only, no model errs at a point of label 1."""
    check = "assert ensemble.mutual_error()['m2', 'm3'].low == {}"
    about(repo, "ensemble(epsilon=0.1, label=1, points='all')", check.format("0.4"))
    (repo.path / "tests" / "test_release.py").unlink()
    about(repo, "ensemble(epsilon=0.1, label=1, points='all', bounds=(0.01, 1))", check.format("0.0"))


def test_bounds_of_arrays(repo):
    mark = "ensemble(epsilon=0.1, label=1, points='all', bounds=([{}] * 5, [1] * 5))"
    about(repo, mark.format("0.01"), "assert ensemble.mutual_error()['m2', 'm3'].high == 0")


def test_bounds_that_do_not_fit_the_pool(repo):
    repo.test("ensemble(epsilon=0.1, bounds=([0] * 4, [1] * 4))", fixture="ensemble", body="pass")
    result = repo.run()
    result.assert_outcomes(errors=1)
    assert stopped(result, "each a number or an array of 5 numbers")


def test_points_outside_the_bounds(repo):
    repo.gate("min_uniqueness(0.5)", more=", bounds=(0, 1)")
    result = repo.run()
    result.assert_outcomes(errors=1)
    assert stopped(result, "The point lies outside the bounds", "Is the data scaled as they say?")


def test_label_that_is_no_class(repo):
    repo.test("ensemble(epsilon=0.1, label=7)", fixture="ensemble", body="pass")
    result = repo.run()
    result.assert_outcomes(errors=1)
    assert stopped(result, "label 7 is not a class of the models, 0..1")


def test_unknown_member(repo):
    repo.test("ensemble(['m1', 'm22'], 0.1)", fixture="ensemble", body="pass")
    result = repo.run()
    result.assert_outcomes(errors=1)
    assert stopped(result, "'m22' is not in the pool. Did you mean 'm2'? Valid: m1, m2, m3, m4, m5.")


def test_marks_of_classes_and_modules(repo):
    """The closest ensemble counts, and every gate."""
    (repo.path / "test_classes.py").write_text(f"""
import pytest

pytestmark = [pytest.mark.{GOOD}, pytest.mark.ensemble_min_uniqueness(0.81)]

@pytest.mark.ensemble_max_mutual_error(0.39)
class TestAll:
    def test_outer(self, ensemble_gate):
        ensemble_gate.check()

    @pytest.mark.ensemble(["m1", "m4"], 0.01)
    @pytest.mark.ensemble_min_uniqueness(0.99)
    def test_inner(self, ensemble_gate):
        ensemble_gate.check()
""")
    result = repo.run()
    result.assert_outcomes(passed=1, failed=1)
    text = said(result)
    for line in (
        "FAIL          {}outer  uniqueness at epsilon 0.1: m2 0.800 < 0.810",
        "FAIL          {}outer  mutual error at epsilon 0.1: m2~m3 0.400 > 0.390",
        "pass          {}inner  uniqueness at epsilon 0.01: m1 1.000 >= 0.990",
        "pass          {}inner  uniqueness at epsilon 0.01: m1 1.000 >= 0.810",
        "pass          {}inner  mutual error at epsilon 0.01: m1~m4 0.000 <= 0.390",
    ):
        assert line.format("test_classes.py::TestAll::test_") in text, text


LATE = {
    "collected": "def pytest_itemcollected(item): item.add_marker(MARK)",
    "modified": "def pytest_collection_modifyitems(items): [item.add_marker(MARK) for item in items]",
    "fixture": "@pytest.fixture(autouse=True)\ndef late(request): request.node.add_marker(MARK)",
}


@pytest.mark.parametrize("how", LATE)
def test_gates_that_are_added_later_are_checked_or_fail(repo, how):
    repo.conftest(f"import pytest\nMARK = pytest.mark.ensemble_max_mutual_error(0.0)\n{LATE[how]}\n")
    repo.gate("min_uniqueness(0.1)")
    result = repo.run()
    result.assert_outcomes(failed=1)
    late = "Gates were added to this test while it ran"
    assert (late if how == "fixture" else "mutual error 0.400 > 0.000") in said(result)


def test_a_gate_that_fails_fails_a_test_that_goes_on(repo):
    repo.test(
        f"ensemble({MEMBERS}, 0.1)\nensemble_min_uniqueness(1)",
        body="try:\n        ensemble_gate.check()\n    except BaseException:\n        pass",
    )
    result = repo.run()
    result.assert_outcomes(failed=1)
    assert "release: m2 uniqueness 0.800 < 1.000" in said(result)
