"""The fixtures: what `ensemble` offers, what is shared, and what overriding them may give."""

import pytest

from tests.plugin.conftest import MEMBERS, said, stopped

GOOD = f"ensemble({MEMBERS}, 0.1)"
BOTH = f"ensemble({MEMBERS}, [0.1, 0.01])"


@pytest.mark.parametrize(
    "check",
    [
        "assert ensemble.uniqueness()['m1'].low == ensemble.uniqueness(epsilon=0.1)['m1'].high == 52 / 60",
        "assert ensemble.uniqueness(epsilon=0.01)['m2'].low == 1",
        "assert ensemble.mutual_error()['m2', 'm3'].exact and ensemble.mutual_error()['m2', 'm3'].low == 0.4",
        "assert [(s.out, s.into) for s in ensemble.suggest()] == [('m2', 'm5')]",
        "assert ensemble.suggest(epsilon=0.01) == []",
        "assert ensemble.answer(('m3', 'm2'), 0).outcome == 'sat'",
        "assert ensemble.answer(('m2', 'm3'), 0).witness.shape == (5,)",
        "assert ensemble.answer(('m2', 'm3'), 0, epsilon=0.01).outcome == 'unsat'",
        "assert ensemble.points.indices.tolist() == list(range(20))",
    ],
)
def test_scores_by_hand(repo, check):
    repo.test(GOOD, fixture="ensemble", body=check)
    repo.run().assert_outcomes(passed=1)


def test_epsilon_must_be_said_if_the_mark_has_several(repo):
    repo.test(BOTH, fixture="ensemble", body="ensemble.uniqueness()")
    result = repo.run()
    result.assert_outcomes(failed=1)
    assert "Say which epsilon=; the ensemble mark has several: 0.01, 0.1." in said(result)


def test_scores_by_hand_are_in_the_summary_as_queries(repo):
    repo.test(GOOD, fixture="ensemble", body="ensemble.uniqueness()")
    assert "120 queries: 16 sat, 104 unsat, 0 unknown, by auto-1 120" in said(repo.run())


def test_the_fixture_needs_a_mark(repo):
    repo.test(fixture="ensemble", body="pass")
    result = repo.run()
    result.assert_outcomes(errors=1)
    assert stopped(result, "The fixture ensemble needs a mark that says which")


def test_no_query_is_solved_twice_in_a_session(repo):
    repo.gate("min_uniqueness(0.9)", "max_mutual_error(0.3)", name="test_a")
    repo.gate("min_uniqueness(0.5)", name="test_b")
    repo.test(BOTH, fixture="ensemble", body="ensemble.uniqueness(epsilon=0.1)", name="test_c")
    repo.test("ensemble(['m2', 'm3'], 0.1)", fixture="ensemble", body="ensemble.uniqueness()", name="test_d")
    repo.run().assert_outcomes(passed=3, failed=1)
    queries = repo.queries()
    assert len(queries) == len(set(queries))
    assert len(queries) >= 120


def test_nothing_is_solved_for_a_test_that_asks_nothing(repo):
    repo.test(GOOD, fixture="ensemble", body="ensemble.members, ensemble.points")
    repo.run().assert_outcomes(passed=1)
    assert repo.queries() == []


def test_engines_are_closed_at_the_end(repo):
    repo.gate("min_uniqueness(0.9)")
    assert not (repo.path / "closed.log").exists()
    repo.run().assert_outcomes(failed=1)
    assert (repo.path / "closed.log").exists()


# --- overriding -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "'pool'",
        "'pool/*.onnx'",
        "pathlib.Path('pool')",
        "pathlib.Path(__file__).parent / 'pool'",
        "sorted(pathlib.Path('pool').glob('*'))",
        "(f'pool/m{k}.onnx' for k in range(1, 5))",
        "[Model.load(f'pool/m{k}.onnx') for k in range(1, 5)]",
        "Pool.load('pool')",
    ],
)
@pytest.mark.parametrize("scope", ["session", "function"])
def test_pool(repo, value, scope):
    (repo.path / "models").rename(repo.path / "pool")
    (repo.path / "pool" / "m5.onnx").unlink()
    repo.ini(pool=None)
    repo.conftest(f"""
        import pathlib, pytest
        from pytest_ensemble import Model, Pool

        @pytest.fixture(scope={scope!r})
        def ensemble_pool():
            return {value}
    """)
    check = "assert ensemble.members == ('m1', 'm2', 'm3', 'm4')"
    repo.test("ensemble(epsilon=0.1)", fixture="ensemble", body=check)
    repo.test("ensemble(epsilon=0.1)", fixture="ensemble", body=check, name="test_again")
    repo.run().assert_outcomes(passed=2)


@pytest.mark.parametrize(
    "value", ["(x, y)", "[x, y]", "'rows.npz'", "(x.tolist(), y)", "load_data('rows.npz')"]
)
def test_data(repo, value):
    repo.ini(data=None)
    repo.conftest(f"""
        import numpy, pytest
        from pytest_ensemble.analysis.points import load_data

        @pytest.fixture
        def ensemble_data():
            with numpy.load("data.npz") as data:
                x, y = data["x"][:20:2], data["y"][:20:2]
            numpy.savez("rows.npz", x=x, y=y)
            return {value}
    """)
    repo.test(
        "ensemble(epsilon=0.1, points='all')", fixture="ensemble", body="assert len(ensemble.points) == 10"
    )
    repo.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("value", "members"), [("('m3', 'm1')", ("m3", "m1")), ("None", ["m1", "m2", "m3", "m4", "m5"])]
)
def test_members(repo, value, members):
    repo.conftest(f"import pytest\n@pytest.fixture\ndef ensemble_members(): return {value}")
    repo.test(GOOD, fixture="ensemble", body=f"assert ensemble.members == {tuple(members)}")
    repo.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("fixture", "value", "part"),
    [
        ("pool", "7", "must give a Pool, a folder or glob pattern, or models and paths; it gave int."),
        ("pool", "[7]", "must give a Pool"),
        ("pool", "'nowhere'", "No model found at"),
        ("pool", "['nowhere.onnx']", "nowhere.onnx: can't be read"),
        ("pool", "[]", "A pool needs at least one model."),
        ("data", "7", "must give (x, y), a Data, or the path of an .npz; it gave int."),
        ("data", "([[0.0]], [0, 1])", "x must have shape (m, ...) and y (m,)"),
        ("data", "'nowhere.npz'", "no such file"),
        ("members", "'m1'", "must give names, or None; it gave 'm1'."),
        ("members", "['m1', 'x']", "'x' is not in the pool."),
        ("members", "['m1']", "at least two members; got 1"),
    ],
)
def test_bad_values_of_overriding_fixtures(repo, fixture, value, part):
    repo.conftest(f"import pytest\n@pytest.fixture\ndef ensemble_{fixture}(): return {value}")
    repo.gate("min_uniqueness(0.9)")
    result = repo.run()
    result.assert_outcomes(errors=1)
    assert stopped(result, part)


def test_pools_of_equal_content_share_their_queries(repo):
    repo.conftest("""
        import pytest
        from pytest_ensemble import Pool
        @pytest.fixture
        def ensemble_pool(): return Pool.load("models")
    """)
    repo.gate("min_uniqueness(0.5)", name="test_a")
    repo.gate("min_uniqueness(0.5)", name="test_b")
    repo.run().assert_outcomes(passed=2)
    assert len(repo.queries()) == 120
