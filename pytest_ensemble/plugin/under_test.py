"""`EnsembleUnderTest`: what the fixture `ensemble` gives, the scores of one test's ensemble."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pytest_ensemble.analysis.analysis import UNASKED
from pytest_ensemble.analysis.gates import Gate, certain, scores_of
from pytest_ensemble.analysis.points import Points
from pytest_ensemble.analysis.scores import Interval, Pair, Tally, pairs_of, uniqueness
from pytest_ensemble.analysis.selection import Swap
from pytest_ensemble.analysis.statistics import Sample
from pytest_ensemble.errors import QueryError
from pytest_ensemble.plugin import exhibits
from pytest_ensemble.plugin.session import Session, Subject, digest, plain_bounds
from pytest_ensemble.queries.answer import Answer
from pytest_ensemble.report import entries

__all__ = ["EnsembleUnderTest"]


class EnsembleUnderTest:
    """Scores of the members that a test's `ensemble` mark names, around its agreement points.

    Nothing is solved before it is asked for, and nothing twice in a session. Wherever `epsilon` is an
    argument it may be left out if the mark has exactly one.

    Attributes:
        members: names, in the order of the mark.
        epsilons: radii of the mark, ascending.
        points: the agreement points; `len(ensemble.points)`, `.labels`, `.indices`.
    """

    def __init__(
        self, session: Session, subject: Subject, members: Sequence[str], epsilons: Sequence[float], test: str
    ) -> None:
        """Use the fixture `ensemble` instead.

        Raises:
            QueryError: an unknown member, or fewer than two.
        """
        self._session = session
        self._analysis = subject.analysis
        self.members = self._analysis.pool.select(members)
        if len(self.members) < 2:
            raise QueryError(f"An ensemble needs at least two members; got {len(self.members)}.")
        self.epsilons = tuple(epsilons)
        self._test = test
        self.key = digest([subject.key, self.members])[:12]
        self._entries = session.entries
        self._tallied: dict[float, dict[Pair, Tally]] = {}  # as they are in the report
        self._describe(subject, test)

    @property
    def sample(self) -> Sample:
        """How much stands behind the scores."""
        return Sample(len(self.points), len(self.members) - 1)

    @property
    def points(self) -> Points:
        """The agreement points."""
        return self._analysis.points

    def mutual_error(self, *, epsilon: float | None = None) -> dict[Pair, Interval]:
        """Mutual error score of every pair of members, keyed by (a, b) with a < b."""
        return {pair: tally.mutual_error for pair, tally in self._tallies(epsilon).items()}

    def uniqueness(self, *, epsilon: float | None = None) -> dict[str, Interval]:
        """Uniqueness score of every member."""
        return self._uniqueness(self._tallies(epsilon))

    def suggest(self, *, epsilon: float | None = None) -> list[Swap]:
        """Swaps of weak members for candidates of the pool, as the iterative selection makes them."""
        radius = self._one(epsilon)
        with self._session.solving(self._analysis, f"{self._test} (looking for better members)"):
            swaps = self._analysis.suggest(self.members, epsilon=radius)
        self._entries.extend(
            entries.Suggestion(
                self.key,
                swap.epsilon,
                swap.out,
                swap.into,
                swap.uniqueness_before,
                swap.uniqueness_after,
                swap.accuracy_before,
                swap.accuracy_after,
            )
            for swap in swaps
        )
        return swaps

    def answer(self, pair: Sequence[str], point: int, epsilon: float | None = None) -> Answer:
        """The answer for two members around agreement point number `point`, with its witness."""
        radius = self._one(epsilon)
        with self._session.solving(self._analysis, self._test):
            return self._analysis.answer(pair, point, radius)

    # --- for gates --------------------------------------------------------------------------------

    def solve(self, gates: Sequence[Gate]) -> None:
        """Answer all queries of the gates in one go, so that the engine can share work.

        With --ensemble-fail-fast only until their verdicts are certain; a baseline needs the whole scores.
        """
        fast = self._session.settings.fail_fast and self._session.settings.baseline is None
        with self._session.solving(self._analysis, self._test):
            self._analysis.solve(
                self.members,
                sorted({gate.epsilon for gate in gates}),
                (lambda: certain(gates, self.scores, self.sample)) if fast else None,
            )

    def scores(self, gate: Gate) -> dict[str, Interval]:
        """The scores that a gate judges, by subject; what was not asked counts as unknown."""
        return scores_of(gate, self.members, self._known(gate.epsilon))

    def stopped(self, epsilon: float) -> bool:
        """Whether --ensemble-fail-fast left out some queries at this radius."""
        return self._analysis.stopped(self.members, epsilon)

    def undecided(self, epsilon: float) -> dict[str, int]:
        """How many queries at this radius are undecided, by reason; asks nothing."""
        open_ones = [pair for pair, tally in self._known(epsilon).items() if tally.unknown]
        reasons = sum((self._analysis.undecided(pair, epsilon) for pair in open_ones), Counter[str]())
        return dict(sorted(reasons.items()))

    def record(self, epsilon: float) -> None:
        """Put all scores at this radius into the report, as they are known; asks nothing."""
        self._record(float(epsilon), self._known(epsilon))

    def show(self, pair: Pair, epsilon: float) -> None:
        """Put an input on which both err into the report."""
        pool = self._analysis.pool
        for found in self._analysis.counterexamples(pair, epsilon):
            center = self._analysis.query(pair, found.point, epsilon).ball.center
            self._entries.append(
                entries.Example(
                    self.key,
                    epsilon,
                    pair,
                    found.point,
                    int(self.points.indices[found.point]),
                    int(self.points.labels[found.point]),
                    {name: int(pool[name].predict(found.x[None])[0]) for name in pair},
                    found.distance,
                    int(np.count_nonzero(found.x != center)),
                    int(found.x.size),
                )
            )

    # --- inside -----------------------------------------------------------------------------------

    def _one(self, epsilon: float | None) -> float:
        if epsilon is not None:
            return epsilon
        if len(self.epsilons) != 1:
            several = ", ".join(f"{value:g}" for value in self.epsilons)
            raise QueryError(f"Say which epsilon=; the ensemble mark has several: {several}.")
        return self.epsilons[0]

    def _tallies(self, epsilon: float | None) -> dict[Pair, Tally]:
        radius = self._one(epsilon)
        with self._session.solving(self._analysis, self._test):
            tallies = self._analysis.tallies(epsilon=radius, members=self.members)
        self._record(float(radius), tallies)
        return tallies

    def _known(self, epsilon: float) -> dict[Pair, Tally]:
        return self._analysis.tallies(epsilon=epsilon, members=self.members, ask=False)

    def _uniqueness(self, tallies: dict[Pair, Tally]) -> dict[str, Interval]:
        return {
            name: uniqueness(name, [other for other in self.members if other != name], tallies)
            for name in self.members
        }

    def _record(self, epsilon: float, tallies: dict[Pair, Tally]) -> None:
        if self._tallied.get(epsilon) == tallies:
            return
        self._tallied[epsilon] = tallies
        unasked = {
            pair: self._analysis.undecided(pair, epsilon)[UNASKED] if tally.unknown else 0
            for pair, tally in tallies.items()
        }
        for pair in pairs_of(self.members):
            tally = tallies[pair]
            score = tally.mutual_error
            self._entries.append(
                entries.MutualError(
                    self.key,
                    epsilon,
                    pair,
                    score.low,
                    score.high,
                    tally.sat,
                    tally.unsat,
                    tally.unknown,
                    unasked[pair],
                )
            )
        for name, score in self._uniqueness(tallies).items():
            own = sum(count for pair, count in unasked.items() if name in pair)
            self._entries.append(entries.Uniqueness(self.key, epsilon, name, score.low, score.high, own))
        if self._session.settings.report:
            shape = self._session.settings.image_shape
            found = exhibits.gallery(self._analysis, self.key, self.members, epsilon, shape)
            self._entries.extend(found)
            self._entries.extend(exhibits.curves(self._analysis, self.key, self.members))

    def _describe(self, subject: Subject, test: str) -> None:
        """Put the ensemble, its pool and points into the report."""
        pool, points = self._analysis.pool, self.points
        bounds = plain_bounds(self._analysis.bounds, pool)
        self._entries.append(
            entries.Ensemble(
                self.key,
                (test,),
                self.members,
                tuple(name for name in pool if name not in self.members),
                None if bounds is None else (bounds[0], bounds[1]),
                self._analysis.engine.name,
            )
        )
        self._entries.extend(
            entries.Member(self.key, name, model.sha256, subject.accuracy[name])
            for name, model in pool.items()
        )
        indices = tuple(np.asarray(points.indices).tolist())
        self._entries.append(entries.PointSet(self.key, len(points), subject.label, indices, points.sha256))
