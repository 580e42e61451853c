"""Have a case answered by our own engine, ask everyone else, and look for contradictions.

Who errs as executed: a witness, or a tried input. Who says there is no error: `unsat` of any engine. Where
the optimum in real numbers is known, it may contradict both, by more than rounding explains: `unsat` means
that it is negative, and an error as executed that it is above minus what rounding may add to a margin.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pytest_ensemble.certificates.check import Content, check
from pytest_ensemble.engines import make_engine
from pytest_ensemble.engines.base import Budget, Engine
from pytest_ensemble.engines.cascade import Cascade
from pytest_ensemble.engines.marabou_process import available
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import replays
from tests.engines.exact import optimum
from tests.engines.judge import rounding, size
from tests.fuzz.case import Case
from tests.fuzz.samples import Tried, beyond_rounding, climbs, every_input, some_inputs
from tests.fuzz.tally import Tally

__all__ = ["Engines", "examine"]

Rng = np.random.Generator
_SECONDS = {"milp": 10.0, "marabou": 10.0}  # for a query; processes have to start
_NATIVE_SECONDS = 0.5
_FAR = 4.0  # times what rounding may add to a margin: so far from a tie an answer is expected
_CLIMBS = 3  # of a case, from the best inputs around queries said to be unsat


class Engines:
    """The engines, made when they are first asked."""

    def __init__(self, native: Engine | None = None) -> None:
        self._made: dict[str, Engine] = {} if native is None else {"native": native}

    def __getitem__(self, name: str) -> Engine:
        if name not in self._made:
            self._made[name] = make_engine("native", jobs=2) if name == "two jobs" else make_engine(name)
        return self._made[name]

    def solve(self, name: str, queries: Sequence[Query]) -> list[Answer]:
        """In the order of the queries."""
        found = {
            id(query): answer
            for query, answer in self[name].solve(queries, Budget(_SECONDS.get(name, _NATIVE_SECONDS)))
        }
        return [found[id(query)] for query in queries]

    def close(self) -> None:
        for engine in self._made.values():
            engine.close()


@dataclass
class _Known:
    """What is claimed of one query: who says that all networks err somewhere, and who that they don't."""

    sat: list[str] = field(default_factory=list)
    unsat: list[str] = field(default_factory=list)


class _Examination:
    def __init__(self, case: Case, engines: Engines, rng: Rng) -> None:
        self.case, self.engines, self.rng = case, engines, rng
        self.tally, self.known = Tally(), [_Known() for _ in case.queries]
        self.answers: list[Answer] = []

    def complain(self, index: int, text: str) -> None:
        query = self.case.queries[index]
        self.tally.disagreements.append(f"query {index} ({query.describe()}): {text}")

    def checked(self, oracle: str, count: int = 1) -> None:
        self.tally.counts[f"by {oracle}"] += count

    def some(self, share: float, most: int) -> list[int]:
        """A few of the queries, rather those that are hard."""
        count = len(self.case.queries)
        if self.rng.random() > share:
            return []
        chosen = self.rng.choice(count, size=min(most, count), replace=False)
        return sorted(int(index) for index in chosen)

    # --- answers ----------------------------------------------------------------------------------

    def claim(self, index: int, source: str, query: Query, answer: Answer) -> None:
        """Take down an answer; what it says of itself must hold."""
        if answer.outcome is Outcome.SAT:
            if answer.witness is None or answer.witness.dtype != np.float32:
                self.complain(index, f"{source} is sat without a witness")
            elif not replays(query, answer.witness[None]).all():
                self.complain(index, f"{source}'s witness does not replay")
            self.known[index].sat.append(source)
        elif answer.outcome is Outcome.UNSAT:
            self.known[index].unsat.append(source)
        elif answer.reason in ("crashed", "disagreement"):
            self.complain(index, f"{source} is unknown ({answer.reason})")

    def ask_native(self) -> None:
        case = self.case
        self.answers = self.engines.solve("native", case.queries)
        self.tally.counts["queries"] += len(case.queries)
        for index, (query, answer) in enumerate(zip(case.queries, self.answers, strict=True)):
            self.tally.counts[f"{answer.outcome} {answer.reason}".strip()] += 1
            self.claim(index, "native", query, answer)

    def ask_otherwise(self) -> None:
        """Some alone, with their networks in another order; some with certificates; some in two processes."""
        for index in self.some(1.0, 3):
            query = self.case.queries[index]
            turned = Query(query.models[::-1], query.ball, query.label)
            (answer,) = self.engines.solve("native", [turned])
            self.claim(index, "native alone", turned, answer)
            self.checked("native alone")
            self.compare(index, "alone", answer)
        for name, share in (("two jobs", 0.03), ("auto", 0.1)):
            chosen = self.some(share, 60)
            if chosen:
                answers = self.engines.solve(name, [self.case.queries[index] for index in chosen])
                for index, answer in zip(chosen, answers, strict=True):
                    self.claim(index, name, self.case.queries[index], answer)
                    self.compare(index, name, answer)
                self.checked(name, len(chosen))

    def compare(self, index: int, how: str, answer: Answer) -> None:
        """Who is decided in one way of asking only: no contradiction, but the fewer the better."""
        if (answer.outcome is Outcome.UNKNOWN) != (self.answers[index].outcome is Outcome.UNKNOWN):
            self.tally.counts[f"decided only in batch, or only {how}"] += 1

    def ask_for_certificates(self) -> None:
        chosen = self.some(0.15, 80)
        if not chosen:
            return
        queries = [self.case.queries[index] for index in chosen]
        held: dict[tuple[str, ...], list[tuple[float, int]]] = defaultdict(list)
        with tempfile.TemporaryDirectory() as folder:
            engine = Cascade(certificates=Path(folder))
            answers = {id(query): answer for query, answer in engine.solve(queries, Budget(_NATIVE_SECONDS))}
            engine.close()
            networks = {model.sha256: model.network for query in queries for model in query.models}
            for file in Path(folder).glob("*.npz"):
                with np.load(file) as archive:
                    arrays = {name: archive[name] for name in archive.files}
                manifest = json.loads(arrays.pop("manifest").tobytes())
                digests = [entry["sha256"] for entry in manifest["models"]]
                result = check(Content(arrays, [networks[digest] for digest in digests], manifest["queries"]))
                for (*members, point, level), good in zip(manifest["queries"], result, strict=True):
                    if not good:
                        self.complain(chosen[0], "a certificate does not hold")
                        continue
                    ball = _digest(arrays, point), int(arrays["label"][point])
                    key = *sorted(digests[member] for member in members), *map(str, ball)
                    held[key].append(float(arrays["epsilon"][level]))
        for index, query in zip(chosen, queries, strict=True):
            answer = answers[id(query)]
            self.claim(index, "native with certificates", query, answer)
            key = *sorted({m.sha256 for m in query.models}), _center(query.ball), str(query.label)
            if answer.outcome is Outcome.UNSAT and max(held.get(key, [-1.0])) < query.ball.epsilon:
                self.complain(index, "is unsat without a certificate that holds")
        self.checked("certificates", sum(answers[id(query)].outcome is Outcome.UNSAT for query in queries))

    def ask_others(self) -> None:
        """MILP and Marabou on a few queries."""
        if not self.case.small:
            return
        for name, share, most in (("milp", 1.0, 4), ("marabou", 0.8 * available(), 3)):
            for index in self.some(share, most):
                query = self.case.queries[index]
                (answer,) = self.engines.solve(name, [query])
                self.claim(index, name, query, answer)
                self.tally.counts[f"{name} {answer.outcome} {answer.reason}".strip()] += 1
                if answer.outcome is not Outcome.UNKNOWN:
                    self.checked(name)

    # --- oracles ----------------------------------------------------------------------------------

    def enumerate(self) -> None:
        """The optimum of a few tiny queries; no two networks with many ReLUs."""
        if not self.case.tiny:
            return
        for index in self.some(1.0, 5):
            query = self.case.queries[index]
            few = sum(model.network.relu_count for model in query.models) <= 8
            if few and np.isnan(self.case.truth[index]) and query.ball.epsilon < 1e4:  # linprog's numbers
                self.case.truth[index] = optimum(query)
                self.checked("enumeration")

    def weigh_truth(self) -> None:
        """Compare claims with the optimum in real numbers, where it is known."""
        for index, (query, best) in enumerate(zip(self.case.queries, self.case.truth, strict=True)):
            if np.isnan(best):
                continue
            self.checked("true optimum")
            known, tolerance = self.known[index], (1e-6 if self.case.tiny else 1e-9) * size(query)
            if known.unsat and best > tolerance:
                self.complain(index, f"the optimum is {best:g}, but {known.unsat} say unsat")
            unknown = self.answers[index].outcome is Outcome.UNKNOWN
            if not (known.sat or unknown):
                continue
            moved = rounding(query)
            if known.sat and best < -moved - tolerance:
                self.complain(index, f"the optimum is {best:g} (rounding {moved:g}), but {known.sat} err")
            if self.answers[index].reason == "boundary" and abs(best) > _FAR * moved + tolerance:
                self.tally.counts["far"] += 1
                self.tally.notes.append(
                    f"query {index} ({query.describe()}): unknown (boundary), but the optimum is {best:g} "
                    f"(rounding {moved:g})"
                )

    def try_inputs(self) -> None:
        """Inputs that err, as executed or in real numbers, where someone says unsat."""
        witnesses = [answer.witness for answer in self.answers if answer.witness is not None]
        others = [np.stack(witnesses)[:200]] if witnesses else []
        if self.case.inputs is not None:
            others.append(self.case.inputs)
        more = np.concatenate(others) if others else None
        balls: dict[tuple[str, int, float], list[int]] = defaultdict(list)
        for index, query in enumerate(self.case.queries):
            balls[query.ball.digest, query.label, query.ball.epsilon].append(index)
        left = _CLIMBS
        for members in balls.values():
            ball, label = self.case.queries[members[0]].ball, self.case.queries[members[0]].label
            whole = every_input(ball) if self.case.whole else None
            tried = Tried(some_inputs(self.rng, ball, 64, more) if whole is None else whole, label)
            for index in members:
                self.try_on(index, tried)
                if left and whole is None and self.known[index].unsat and self.rng.random() < 0.1:
                    left -= 1
                    models = self.case.queries[index].models
                    start = tried.x[np.argsort(-tried.least_margin(models))[:4]]
                    self.try_on(index, Tried(climbs(self.rng, self.case.queries[index], start), label))
                    self.checked("climbing")
            self.weigh_rounding(members, ball, tried, label)
            self.checked("all inputs" if whole is not None else "random inputs", len(members))

    def weigh_rounding(self, members: list[int], ball: Ball, tried: Tried, label: int) -> None:
        models = {model.sha256: model for index in members for model in self.case.queries[index].models}
        x = tried.x[self.rng.permutation(len(tried.x))[:48]]
        for model in models.values():
            beyond = beyond_rounding(model, ball, x, label)
            if beyond > 0:
                self.complain(members[0], f"{model.name} rounds by {beyond:g} more than its bound")
        self.checked("rounding bounds", len(members))

    def try_on(self, index: int, tried: Tried) -> None:
        query = self.case.queries[index]
        erring = tried.all_err(query.models)
        if erring.any():
            self.known[index].sat.append("tried inputs")
        if self.known[index].unsat:
            least = float(tried.least_margin(query.models).max())
            if least > 1e-9 * size(query):
                self.complain(
                    index, f"some input has margins {least:g}, but {self.known[index].unsat} say unsat"
                )

    def weigh_claims(self) -> None:
        """Nobody errs where somebody proved that nobody does: there, at larger radii, in smaller teams."""
        for index, known in enumerate(self.known):
            if known.sat and known.unsat:
                self.complain(index, f"{known.sat} are sat, {known.unsat} are unsat")
        order: dict[tuple[str, int], list[int]] = defaultdict(list)
        for index, query in enumerate(self.case.queries):
            order[query.ball.digest, query.label].append(index)
        for members in order.values():
            sat = [index for index in members if self.known[index].sat]
            unsat = [index for index in members if self.known[index].unsat]
            for one in sat:
                for other in unsat:
                    if one != other and self._implies(one, other):
                        text = (
                            f"{self.known[one].sat} are sat, query {other} is {self.known[other].unsat} unsat"
                        )
                        self.complain(one, text)
            self.checked("other radii and teams", len(sat) + len(unsat))

    def _implies(self, one: int, other: int) -> bool:
        """Whether an error of one query is one of the other."""
        a, b = self.case.queries[one], self.case.queries[other]
        return a.ball.epsilon <= b.ball.epsilon and {m.sha256 for m in b.models} <= {
            m.sha256 for m in a.models
        }


def _center(ball: Ball) -> str:
    return ball.center.astype(np.float32).tobytes().hex()


def _digest(arrays: dict[str, np.ndarray], point: int) -> str:  # type: ignore[type-arg]
    return bytes(arrays["center"][point].astype(np.float32).tobytes()).hex()


def examine(case: Case, engines: Engines, rng: Rng) -> Tally:
    """Ask everyone, and find all contradictions. Warnings are errors here."""
    looks: list[Callable[[_Examination], None]] = [
        _Examination.ask_native,
        _Examination.ask_otherwise,
        _Examination.ask_for_certificates,
        _Examination.ask_others,
        _Examination.enumerate,
        _Examination.try_inputs,
        _Examination.weigh_truth,
        _Examination.weigh_claims,
    ]
    examination = _Examination(case, engines, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for look in looks:
            start = time.perf_counter()
            look(examination)
            examination.tally.seconds[look.__name__] += time.perf_counter() - start  # type: ignore[assignment]
    examination.tally.counts["cases"] += 1
    return examination.tally
