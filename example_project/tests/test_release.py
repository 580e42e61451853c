"""The gates of the release: `pytest --ensemble-pool models/`."""

import pytest

RELEASE = ["m02", "m04", "m05", "m08", "m09"]


@pytest.mark.ensemble(members=RELEASE)
@pytest.mark.ensemble_min_uniqueness(0.95)
@pytest.mark.ensemble_max_mutual_error(0.06)
def test_members_do_not_err_together(ensemble_gate):
    """Within 5% of the grey scale, no two members share more than a few errors."""
    ensemble_gate.check()


@pytest.mark.ensemble(members=RELEASE, epsilon=0.02, points=200)
def test_no_pair_shares_errors_near_the_data(ensemble):
    """Scores are there to be asked by hand, too: intervals, whose worst end must hold."""
    for score in ensemble.mutual_error(epsilon=0.02).values():
        assert score.high <= 0.02
