"""Read a JSON report back, and say what is wrong with one that can't be used."""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema

from pytest_ensemble.errors import ReportError
from pytest_ensemble.report.document import SCHEMA, Document

__all__ = ["json_schema", "read"]


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the JSON report, as the package ships it."""
    text = (resources.files(__package__) / "schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def read(path: Path) -> Document:
    """The document that a JSON report holds.

    Raises:
        ReportError: no such file, not JSON, or not a report; says where and what would be valid.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text, parse_constant=_number, parse_float=_number, parse_int=_whole)
    except OSError as error:
        raise ReportError(f"{path}: can't be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: is not JSON: {error}.") from None
    if not isinstance(value, dict) or "schema" not in value:
        raise ReportError(
            f"{path}: is not a report of pytest-ensemble. Make one with pytest --ensemble-report=FILE.json."
        )
    if value["schema"] != SCHEMA:
        raise ReportError(
            f"{path}: is a report of schema {value['schema']!r}; this version reads {SCHEMA!r}."
        )
    errors = jsonschema.Draft202012Validator(json_schema()).iter_errors(value)
    worst = jsonschema.exceptions.best_match(errors)
    if worst is not None:
        raise ReportError(f"{path}: {worst.json_path}: {_short(worst.message)}.")
    try:
        document = Document.from_json(value)
        _check(document)
        return document
    except (KeyError, TypeError, ValueError) as error:  # what a schema can't say
        raise ReportError(f"{path}: is damaged: {error}.") from None


def _number(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > 18:
        raise ValueError("a number has too many digits")
    return int(text)


def _check(document: Document) -> None:
    """Refuse entries that don't fit each other, which a schema can't say."""
    members = {ensemble.ensemble: ensemble.members for ensemble in document.ensembles}
    named: list[tuple[str | None, tuple[str, ...]]] = [
        *((entry.ensemble, entry.pair) for entry in document.mutual_error),
        *((entry.ensemble, entry.pair) for entry in document.curves),
        *((entry.ensemble, entry.pair) for entry in document.gallery),
        *((entry.ensemble, entry.pair) for entry in document.examples),
        *((entry.ensemble, (entry.member,)) for entry in document.uniqueness),
        *((gate.ensemble, ()) for gate in document.gates if gate.ensemble is not None),
    ]
    for ensemble, names in named:
        if ensemble not in members:
            raise ValueError(f"there is no ensemble {ensemble!r}")
        if not set(names) <= set(members[ensemble]):
            raise ValueError(f"{'~'.join(names)} is not of ensemble {ensemble!r}")
    if any(not entry.sat + entry.unsat + entry.unknown for entry in document.mutual_error):
        raise ValueError("a mutual error is of no points")
    for shown in document.gallery:
        given = {len(values) for values in (shown.x, shown.witness) if values is not None}
        if not given <= {math.prod(shown.shape)}:
            raise ValueError(f"an input in the gallery does not have the shape {shown.shape}")


def _short(message: str) -> str:
    return message if len(message) <= 200 else f"{message[:90]} ... {message[-90:]}"
