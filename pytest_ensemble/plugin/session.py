"""`Session`: what tests share: pool, data, agreement points and analyses. Imported by fixtures only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pytest

from pytest_ensemble.analysis.analysis import Analysis
from pytest_ensemble.analysis.audit import Contradiction
from pytest_ensemble.analysis.points import Data, Points, agreement_points, load_data, read_data
from pytest_ensemble.errors import DataError, EnsembleError, ModelError
from pytest_ensemble.networks.model import Model
from pytest_ensemble.networks.pool import Pool
from pytest_ensemble.networks.preprocessing import prepared_pool
from pytest_ensemble.networks.steps import Steps
from pytest_ensemble.paths import pattern_in
from pytest_ensemble.plugin import state_of
from pytest_ensemble.plugin.cache import store_of
from pytest_ensemble.plugin.exhibits import numbers
from pytest_ensemble.plugin.markers import EnsembleMark
from pytest_ensemble.plugin.options import SETTINGS
from pytest_ensemble.plugin.orphans import end_with_parent
from pytest_ensemble.plugin.progress import Screen, screen_of
from pytest_ensemble.plugin.settings import Settings
from pytest_ensemble.queries.answer import Outcome
from pytest_ensemble.queries.ball import read_bounds
from pytest_ensemble.report.audit import AuditResult, ContradictionEntry
from pytest_ensemble.report.entries import STORED as STORED_ANSWERS
from pytest_ensemble.report.entries import Entry, Queries, Stage
from pytest_ensemble.runtime.cached import STORED
from pytest_ensemble.runtime.progress import Progress
from pytest_ensemble.runtime.store import Store

__all__ = ["Session", "Subject", "digest", "plain_bounds", "plain_failures", "session_of"]

Value = TypeVar("Value")


@contextlib.contextmanager
def plain_failures() -> Iterator[None]:
    """Errors that are raised on purpose fail the test with their message and no traceback."""
    try:
        yield
    except (EnsembleError, OSError) as error:
        # not pytest.fail(): "from None", so that the message is shown once
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def session_of(config: pytest.Config) -> Session:
    """The session of this process, made when it is first used."""
    state = state_of(config)
    if state.session is None:
        if hasattr(config, "workerinput"):
            end_with_parent()
        store = store_of(config, state.settings)
        screen = screen_of(config, state.settings)
        state.session = Session(state.settings, config.rootpath, state.entries, store, screen)
    return state.session


@dataclass(frozen=True, eq=False)
class Subject:
    """One pool judged on one set of points.

    Attributes:
        key: hex digest of pool, data, points, bounds and engine.
        label: the one that the points have, None for any.
        accuracy: of every network of the pool on the labelled data.
    """

    key: str
    analysis: Analysis
    label: int | None
    accuracy: dict[str, float]


@dataclass
class Session:
    """Pools, data and analyses of one pytest process, each made once.

    Attributes:
        settings: of the process.
        root: where relative paths that fixtures give start.
        entries: of the report; tests add theirs.
        store: where answers are kept, if anywhere.
        screen: where progress is shown, if anywhere.
        spent: seconds of solving.
        audited: what `audit` found.
    """

    settings: Settings
    root: Path
    entries: list[Entry]
    store: Store | None = None
    screen: Screen | None = None
    spent: float = 0.0
    audited: AuditResult = field(default_factory=AuditResult)
    _kept: dict[type, tuple[Any, Any]] = field(default_factory=dict)
    _made: dict[Hashable, Any] = field(default_factory=dict)
    _digests: WeakKeyDictionary[Any, str] = field(default_factory=WeakKeyDictionary)

    # --- what fixtures give -----------------------------------------------------------------------

    def default_pool(self) -> Pool:
        """The pool of the settings."""
        where = self.settings.pool
        if where is None:
            raise ModelError(f"No pool was given. {_how_to_give('pool', 'DIR')}")
        return self._from_settings("pool", lambda: Pool.load(where))

    def default_data(self) -> Data:
        """The labelled data of the settings."""
        path = self.settings.data
        if path is None:
            raise DataError(f"No labelled data was given. {_how_to_give('data', 'FILE.npz')}")
        return self._from_settings("data", lambda: load_data(path))

    def _from_settings(self, name: str, make: Callable[[], Value]) -> Value:
        try:
            return self._once(name, make, doing={"pool": "reading models", "data": "reading data"}[name])
        except EnsembleError as error:
            raise type(error)(f"{error} (From {self.settings.sources[name]}.)") from None

    def read_pool(self, value: Any) -> Pool:
        """The pool that a fixture gave: a Pool, a folder or pattern, or models and paths of models."""
        if isinstance(value, Pool):
            return value
        if isinstance(value, (str, Path)):
            where = pattern_in(self.root, value)
            return self._once(("pool", where), lambda: Pool.load(where), doing="reading models")
        if isinstance(value, Iterable):
            return self._keep(value, lambda: Pool(self._read_model(part) for part in value))
        raise self._not_a_pool(value)

    def prepared(self, pool: Pool, steps: Mapping[str, Steps]) -> Pool:
        """The pool with a pipeline's steps before its models, by name ("" for all others)."""
        key = ("prepared", self._digest_pool(pool), tuple(sorted(steps.items(), key=lambda item: item[0])))
        proofs = self.settings.certificates
        return self._once(
            key, lambda: prepared_pool(pool, steps, proofs and proofs / "models"), doing="preparing models"
        )

    def _read_model(self, value: Any) -> Model:
        if isinstance(value, Model):
            return value
        if isinstance(value, (str, Path)):
            return Model.load(self.root / value)
        raise self._not_a_pool(value)

    def _not_a_pool(self, value: Any) -> ModelError:
        return ModelError(
            "The fixture ensemble_pool must give a Pool, a folder or glob pattern, or models and paths; "
            f"it gave {type(value).__name__}."
        )

    def read_data(self, value: Any) -> Data:
        """The labelled data that a fixture gave: Data, (x, y), or the path of an .npz."""
        if isinstance(value, Data):
            return value
        if isinstance(value, (str, Path)):
            path = self.root / value
            return self._once(("data", str(path)), lambda: load_data(path), doing="reading data")
        if isinstance(value, (tuple, list)) and len(value) == 2:
            return self._keep(value, lambda: read_data(value[0], value[1], "the fixture ensemble_data"))
        raise DataError(
            "The fixture ensemble_data must give (x, y), a Data, or the path of an .npz; "
            f"it gave {type(value).__name__}."
        )

    def _keep(self, value: Any, make: Callable[[], Value]) -> Value:
        """What `make` makes of a fixture's value; kept while tests are given the same object."""
        given, made = self._kept.get(type(value), (None, None))
        if given is not value:
            made = make()
            self._kept[type(value)] = value, made
        kept: Value = made
        return kept

    # --- what is shared ---------------------------------------------------------------------------

    def subject(self, pool: Pool, data: Data, mark: EnsembleMark) -> Subject:
        """The analysis for a mark; tests whose pools, data and marks have the same content share one.

        Raises:
            EnsembleError: bad models, data, points, bounds or engine; kept, and raised for each test.
        """
        content = (self._digest_pool(pool), self._digest_data(data))
        bounds = plain_bounds(mark.bounds, pool)
        points_key = (*content, mark.points, mark.label)

        def points() -> Points:
            return agreement_points(pool, data, count=mark.points, label=mark.label)

        def make() -> Subject:
            found = self._once(("points", *points_key), points, doing="looking for agreement points")
            analysis = Analysis(
                pool,
                found,
                epsilons=mark.epsilons,
                bounds=mark.bounds,
                engine=self.settings.engine,
                timeout=self.settings.timeout,
                jobs=self.settings.jobs,
                certificates=self.settings.certificates,
                store=self.store,
                memory=self.settings.memory,
            )
            key = digest([*content, found.sha256, bounds, self.settings.engine])
            label = None if mark.label is None else int(found.labels[0])
            return Subject(key, analysis, label, self._accuracy(pool, data))

        return self._once(("subject", *points_key, json.dumps(bounds)), make)

    def _accuracy(self, pool: Pool, data: Data) -> dict[str, float]:
        def measure() -> dict[str, float]:
            return {name: float(np.mean(model.predict(data.x) == data.y)) for name, model in pool.items()}

        key = ("accuracy", self._digest_pool(pool), self._digest_data(data))
        return self._once(key, measure, doing="measuring accuracies")

    def _digest_pool(self, pool: Pool) -> str:
        return digest([[name, model.sha256] for name, model in pool.items()])

    def _digest_data(self, data: Data) -> str:
        if data not in self._digests:
            content = hashlib.sha256(repr(data.x.shape).encode())
            content.update(np.ascontiguousarray(data.x).tobytes())
            content.update(np.ascontiguousarray(data.y).tobytes())
            self._digests[data] = content.hexdigest()
        return self._digests[data]

    def _once(self, key: Hashable, make: Callable[[], Value], doing: str = "") -> Value:
        """What `make` gives, or the error it raised, the first time; it is said what it is `doing`."""
        if key not in self._made:
            try:
                with self._showing(Progress()) as progress:
                    if doing:
                        progress.tell(doing)
                    self._made[key] = make()
            except EnsembleError as error:
                self._made[key] = error.with_traceback(None)
        value: Any = self._made[key]
        if isinstance(value, EnsembleError):
            raise type(value)(*value.args) from None
        made: Value = value
        return made

    # --- solving ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def solving(self, analysis: Analysis, what: str = "") -> Iterator[None]:
        """Time within counts against the session's budget; queries beyond it stay undecided.

        `what` it is for stands beside the progress that is shown.
        """
        start = time.monotonic()
        if self.settings.budget is not None:
            analysis.deadline = start + max(0.0, self.settings.budget - self.spent)
        try:
            with self._showing(Progress(what)) as analysis.progress:
                yield
        finally:
            self.spent += time.monotonic() - start
            analysis.deadline = analysis.progress = None

    @contextlib.contextmanager
    def _showing(self, progress: Progress) -> Iterator[Progress]:
        with contextlib.nullcontext() if self.screen is None else self.screen.following(progress):
            yield progress

    def queries(self) -> Queries:
        """What all analyses gave to engines."""
        total = Queries()
        for analysis in self._analyses():
            stats, by_engine = analysis.stats, Counter[str]()
            by_engine.update(stats.decided)
            stored = sum(count for (_, stage), count in stats.solved.items() if stage == STORED)
            by_engine.update({STORED_ANSWERS: stored} if stored else {})
            total += Queries(
                stats.total,
                stats.outcomes[Outcome.SAT],
                stats.outcomes[Outcome.UNSAT],
                dict(stats.unknown),
                dict(by_engine),
                round(float(sum(stats.seconds.values())), 3),
                tuple(
                    Stage(engine, stage, count, round(float(stats.seconds[engine, stage]), 6))
                    for (engine, stage), count in stats.solved.items()
                ),
            )
        return total

    def _analyses(self) -> Iterator[Analysis]:
        return (value.analysis for value in self._made.values() if isinstance(value, Subject))

    def audit(self, count: int) -> None:
        """Have other engines answer again so many decided queries of each analysis."""
        for analysis in self._analyses():
            with self.solving(analysis):
                found = analysis.audit(count)
            entries = tuple(_contradiction(analysis, one) for one in found.contradictions)
            self.audited += AuditResult(found.asked, found.agreed, found.undecided, entries)

    def close(self) -> None:
        """End the solver processes, and close the store."""
        for analysis in self._analyses():
            analysis.close()
        if self.store is not None:
            self.store.close()
        if self.screen is not None:
            self.screen.close()


def _contradiction(analysis: Analysis, one: Contradiction) -> ContradictionEntry:
    a, b = one.query.models
    points, bounds = analysis.points, plain_bounds(analysis.bounds, analysis.pool)
    witness = one.answer.witness if one.second.witness is None else one.second.witness
    return ContradictionEntry(
        one.pair,
        (a.sha256, b.sha256),
        (str(a.path or a.name), str(b.path or b.name)),
        one.point,
        int(points.indices[one.point]),
        points.data.source,
        numbers(one.query.ball.center),
        one.query.label,
        one.query.ball.epsilon,
        None if bounds is None else (bounds[0], bounds[1]),
        one.answer.engine,
        str(one.answer.outcome),
        one.second.engine,
        str(one.second.outcome),
        None if witness is None else numbers(witness),
    )


def plain_bounds(bounds: Any, pool: Pool) -> list[Any] | None:
    """Bounds as JSON: a number for a side that is the same everywhere, else a list; null for infinite."""
    sides = read_bounds(bounds, pool.input_size)
    if sides is None:
        return None
    finite = [[float(value) if np.isfinite(value) else None for value in side] for side in sides]
    return [side[0] if len(set(side)) == 1 else side for side in finite]


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _how_to_give(name: str, metavar: str) -> str:
    setting = next(setting for setting in SETTINGS if setting.name == name)
    return (
        f"Use {setting.option}={metavar}, the environment variable {setting.variable}, {setting.ini} in the "
        f"ini, or a fixture {setting.ini} in your conftest.py."
    )
