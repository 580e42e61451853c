"""The document as one HTML page that needs nothing else: no network, no other file.

Charts are SVG by Observable Plot on d3 (both ISC, in templates/vendor): SVG prints and takes the page's
colours, and the two are 0.5 MB, where Vega or plotly.js alone would be 1 to 4 MB.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import markupsafe
import numpy as np

from pytest_ensemble.analysis.gates import Gate, Verdict
from pytest_ensemble.analysis.scores import Interval, make_pair
from pytest_ensemble.errors import printable
from pytest_ensemble.report import words
from pytest_ensemble.report.curves import curves_of, steps
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.entries import Counterexample, Curve, Ensemble, GateResult, Suggestion
from pytest_ensemble.report.images import difference, picture, thinned
from pytest_ensemble.report.layout import image_layout
from pytest_ensemble.report.ratchet import baseline_counts
from pytest_ensemble.report.terms import sample_of, worst_of

__all__ = ["as_html"]

_STEPS = 30_000  # of all curves, about 0.4 MB
_GALLERY = 12  # inputs of one ensemble
_IMAGES = 800_000  # characters of all images
_FEATURES = 15  # that a chart of a tabular input shows
_SCRIPTS = ("vendor/d3.min.js", "vendor/plot.min.js", "report.js")


def as_html(document: Document) -> str:
    """The page. Names come from users: everything is escaped, and only our scripts may run."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        finalize=_visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = words.range_text
    environment.globals.update(words=words, Verdict=Verdict, baseline_counts=baseline_counts)
    room = _STEPS // max(1, len(document.ensembles))
    parts = [_Part.of(document, ensemble, number, room) for number, ensemble in enumerate(document.ensembles)]
    scripts = [_file(name) for name in _SCRIPTS]
    data = json.dumps([part.data for part in parts], allow_nan=False, separators=(",", ":"))
    return environment.get_template("report.html").render(
        document=document,
        verdict=words.overall(document),
        gates=words.worst_first(document),
        parts=parts,
        style=_file("report.css"),
        scripts=scripts,
        hashes=[base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts],
        # within a script element only "<" could end it or start a comment
        data=data.replace("<", "\\u003c"),
    )


def _visible(value: Any) -> Any:
    """Names without what is not printable, as in terminals."""
    return printable(value) if isinstance(value, str) and not isinstance(value, markupsafe.Markup) else value


def _file(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class _Part:
    """One ensemble's part of the page: `data` for the charts, the rest for the template."""

    number: int
    ensemble: Ensemble
    title: str
    points: int
    epsilons: list[float]
    start: float
    curves: list[Curve]
    coarse: int
    uniqueness: list[dict[str, Any]]
    gallery: list[dict[str, Any]]
    left_out: int
    swaps: list[tuple[float, list[Suggestion]]]
    data: dict[str, Any]

    @classmethod
    def of(cls, document: Document, ensemble: Ensemble, number: int, room: int) -> _Part:
        """What the document knows of this ensemble."""
        own = [gate for gate in words.worst_first(document) if gate.ensemble == ensemble.ensemble]
        curves, missing = curves_of(document, ensemble, room)
        uniqueness = list(_uniqueness(document, ensemble, own))
        scores = [entry for entry in document.mutual_error if entry.ensemble == ensemble.ensemble]
        epsilons = sorted({entry.epsilon for entry in scores})
        start = own[0].epsilon if own else max(epsilons, default=0.0)
        shown = [entry for entry in document.gallery if entry.ensemble == ensemble.ensemble]
        gallery = list(_gallery(shown[:_GALLERY], ensemble, _IMAGES // len(document.ensembles)))
        swaps = [entry for entry in document.suggestions if entry.ensemble == ensemble.ensemble]
        at = {epsilon: [swap for swap in swaps if swap.epsilon == epsilon] for epsilon in epsilons}
        place = {name: k for k, name in enumerate(ensemble.members)}
        data = {
            "members": list(map(printable, ensemble.members)),
            "epsilons": epsilons,
            "start": start,
            "largest": max((entry.high for entry in scores), default=0.0),
            "limits": [[gate.metric, gate.epsilon, gate.threshold] for gate in own],
            "curves": [
                [place[a], place[b], curve.points, steps(curve.witnessed, 1), steps(curve.proven, -1)]
                for curve in curves
                for a, b in [curve.pair]
            ],
            "uniqueness": [
                {
                    "epsilon": table["epsilon"],
                    "need": table["need"],
                    "rows": [row[:4] for row in table["rows"]],
                }
                for table in uniqueness
            ],
            "changes": [exhibit["changes"] for exhibit in gallery],
        }
        return cls(
            number,
            ensemble,
            _title(document, number),
            next((entry.count for entry in document.points if entry.ensemble == ensemble.ensemble), 0),
            epsilons,
            start,
            curves,
            missing,
            uniqueness,
            gallery,
            len(shown) - len(gallery),
            [(epsilon, found) for epsilon, found in at.items() if found],
            data,
        )

    @property
    def places(self) -> dict[str, int]:
        """Numbers of the members, by name."""
        return {name: k for k, name in enumerate(self.ensemble.members)}

    def mutual_error(self, a: str, b: str) -> Interval | None:
        """Of two members at the epsilon that is shown first; None if it is not known."""
        pair = make_pair(a, b)
        return next((curve.at(self.start) for curve in self.curves if curve.pair == pair), None)


def _title(document: Document, number: int) -> str:
    """What tells an ensemble from the others: its test files, with a number if they have several."""
    titles = [words.title(ensemble) for ensemble in document.ensembles]
    before = titles[:number].count(titles[number])
    return titles[number] if titles.count(titles[number]) == 1 else f"{titles[number]} {before + 1}"


def _uniqueness(document: Document, ensemble: Ensemble, gates: list[GateResult]) -> Iterator[dict[str, Any]]:
    """For each epsilon: what is needed, and (member, low, high, verdict or "") of each."""
    own = [entry for entry in document.uniqueness if entry.ensemble == ensemble.ensemble]
    for epsilon in sorted({entry.epsilon for entry in own}):
        here = [gate for gate in gates if (gate.metric, gate.epsilon) == ("min_uniqueness", epsilon)]
        need = max((gate.threshold for gate in here), default=None)
        rows = [
            (entry.member, entry.low, entry.high, _verdict(document, here, entry.score))
            for entry in own
            if entry.epsilon == epsilon
        ]
        yield {"epsilon": epsilon, "need": need, "rows": rows}


def _verdict(document: Document, gates: list[GateResult], score: Interval) -> str:
    """The worst of the gates' verdicts on one member; empty if there are none."""
    rules = [
        (Gate(gate.metric, gate.threshold, gate.epsilon, gate.confidence), sample_of(document, gate))
        for gate in gates
    ]
    found = {rule.verdict(score, sample) for rule, sample in rules}
    return str(worst_of(found) or "")


def _gallery(entries: list[Counterexample], ensemble: Ensemble, room: int) -> Iterator[dict[str, Any]]:
    """As many as fit, at least one."""
    used = 0
    for entry in entries:
        shown = _exhibit(entry, ensemble)
        used += sum(len(str(image)) for image in (shown["images"] or {}).values())
        if used > room and entry is not entries[0]:
            return
        yield shown


def _exhibit(entry: Counterexample, ensemble: Ensemble) -> dict[str, Any]:
    """A counterexample, as pictures if it is an image, else as its largest changes."""
    said = [
        (name, label, scores[label] if label < len(scores) else None, scores[entry.label])
        for name, label in entry.says.items()
        for scores in [entry.scores.get(name, ())]
        if entry.label < len(scores)
    ]
    shown: dict[str, Any] = {"entry": entry, "said": said, "images": None, "changes": None, "changed": 0}
    if entry.x is None or entry.witness is None:
        return shown
    x, witness = np.asarray(entry.x), np.asarray(entry.witness)
    change = witness - x
    shown["changed"] = int(np.count_nonzero(change))
    if image_layout(entry.shape) is None:
        largest = [int(k) for k in np.argsort(-abs(change), kind="stable")[:_FEATURES] if change[k]]
        shown["changes"] = [[k, float(f"{change[k]:.6g}"), entry.x[k], entry.witness[k]] for k in largest]
        return shown
    low, high = _range(x, witness, ensemble)
    most = float(abs(change).max())
    shown["images"] = {
        "before": markupsafe.Markup(picture(entry.x, entry.shape, low, high)),
        "change": markupsafe.Markup(difference(tuple(change), entry.shape, most)),
        "after": markupsafe.Markup(picture(entry.witness, entry.shape, low, high)),
        "step": thinned(entry.shape),
        "amplified": round((high - low) / most) if most else 1,
    }
    return shown


def _range(x: np.ndarray[Any, Any], witness: np.ndarray[Any, Any], ensemble: Ensemble) -> tuple[float, float]:
    """What is black and what is white: the bounds, else what the values suggest."""
    bounds = ensemble.bounds
    if bounds is not None and all(isinstance(side, (int, float)) for side in bounds):
        return float(bounds[0]), float(bounds[1])
    low, high = float(min(x.min(), witness.min())), float(max(x.max(), witness.max()))
    for a, b in ((0.0, 1.0), (0.0, 255.0)):
        if a - 0.05 * b <= low and 0.3 * b <= high <= 1.05 * b:
            return a, b
    return low, high
