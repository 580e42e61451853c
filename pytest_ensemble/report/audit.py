"""The audit's part of a document: how often other engines agreed, and every query on which one did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pytest_ensemble.errors import printable

__all__ = ["AuditResult", "ContradictionEntry", "audit_line", "contradiction_lines"]


@dataclass(frozen=True)
class ContradictionEntry:
    """A query that two engines decide differently, with all it takes to ask it again.

    Attributes:
        pair, sha256: the two networks.
        models: their files, or names where they have none.
        point, row, data: number among the agreement points; row in the labelled data; where that is from.
        x, label, epsilon, bounds: the query; x is flat.
        engine, outcome: the first answer.
        second_engine, second_outcome: the auditor's.
        witness: of the one that says sat, flat.
    """

    pair: tuple[str, str]
    sha256: tuple[str, str]
    models: tuple[str, str]
    point: int
    row: int
    data: str
    x: tuple[float, ...]
    label: int
    epsilon: float
    bounds: tuple[Any, Any] | None
    engine: str
    outcome: str
    second_engine: str
    second_outcome: str
    witness: tuple[float, ...] | None


@dataclass(frozen=True)
class AuditResult:
    """How many decided queries were asked again, and what came out."""

    asked: int = 0
    agreed: int = 0
    undecided: int = 0
    contradictions: tuple[ContradictionEntry, ...] = ()

    def __add__(self, other: AuditResult) -> AuditResult:
        return AuditResult(
            self.asked + other.asked,
            self.agreed + other.agreed,
            self.undecided + other.undecided,
            (*self.contradictions, *other.contradictions),
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return _listed(asdict(self))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> AuditResult:
        """Read what `to_json` gives; unknown fields are left out."""
        names = [part.name for part in fields(ContradictionEntry)]
        entries = (
            ContradictionEntry(**{name: _frozen(entry[name]) for name in names})
            for entry in value["contradictions"]
        )
        return cls(value["asked"], value["agreed"], value["undecided"], tuple(entries))


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(part) for name, part in value.items()}
    return [_listed(part) for part in value] if isinstance(value, (tuple, list)) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value


def audit_line(audit: AuditResult) -> str:
    """How many agreed."""
    contradicted = len(audit.contradictions)
    return (
        f"audit: {audit.asked} decided queries answered again: {audit.agreed} agreed, "
        f"{audit.undecided} undecided, {contradicted} contradicted"
    )


def contradiction_lines(entry: ContradictionEntry) -> Iterator[str]:
    """What was asked, who said what, and code that asks both again."""
    yield printable(
        f"{'~'.join(entry.pair)}, point {entry.point} (row {entry.row} of {entry.data}), "
        f"label {entry.label}, epsilon {entry.epsilon:g}: {entry.engine} says {entry.outcome}, "
        f"{entry.second_engine} says {entry.second_outcome}"
    )
    if entry.data.endswith(".npz"):
        yield f'    x = np.load({entry.data!r})["x"][{entry.row}]'
    else:
        yield f"    x = np.array({list(entry.x)!r})"
    models = ", ".join(map(repr, entry.models))
    bounds = "None"
    if entry.bounds is not None:
        bounds = f"({_side(entry.bounds[0], '-inf')}, {_side(entry.bounds[1], 'inf')})"
    call = f"decide([{models}], x, {entry.label}, {entry.epsilon!r}, bounds={bounds}"
    for engine, outcome in ((entry.engine, entry.outcome), (entry.second_engine, entry.second_outcome)):
        yield f"    {call}, engine={engine!r})  # {outcome}"


def _side(side: Any, infinite: str) -> str:
    """One end of the bounds: a number, or one for each input; None is no bound."""
    if isinstance(side, tuple):
        return f"[{', '.join(_side(part, infinite) for part in side)}]"
    return f"float({infinite!r})" if side is None else repr(side)
