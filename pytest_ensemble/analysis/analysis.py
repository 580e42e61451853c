"""`Analysis`: the scores of one pool on one set of agreement points, asked for as they are needed."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.analysis.audit import Audit, Decided, auditors, check, choose
from pytest_ensemble.analysis.counterexamples import Counterexample, find_counterexamples
from pytest_ensemble.analysis.points import Points, check_points
from pytest_ensemble.analysis.scores import Interval, Pair, Tally, make_pair, pairs_of, uniqueness
from pytest_ensemble.analysis.selection import Swap, iterate
from pytest_ensemble.analysis.stats import Stats
from pytest_ensemble.engines import make_engine
from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.engines.marabou_process import available
from pytest_ensemble.errors import QueryError
from pytest_ensemble.networks.pool import Pool, ensemble_accuracy
from pytest_ensemble.queries.answer import Answer, Bracket, Outcome
from pytest_ensemble.queries.ball import Ball, read_bounds, read_epsilons
from pytest_ensemble.queries.query import Query, make_query
from pytest_ensemble.runtime.cached import CachedEngine
from pytest_ensemble.runtime.progress import Progress
from pytest_ensemble.runtime.store import Store

__all__ = ["UNASKED", "Analysis"]

UNASKED = "unasked"  # why something is unknown that no engine worked on, or was asked about
_ANSWERS = 50  # after which `until` is asked
_SECONDS = 0.1  # or after these, where answers come slowly


class Analysis:
    """Mutual errors of a pool around agreement points.

    Scores ask only for the queries they need, each once: what is known of a pair and a point is kept as a
    bracket of epsilons.

    Args:
        pool: members and candidates.
        points: agreement points of that pool.
        epsilons: radii that will be asked for, in the units of the data; one number or several.
        bounds: (low, high) that inputs keep to, numbers or arrays; None for the paper's unclipped balls.
        engine: "auto", "native", "milp", "marabou", or an Engine.
        timeout: seconds for one query, or None.
        jobs: solver processes.
        memory: bytes that each solver process may allocate, or None.
        certificates: folder for proofs that `python -m pytest_ensemble.certificates` checks again.
        store: where answers are kept and taken from, if anywhere; whoever made it closes it.

    Raises:
        QueryError: bad epsilons, bounds or points.
        EngineError: no such engine here.
    """

    def __init__(
        self,
        pool: Pool,
        points: Points,
        *,
        epsilons: float | Iterable[float],
        bounds: Any = None,
        engine: str | Engine = "auto",
        timeout: float | None = None,
        jobs: int = 1,
        certificates: Path | None = None,
        store: Store | None = None,
        memory: int | None = None,
    ) -> None:
        self.pool = pool
        self.points = points
        self.epsilons = read_epsilons(epsilons)
        self.bounds = read_bounds(bounds, pool.input_size)
        check_points(points, pool, self.bounds)
        if isinstance(engine, str):
            engine = make_engine(engine, jobs=jobs, certificates=certificates, memory=memory)
        self.store = store
        self.engine = engine if store is None else CachedEngine(engine, store, proofs=certificates is None)
        self.timeout = timeout
        self.jobs = jobs
        self.memory = memory
        self.deadline: float | None = None
        self.stats = Stats()
        self.progress: Progress | None = None  # to be told of queries and answers, by whoever wants to know
        self._balls: dict[tuple[int, float], Ball] = {}  # shared by all pairs
        self._brackets: dict[tuple[Pair, int], Bracket] = {}
        self._open: dict[tuple[Pair, int, float], Answer] = {}  # asked, and still unknown
        self._answers: dict[tuple[Pair, int, float], Answer] = {}
        self._asked: set[float] = set()
        self._counts: dict[Pair, dict[float, Counter[Outcome]]] = {}  # of points, where they were needed
        self.shown: dict[tuple[Pair, int, float], Counterexample] = {}  # what `counterexamples` found
        self._stopped: set[tuple[Pair, float]] = set()  # `until` left some of their points out

    def close(self) -> None:
        """Release the engine's processes."""
        self.engine.close()

    # --- scores -----------------------------------------------------------------------------------

    def solve(
        self,
        members: Sequence[str] | None = None,
        epsilons: float | Iterable[float] | None = None,
        until: Callable[[], bool] | None = None,
    ) -> None:
        """Answer all queries of the pairs of `members` at `epsilons` (default: all) in one go.

        Scores would ask for them anyway; one go lets the engine share work between epsilons.

        Args:
            until: asked now and then whether what is known is enough; the rest is not asked then. As long
                as it says no, everything is asked, and last what earlier calls left out for these pairs at
                other epsilons: it may decide what was asked and stayed unknown.
        """
        grid = self.epsilons if epsilons is None else read_epsilons(epsilons)
        pairs = pairs_of(self.pool.select(members))
        if not self._ask(pairs, grid, until=until) or until is None:
            return
        for epsilon in sorted({epsilon for _, epsilon in self._stopped}):
            left = [pair for pair in pairs if (pair, epsilon) in self._stopped]
            if not self._ask(left, (epsilon,), until=until):
                return

    def tallies(
        self, *, epsilon: float, members: Sequence[str] | None = None, ask: bool = True
    ) -> dict[Pair, Tally]:
        """How many points of each pair are sat, unsat and unknown.

        Args:
            ask: False to count what was not asked yet as unknown.
        """
        pairs = pairs_of(self.pool.select(members))
        (epsilon,) = read_epsilons(epsilon)
        if ask:
            self._ask(pairs, (epsilon,))
        return {pair: self._tally(pair, epsilon) for pair in pairs}

    def stopped(self, members: Sequence[str], epsilon: float) -> bool:
        """Whether `until` left out some queries of these members at this epsilon."""
        return any((pair, epsilon) in self._stopped for pair in pairs_of(self.pool.select(members)))

    def undecided(self, pair: Sequence[str], epsilon: float) -> Counter[str]:
        """How many points of a pair are unknown, by reason; `UNASKED` is one. Asks nothing."""
        a, b = make_pair(*self.pool.select(pair))
        reasons: Counter[str] = Counter()
        for point in range(len(self.points)):
            bracket = self._bracket((a, b), point)
            if bracket.contradictory:
                reasons["disagreement"] += 1
            elif bracket.outcome(epsilon) is Outcome.UNKNOWN:
                answer = self._open.get(((a, b), point, epsilon))
                reasons[UNASKED if answer is None else answer.reason or "disagreement"] += 1
        return reasons

    def mutual_error(self, *, epsilon: float, members: Sequence[str] | None = None) -> dict[Pair, Interval]:
        """Mutual error score of every pair of members, keyed by (a, b) with a < b."""
        tallies = self.tallies(epsilon=epsilon, members=members)
        return {pair: tally.mutual_error for pair, tally in tallies.items()}

    def uniqueness(self, *, epsilon: float, members: Sequence[str] | None = None) -> dict[str, Interval]:
        """Uniqueness score of every member, within the ensemble of these members (at least two)."""
        names = self._ensemble(members)
        tallies = self.tallies(epsilon=epsilon, members=names)
        return {
            name: uniqueness(name, [other for other in names if other != name], tallies) for name in names
        }

    def suggest(self, members: Sequence[str], *, epsilon: float, limit: int | None = None) -> list[Swap]:
        """Swaps that the iterative selection makes, the rest of the pool being the candidates."""
        names = self._ensemble(members)
        (epsilon,) = read_epsilons(epsilon)

        def score(name: str, others: Sequence[str]) -> Interval:
            pairs = [make_pair(name, other) for other in others]
            self._ask(pairs, (epsilon,))
            return uniqueness(name, others, {pair: self._tally(pair, epsilon) for pair in pairs})

        outside = [name for name in self.pool if name not in names]
        return iterate(names, outside, epsilon, score, self.accuracy, limit)

    def accuracy(self, members: Sequence[str]) -> float:
        """Share of the labelled data that the averaged scores of `members` label correctly."""
        data = self.points.data
        return ensemble_accuracy([self.pool[name] for name in members], data.x, data.y)

    # --- single queries ---------------------------------------------------------------------------

    def query(self, pair: Sequence[str], point: int, epsilon: float) -> Query:
        """The query of two members around agreement point number `point`.

        Raises:
            QueryError: not two different members, or no such point.
        """
        names = self.pool.select(pair)
        if len(names) != 2:
            raise QueryError(f"A pair needs two members; got {len(names)}.")
        if not 0 <= point < len(self.points):
            raise QueryError(f"There are agreement points 0..{len(self.points) - 1}; got {point}.")
        models = tuple(self.pool[name] for name in make_pair(*names))
        label = int(self.points.labels[point])
        if (point, epsilon) in self._balls:
            return Query(models, self._balls[point, epsilon], label)
        query = make_query(models, self.points.x[point], label, epsilon, self.bounds)
        self._balls[point, epsilon] = query.ball
        return query

    def answer(self, pair: Sequence[str], point: int, epsilon: float) -> Answer:
        """The answer for two members around agreement point number `point`, with its witness."""
        query = self.query(pair, point, epsilon)
        a, b = make_pair(*self.pool.select(pair))
        epsilon = query.ball.epsilon
        self._ask([(a, b)], (epsilon,), [point])
        bracket = self._bracket((a, b), point)
        if bracket.contradictory:
            return Answer(Outcome.UNKNOWN, reason="disagreement", engine=self.engine.name, stage="bracket")
        known = self._answers.get(((a, b), point, epsilon))
        if known is not None:
            return known
        outcome = bracket.outcome(epsilon)
        if outcome is Outcome.UNKNOWN:
            return self._open[(a, b), point, epsilon]
        witness = self._shaped(bracket.witness, point) if outcome is Outcome.SAT else None
        return Answer(outcome, witness, engine=self.engine.name, stage="bracket")

    def counterexamples(self, pair: Sequence[str], epsilon: float, count: int = 1) -> list[Counterexample]:
        """Inputs that both of a pair misclassify, the nearest to their points first; asks nothing."""
        return find_counterexamples(self, make_pair(*self.pool.select(pair)), epsilon)[:count]

    def outcome(self, pair: Sequence[str], point: int, epsilon: float) -> Outcome:
        """What is known of two members around a point; asks nothing."""
        return self.bracket(pair, point).outcome(epsilon)

    @property
    def asked(self) -> tuple[float, ...]:
        """The epsilons that were asked for, ascending."""
        return tuple(sorted(self._asked))

    def bracket(self, pair: Sequence[str], point: int) -> Bracket:
        """What is known of two members around a point at every epsilon; asks nothing."""
        return self._bracket(make_pair(*self.pool.select(pair)), point)

    def audit(self, count: int, seed: int = 0, *, engines: Sequence[str | Engine] | None = None) -> Audit:
        """Answer again `count` of the decided queries, chosen at random, by other engines.

        A query is one of a pair, a point and an epsilon that was asked for. What is contradicted counts as
        unknown (disagreement) from then on.

        Args:
            count: how many, at most.
            seed: of the choice.
            engines: names or engines, each asked what the ones before leave undecided. By default Marabou
                where it is installed, then MILP.
        """
        known = [
            (pair, point, epsilon)
            for (pair, point), bracket in sorted(self._brackets.items(), key=lambda entry: entry[0])
            for epsilon in sorted(self._asked)
            if bracket.outcome(epsilon) is not Outcome.UNKNOWN
        ]
        decided = [
            Decided(*one[:2], self.query(*one), self.answer(*one)) for one in choose(known, count, seed)
        ]
        others = auditors(self.engine.name, available()) if engines is None else engines
        budget = Budget(self.timeout, self.deadline)
        result = check(
            decided, others, lambda name: make_engine(name, jobs=self.jobs, memory=self.memory), budget
        )
        for one in result.contradictions:
            self._learn(one.pair, one.point, one.query, one.second)
            if self.store is not None and one.second.outcome is Outcome.SAT:  # the proof is wrong for good
                self.store.write(one.query, one.second, asked=one.second.engine, allowed=0.0)
        return result

    # --- asking -----------------------------------------------------------------------------------

    def _ensemble(self, members: Sequence[str] | None) -> tuple[str, ...]:
        names = self.pool.select(members)
        if len(names) < 2:
            raise QueryError(f"An ensemble needs at least two members; got {len(names)}.")
        return names

    def _bracket(self, pair: Pair, point: int) -> Bracket:
        return self._brackets.get((pair, point), Bracket())

    def _tally(self, pair: Pair, epsilon: float) -> Tally:
        counts = self._counts.setdefault(pair, {})
        if epsilon not in counts:
            outcomes = (self._bracket(pair, point).outcome(epsilon) for point in range(len(self.points)))
            counts[epsilon] = Counter(outcomes)
        found = counts[epsilon]
        return Tally(found[Outcome.SAT], found[Outcome.UNSAT], found[Outcome.UNKNOWN])

    def _ask(
        self,
        pairs: Sequence[Pair],
        epsilons: Sequence[float],
        points: Sequence[int] | None = None,
        until: Callable[[], bool] | None = None,
    ) -> bool:
        """Have the engine answer what brackets and earlier answers leave open; whether all of it was asked.

        `until` is that of `solve`.
        """
        self._asked.update(epsilons)
        where: dict[int, tuple[Pair, int]] = {}
        queries: list[Query] = []
        for pair in pairs:
            for point in range(len(self.points)) if points is None else points:
                bracket = self._bracket(pair, point)
                if bracket.contradictory:  # more answers would not mend that
                    continue
                for epsilon in epsilons:
                    if bracket.outcome(epsilon) is not Outcome.UNKNOWN:
                        continue
                    if (pair, point, epsilon) not in self._open:
                        query = self.query(pair, point, epsilon)
                        where[id(query)] = (pair, point)
                        queries.append(query)
        if points is None:
            self._stopped.difference_update(itertools.product(pairs, epsilons))
        if not queries or self._give(queries, where, until):
            return True
        self._stopped.update(itertools.product(pairs, epsilons))
        return False

    def _give(
        self, queries: list[Query], where: dict[int, tuple[Pair, int]], until: Callable[[], bool] | None
    ) -> bool:
        """Have the engine answer until `until` says that it is enough; whether it never did."""
        if until is not None and until():
            return False
        budget = Budget(self.timeout, self.deadline)
        if self.progress is not None:
            self.progress.ask(len(queries), self.deadline)
            budget = replace(budget, tell=self.progress.tell)
        answers = self.engine.solve(queries, budget)
        try:
            count, since = 0, time.monotonic()
            for query, answer in answers:
                self._record(*where[id(query)], query, answer)
                count += 1
                if until is None or (count < _ANSWERS and time.monotonic() < since + _SECONDS):
                    continue
                if until():
                    return False
                count, since = 0, time.monotonic()
        finally:
            close = getattr(answers, "close", None)  # a generator ends its processes then
            if close is not None:
                close()
        return True

    def _record(self, pair: Pair, point: int, query: Query, answer: Answer) -> None:
        self.stats.count(answer)
        if self.progress is not None:
            self.progress.count(answer)
        epsilon = query.ball.epsilon
        if answer.outcome is Outcome.UNKNOWN:
            self._open[pair, point, epsilon] = answer
            return
        self._answers[pair, point, epsilon] = replace(answer, witness=self._shaped(answer.witness, point))
        self._learn(pair, point, query, answer)

    def _learn(self, pair: Pair, point: int, query: Query, answer: Answer) -> None:
        """Merge a sat or unsat answer into the bracket."""
        new = Bracket(proven=query.ball.epsilon)
        if answer.outcome is Outcome.SAT:
            assert answer.witness is not None
            witness = answer.witness.reshape(-1)
            distance = float(query.ball.distance(witness)[0])
            new = Bracket(witnessed=distance, witness=witness)
        merged = self._bracket(pair, point).merge(new)
        if merged.contradictory and not self._bracket(pair, point).contradictory:
            self.stats.unknown["disagreement"] += 1
        for epsilon, counts in self._counts.get(pair, {}).items():
            counts[self._bracket(pair, point).outcome(epsilon)] -= 1
            counts[merged.outcome(epsilon)] += 1
        self._brackets[pair, point] = merged

    def _shaped(self, witness: NDArray[np.float32] | None, point: int) -> NDArray[np.float32] | None:
        return None if witness is None else witness.reshape(self.points.x[point].shape)
