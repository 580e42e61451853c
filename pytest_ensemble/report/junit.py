"""Gates as properties of a test case, for JUnit XML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_ensemble.errors import printable
from pytest_ensemble.report.entries import GateResult

__all__ = ["properties"]


def properties(gates: Sequence[GateResult]) -> Iterator[tuple[str, str]]:
    """(name, value) of each gate of one test: `ensemble.gate1.metric`, ... in the order of its marks."""
    for number, gate in enumerate(gates, start=1):
        values = {
            "metric": gate.metric,
            "epsilon": f"{gate.epsilon:g}",
            "threshold": f"{gate.threshold:g}",
            "score_low": f"{gate.low:.6g}",
            "score_high": f"{gate.high:.6g}",
            "subject": printable(gate.subject or ""),
            "verdict": str(gate.verdict),
        }
        if gate.confidence is not None and gate.bound is not None:
            values |= {"confidence": f"{gate.confidence:g}", "bound": f"{gate.bound:.6g}"}
        yield from ((f"ensemble.gate{number}.{name}", value) for name, value in values.items())
