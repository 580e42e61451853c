"""Documents with everything that a page can show, and names that would break out of it."""

import dataclasses

import numpy as np

from pytest_ensemble.analysis.gates import Verdict
from pytest_ensemble.analysis.scores import Interval, pairs_of
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.entries import (
    Counterexample,
    Curve,
    Ensemble,
    GateResult,
    Member,
    MutualError,
    PointSet,
    Queries,
    Run,
    Stage,
    Suggestion,
    Uniqueness,
)

SCRIPT = "<script>alert(1)</script>"
NAMES = (SCRIPT, "</script><img src=x onerror=alert(2)>", "m`4|*x*|@team")
EPSILONS = (0.02, 0.05)
POINTS = 50


def ensemble(key="e1", test="tests/test_release.py::test_it", names=NAMES, shape=(8, 8), seed=0):
    """The entries of one ensemble; mutual errors grow with the number of the pair, some are undecided."""
    rng = np.random.default_rng(seed)
    members = tuple(sorted(names))
    yield Ensemble(key, (test,), members, ("m5",), (0.0, 1.0), "auto")
    yield from (Member(key, name, f"{k:064x}", 0.9 + k / 100) for k, name in enumerate((*members, "m5")))
    yield PointSet(key, POINTS, None, tuple(range(POINTS)), "f" * 64)
    for k, pair in enumerate(pairs_of(members)):
        witnessed = tuple(sorted([0.015] * k + [0.04] * (2 * k)))
        unknown = k % 2
        proven = (0.02,) * (2 * k + unknown) + (0.05,) * (POINTS - 3 * k - unknown)
        curve = Curve(key, pair, POINTS, witnessed, proven)
        yield curve
        for epsilon in EPSILONS:
            score = curve.at(epsilon)
            sat, unsat = round(score.low * POINTS), round((1 - score.high) * POINTS)
            yield MutualError(key, epsilon, pair, score.low, score.high, sat, unsat, POINTS - sat - unsat)
        x = np.round(rng.random(int(np.prod(shape))), 3)
        change = np.round(rng.uniform(-0.04, 0.04, x.size), 3)
        says = {name: 3 if name in pair else 7 for name in members}
        scores = {name: tuple(map(float, range(10))) for name in members}
        witness = tuple(x + change)
        yield Counterexample(key, pair, k, k, 7, 0.04, shape, tuple(x), witness, says, scores)
    for epsilon in EPSILONS:
        for k, name in enumerate(members):
            yield Uniqueness(key, epsilon, name, 0.8 + k / 20, 0.82 + k / 20)
    worst = pairs_of(members)[-1]
    yield GateResult(key, test, "max_mutual_error", 0.05, 0.1, Verdict.FAIL, "~".join(worst), 0.12, 0.12)
    yield GateResult(
        key,
        test,
        "min_uniqueness",
        0.05,
        0.81,
        Verdict.INCONCLUSIVE,
        members[0],
        0.8,
        0.82,
        {"timeout": 1},
        True,
    )
    yield GateResult(key, test, "max_mutual_error", 0.02, 0.1, Verdict.PASS, "~".join(worst), 0.04, 0.04)
    yield Suggestion(key, 0.05, members[0], "m5", Interval(0.8, 0.82), Interval(0.9, 0.95), 0.978, 0.979)


def page(shapes=((8, 8), (30,))):
    """A document with an ensemble for each shape of inputs."""
    entries = [
        entry
        for k, shape in enumerate(shapes)
        for entry in ensemble(f"e{k}", f"tests/test_{'ab'[k]}.py::{SCRIPT}", shape=shape, seed=k)
    ]
    stages = (Stage("native", "bounds", 280, 1.5), Stage("marabou", "solve", 20, 0.5))
    return Document.of(
        entries,
        Queries(300, 4, 290, {"timeout": 6}, {"native": 280, "marabou": 20}, 2.0, stages),
        {"numpy": "2.0", "python": "3.11"},
        notes=(f"A note of {SCRIPT}.",),
        run=Run(f"pytest '{SCRIPT}'", {"--ensemble-pool": SCRIPT}),
    )


def large(count):
    """One ensemble of many members, with all that is kept of each pair."""
    names = tuple(f"m{k:03}" for k in range(count))
    rng = np.random.default_rng(0)
    entries = []
    for entry in ensemble(names=names[:2], shape=(3, 32, 32)):
        if isinstance(entry, Ensemble):
            entries.append(dataclasses.replace(entry, members=names))
        elif not isinstance(entry, (Curve, MutualError)):
            entries.append(entry)
    for pair in pairs_of(names):
        witnessed = tuple(sorted(map(float, rng.uniform(0, 0.05, 60))))
        curve = Curve("e1", pair, 200, witnessed, tuple(sorted(map(float, rng.uniform(0, 0.05, 120)))))
        score = curve.at(0.05)
        entries += [curve, MutualError("e1", 0.05, pair, score.low, score.high, 60, 0, 140)]
    return Document.of(entries)
