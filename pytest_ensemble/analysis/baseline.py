"""The ratchet: scores that were reached once, in a file that is kept with the models.

What was reached is the worst end of a score, so a baseline is a gate whose threshold that is: a later score
is surely WORSE if its best end is beyond it, surely no worse if its worst end is not, and OPEN in between,
where undecided queries can explain the difference.
"""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_ensemble.analysis.gates import Gate, Metric, Verdict
from pytest_ensemble.analysis.scores import Interval
from pytest_ensemble.errors import EnsembleError

__all__ = ["LOST", "WORST", "Accepted", "Baseline", "BaselineError", "Change", "Move", "Place", "with_worst"]

SCHEMA = "pytest-ensemble-baseline/1"
WORST = "(worst)"  # the subject that stands for the worst of all, whoever is a member
_METRICS: tuple[Metric, ...] = ("min_uniqueness", "max_mutual_error")


class BaselineError(EnsembleError, ValueError):
    """A baseline file that can't be used; the message says why."""


class Move(enum.StrEnum):
    """How a score stands to its baseline."""

    NEW = "new"
    SAME = "same"
    BETTER = "better"
    WORSE = "worse"
    OPEN = "open"


LOST = frozenset({Move.WORSE, Move.OPEN})  # worse, or perhaps


@dataclass(frozen=True, order=True)
class Place:
    """What a score is of: a test's gate, and a member "a", a pair "a~b", or WORST."""

    test: str
    metric: Metric
    epsilon: float
    subject: str

    def worst(self, score: Interval) -> float:
        """The end that gates look at."""
        return score.low if self.metric == "min_uniqueness" else score.high


@dataclass(frozen=True)
class Change:
    """A score beside the one that was reached, None where it is new."""

    place: Place
    before: Interval | None
    now: Interval

    @property
    def move(self) -> Move:
        """How the two stand."""
        if self.before is None:
            return Move.NEW
        reached = self.place.worst(self.before)
        verdict = Gate(self.place.metric, reached, self.place.epsilon).verdict(self.now)
        if verdict is not Verdict.PASS:
            return Move.WORSE if verdict is Verdict.FAIL else Move.OPEN
        return Move.SAME if self.place.worst(self.now) == reached else Move.BETTER


@dataclass(frozen=True)
class Accepted:
    """A loss that somebody accepted, on a date (YYYY-MM-DD), for a reason."""

    date: str
    reason: str
    place: Place
    was: Interval
    now: Interval


@dataclass(frozen=True)
class Baseline:
    """Scores that were reached, by place, and the losses that were accepted, oldest first."""

    scores: Mapping[Place, Interval] = field(default_factory=dict)
    accepted: tuple[Accepted, ...] = ()

    def compare(self, place: Place, now: Interval) -> Change:
        """How a score stands to what was reached."""
        return Change(place, self.scores.get(place), now)

    def updated(
        self, changes: Iterable[Change], *, better: bool, reason: str | None = None, date: str = ""
    ) -> Baseline:
        """The baseline after these changes.

        Args:
            better: take better scores, and new ones.
            reason: why others are accepted, too; None if they are not.
            date: of the acceptance.
        """
        scores, accepted = dict(self.scores), list(self.accepted)
        for place, now in ((change.place, change.now) for change in changes):
            change = self.compare(place, now)  # another run may have written since
            if change.move in (Move.NEW, Move.BETTER) and better:
                scores[place] = now
            elif change.move in LOST and reason is not None:
                assert change.before is not None
                accepted.append(Accepted(date, reason, place, change.before, now))
                scores[place] = now
        return Baseline(scores, tuple(accepted))

    # --- as a file --------------------------------------------------------------------------------

    def to_text(self) -> str:
        """As JSON, an entry in a line, sorted: changes are easy to read in a diff."""
        scores = [{**asdict(place), **asdict(self.scores[place])} for place in sorted(self.scores)]
        accepted = [
            {
                "date": one.date,
                "reason": one.reason,
                **asdict(one.place),
                "was": asdict(one.was),
                "now": asdict(one.now),
            }
            for one in self.accepted
        ]
        parts = [f'"schema": "{SCHEMA}"']
        for name, entries in (("scores", scores), ("accepted", accepted)):
            lines = ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
            parts.append(f'"{name}": [\n  {lines}\n ]' if entries else f'"{name}": []')
        return "{\n " + ",\n ".join(parts) + "\n}\n"

    @classmethod
    def from_text(cls, text: str) -> Baseline:
        """Read what `to_text` gives.

        Raises:
            BaselineError: anything else.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BaselineError(f"is not JSON: {error}.") from None
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise BaselineError(f'is no baseline: its "schema" must be "{SCHEMA}".')
        scores: dict[Place, Interval] = {}
        for entry in _entries(value, "scores"):
            place = _place(entry)
            if place in scores:
                raise BaselineError(f"has two scores of the same: {json.dumps(entry)}.")
            scores[place] = _interval(entry, entry)
        accepted = tuple(
            Accepted(
                _text(entry, "date"),
                _text(entry, "reason"),
                _place(entry),
                _interval(entry.get("was"), entry),
                _interval(entry.get("now"), entry),
            )
            for entry in _entries(value, "accepted")
        )
        return cls(scores, accepted)


def with_worst(metric: Metric, scores: Mapping[str, Interval]) -> dict[str, Interval]:
    """The scores of a gate by subject, and the worst of them under WORST.

    So that a member of another name, which has no baseline of its own, does not undo what was reached.
    """
    pick = min if metric == "min_uniqueness" else max
    low, high = pick(score.low for score in scores.values()), pick(score.high for score in scores.values())
    return {**scores, WORST: Interval(low, high)}


# --- checking what was read -----------------------------------------------------------------------


def _entries(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    entries = value.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BaselineError(f'must have a list "{name}" of objects.')
    return entries


def _text(entry: Mapping[str, Any], name: str) -> str:
    text = entry.get(name)
    if not isinstance(text, str) or not text:
        raise _problem(entry, f'needs a text "{name}"')
    return text


def _place(entry: Mapping[str, Any]) -> Place:
    metric = next((one for one in _METRICS if one == entry.get("metric")), None)
    if metric is None:
        raise _problem(entry, f'needs a "metric", {" or ".join(_METRICS)}')
    epsilon: Any = entry.get("epsilon")
    if not _is_number(epsilon) or epsilon < 0:
        raise _problem(entry, 'needs an "epsilon", a number >= 0')
    return Place(_text(entry, "test"), metric, float(epsilon), _text(entry, "subject"))


def _interval(value: Any, entry: Mapping[str, Any]) -> Interval:
    ends: list[Any] = [value.get(name) for name in ("low", "high")] if isinstance(value, dict) else [None]
    if not all(map(_is_number, ends)) or not 0 <= ends[0] <= ends[1] <= 1:
        raise _problem(entry, 'needs scores with 0 <= "low" <= "high" <= 1')
    return Interval(float(ends[0]), float(ends[1]))


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    )


def _problem(entry: Mapping[str, Any], what: str) -> BaselineError:
    return BaselineError(f"has an entry that {what}: {json.dumps(entry)}.")
