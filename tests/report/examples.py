"""Documents for tests of reports."""

from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.analysis.scores import Interval, pairs_of
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.entries import (
    Ensemble,
    Example,
    GateResult,
    Member,
    MutualError,
    PointSet,
    Queries,
    Suggestion,
    Uniqueness,
)

TEST = "tests/test_release.py::test_it"
ENSEMBLE = Ensemble("e1", (TEST,), ("m1", "m2", "m3"), ("m5",), (0.0, 1.0), "auto")
GATE = GateResult("e1", TEST, "min_uniqueness", 0.02, 0.9, Verdict.FAIL, "m2", 0.884, 0.884)


def document(*gates, members=("m1", "m2", "m3"), sat=None, unknown=None, points=100, swaps=1):
    """Scores of members at epsilon 0.02 from numbers of sat and unknown points by pair, default none."""
    tallies = {pair: ((sat or {}).get(pair, 0), (unknown or {}).get(pair, 0)) for pair in pairs_of(members)}
    errors = [
        MutualError("e1", 0.02, pair, s / points, (s + u) / points, s, points - s - u, u)
        for pair, (s, u) in tallies.items()
    ]
    scores = []
    for name in members:
        own = [tally for pair, tally in tallies.items() if name in pair]
        total = len(own) * points
        low = (total - sum(s + u for s, u in own)) / total
        scores.append(Uniqueness("e1", 0.02, name, low, (total - sum(s for s, _ in own)) / total))
    suggestions = [
        Suggestion(
            "e1", 0.02, f"m{2 + k}", f"m{5 + k}", Interval(0.9, 0.9), Interval(0.9, 0.95), 0.978, 0.979
        )
        for k in range(swaps)
    ]
    return Document.of(
        [
            Ensemble("e1", (TEST,), tuple(members), ("m5",), (0.0, 1.0), "auto"),
            *(Member("e1", name, f"{k:064x}", 0.97) for k, name in enumerate(members)),
            PointSet("e1", 3, 0, (0, 4, 7), "f" * 64),
            *errors,
            *scores,
            *(gates or [GATE]),
            *suggestions,
            Example("e1", 0.02, ("m2", "m3"), 17, 40, 0, {"m2": 6, "m3": 8}, 0.0125, 12, 64),
        ],
        Queries(300, 4, 290, {"timeout": 6}, {"auto": 300}, 1.25),
        {"numpy": "2.0"},
    )
