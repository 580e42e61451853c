"""The keys of a gate file, as one list: what each holds, how it is checked, and its JSON Schema."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_ensemble.analysis.gates import Metric

__all__ = ["ENSEMBLE", "NAME", "PREPROCESSING", "THRESHOLDS", "Key", "KeyProblem"]

NAME = r"[^\s\[\]:/\\]+"  # of an ensemble; it is part of the ids of its gates
THRESHOLDS: tuple[Metric, ...] = ("min_uniqueness", "max_mutual_error")


class KeyProblem(ValueError):
    """What is wrong with a value, to be put behind the name of its key: "must be ...; got ..."."""

    def __init__(self, valid: str, value: Any) -> None:
        super().__init__(f"must be {valid}; got {value!r}.")


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        help: what it means.
        read: the value it stands for; raises KeyProblem.
        schema: of its values.
        example: as a file might have it.
    """

    help: str
    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    example: str


# --- values ---------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    )


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise KeyProblem("a text, a path", value)
    return value


def _members(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise KeyProblem('a list of names, ["m1", "m2"] for example', value)
    twice = [name for k, name in enumerate(value) if name in value[:k]]
    if len(value) < 2 or twice:
        raise KeyProblem("at least two different names", value)
    return tuple(value)


def _points(value: Any) -> Any:
    if value != "all" and not _is_whole(value, 1):
        raise KeyProblem('a whole number >= 1, or "all"', value)
    return value


def _label(value: Any) -> Any:
    if value != "best" and not _is_whole(value, 0):
        raise KeyProblem('a class (a whole number >= 0), or "best"', value)
    return value


def _side(value: Any) -> bool:
    """Infinite sides are no bound; NaN is nothing."""
    numbers = value if isinstance(value, list) and value else [value]
    return all(isinstance(n, (int, float)) and not isinstance(n, bool) and n == n for n in numbers)


def _bounds(value: Any) -> Any:
    if value == "none":
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(_side(side) for side in value):
        raise KeyProblem('[low, high], each a number or a list of numbers, or "none"', value)
    low, high = value
    if not isinstance(low, list) and not isinstance(high, list) and low > high:
        raise KeyProblem("[low, high] with low <= high", value)
    return low, high


def _epsilon(value: Any) -> tuple[float, ...]:
    several = value if isinstance(value, list) else [value]
    if not several or not all(_is_number(one) and one >= 0 for one in several):
        raise KeyProblem("a finite number >= 0, or a list of them", value)
    return tuple(sorted({float(one) for one in several}))


def _share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _threshold(value: Any) -> float | dict[float, float]:
    """One score for all radii, or one for each."""
    if _share(value):
        return float(value)
    if not isinstance(value, dict) or not value:
        raise KeyProblem('a number between 0 and 1, or a table of them by epsilon, {"0.02" = 0.9}', value)
    scores: dict[float, float] = {}
    for name, score in value.items():
        if isinstance(score, dict):
            raise KeyProblem(
                'a table by epsilon with the epsilons in quotes ("0.02" = 0.9; without quotes TOML takes the '
                "point for a table in a table)",
                value,
            )
        try:
            epsilon = float(name)
        except ValueError:
            epsilon = math.nan
        if not (math.isfinite(epsilon) and epsilon >= 0) or epsilon in scores:
            raise KeyProblem("a table by different epsilons, finite numbers >= 0 in quotes", value)
        if not _share(score):
            raise KeyProblem(f"between 0 and 1 at epsilon {name}", score)
        scores[epsilon] = float(score)
    return scores


def _confidence(value: Any) -> float:
    if not _is_number(value) or not 0 < value < 1:
        raise KeyProblem("a number between 0 and 1, 0.95 for example", value)
    return float(value)


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise KeyProblem("a table", value)
    return value


def _scale(value: Any) -> tuple[float, float]:
    """A factor as (numerator, denominator)."""
    if _is_number(value) and value != 0:
        return float(value), 1.0
    ratio = re.fullmatch(r"\s*([^/\s]+)\s*/\s*([^/\s]+)\s*", value) if isinstance(value, str) else None
    try:
        numbers = [float(part) for part in ratio.groups()] if ratio else []
    except ValueError:
        numbers = []
    if not numbers or not all(math.isfinite(number) and number != 0 for number in numbers):
        raise KeyProblem('a number other than 0, or a ratio in quotes, "1/255" for example', value)
    return numbers[0], numbers[1]


def _per_channel(value: Any) -> tuple[float, ...]:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(_is_number(number) for number in numbers):
        raise KeyProblem("a number, or a list with one for each channel", value)
    return tuple(float(number) for number in numbers)


def _std(value: Any) -> tuple[float, ...]:
    numbers = _per_channel(value)
    if not all(number > 0 for number in numbers):
        raise KeyProblem("a number > 0, or a list with one for each channel", value)
    return numbers


def _axes(value: Any) -> str:
    letters = value.upper() if isinstance(value, str) else ""
    letters = letters.removeprefix("N")
    if not re.fullmatch(r"[A-Z]+", letters) or len(set(letters)) < len(letters):
        raise KeyProblem('one letter for each axis, "NHWC" or "NCHW" for example', value)
    return letters


# --- the list -------------------------------------------------------------------------------------

_NUMBER = {"type": "number"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_RADIUS = {"type": "number", "minimum": 0}
_NUMBERS = {"oneOf": [_NUMBER, {"type": "array", "items": _NUMBER, "minItems": 1}]}
_BY_EPSILON = {
    "oneOf": [
        _SHARE,
        {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": r"^[0-9.eE+-]+$"},
            "additionalProperties": _SHARE,
        },
    ]
}

PREPROCESSING: dict[str, Key] = {
    "scale": Key(
        "Factor on the inputs, before mean and std: a number, or a ratio in quotes, which divides as the "
        "pipeline does.",
        _scale,
        {"oneOf": [{"type": "number", "not": {"const": 0}}, {"type": "string", "pattern": "^[^/]+/[^/]+$"}]},
        'scale = "1/255"',
    ),
    "mean": Key(
        "Subtracted after scale: a number, or one for each channel.",
        _per_channel,
        _NUMBERS,
        "mean = [0.485, 0.456, 0.406]",
    ),
    "std": Key(
        "Divides after mean is subtracted: a number > 0, or one for each channel.",
        _std,
        _NUMBERS,
        "std = [0.229, 0.224, 0.225]",
    ),
    "data_axes": Key(
        "Order of the axes in the data, a letter each; C is the channel, a leading N counts samples.",
        _axes,
        {"type": "string", "pattern": "^[A-Za-z]+$"},
        'data_axes = "NHWC"',
    ),
    "model_axes": Key(
        "Order of the axes that the model takes, if it is another.",
        _axes,
        {"type": "string", "pattern": "^[A-Za-z]+$"},
        'model_axes = "NCHW"',
    ),
}
_STEPS = {name: {**key.schema, "description": key.help} for name, key in PREPROCESSING.items()}

ENSEMBLE: dict[str, Key] = {
    "pool": Key(
        "Folder or glob pattern of the ONNX classifiers, relative to this file; left out: --ensemble-pool.",
        _text,
        {"type": "string", "minLength": 1},
        'pool = "models"',
    ),
    "data": Key(
        "Labelled data, an .npz with x and y, relative to this file; left out: --ensemble-data.",
        _text,
        {"type": "string", "minLength": 1},
        'data = "data/validation.npz"',
    ),
    "members": Key(
        "Names of the networks that are judged together; left out: the whole pool. The rest of the pool are "
        "the candidates.",
        _members,
        {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True},
        'members = ["m1", "m2", "m3"]',
    ),
    "points": Key(
        'How many agreement points, or "all"; left out: ensemble_points in the ini, else 200.',
        _points,
        {"oneOf": [{"type": "integer", "minimum": 1}, {"const": "all"}]},
        "points = 200",
    ),
    "label": Key(
        'Only points of this class, or of the "best" classified one; left out: of any.',
        _label,
        {"oneOf": [{"type": "integer", "minimum": 0}, {"const": "best"}]},
        'label = "best"',
    ),
    "bounds": Key(
        '[low, high] that inputs keep to, numbers or lists, or "none"; left out: ensemble_bounds in the ini.',
        _bounds,
        {"oneOf": [{"const": "none"}, {"type": "array", "items": _NUMBERS, "minItems": 2, "maxItems": 2}]},
        "bounds = [0, 1]",
    ),
    "epsilon": Key(
        "Radius of the L-infinity balls, in the units of the data, or several; left out: ensemble_epsilon in "
        "the ini, or what the thresholds name.",
        _epsilon,
        {"oneOf": [_RADIUS, {"type": "array", "items": _RADIUS, "minItems": 1}]},
        "epsilon = [0.02, 0.05]",
    ),
    "min_uniqueness": Key(
        "Every member's uniqueness is at least this: a number, or a table of numbers by epsilon.",
        _threshold,
        _BY_EPSILON,
        "min_uniqueness = 0.9",
    ),
    "max_mutual_error": Key(
        "The mutual error of every pair is at most this: a number, or a table of numbers by epsilon.",
        _threshold,
        _BY_EPSILON,
        'max_mutual_error = {"0.02" = 0.05, "0.05" = 0.15}',
    ),
    "confidence": Key(
        "Gates must hold with this confidence for inputs like the points, not for the points alone.",
        _confidence,
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "confidence = 0.95",
    ),
    "preprocessing": Key(
        "What the pipeline does to inputs before the models get them; a table in it with the name of a model "
        "is for that model instead.",
        _table,
        {
            "type": "object",
            "properties": _STEPS,
            "additionalProperties": {
                "type": "object",
                "properties": _STEPS,
                "additionalProperties": False,
            },
        },
        'preprocessing = {scale = "1/255"}',
    ),
}
