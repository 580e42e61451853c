"""The fixtures. Their implementation is imported when a test first uses one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_ensemble.analysis.points import Data
    from pytest_ensemble.networks.pool import Pool
    from pytest_ensemble.plugin.gate import EnsembleGate
    from pytest_ensemble.plugin.under_test import EnsembleUnderTest

__all__ = ["ensemble", "ensemble_data", "ensemble_gate", "ensemble_members", "ensemble_pool"]


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
    from pytest_ensemble.plugin.keys import MARKS

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
