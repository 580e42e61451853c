"""The JSON Schema of gate files, for editors."""

from __future__ import annotations

from typing import Any

from pytest_ensemble.gatefile.keys import ENSEMBLE, NAME, THRESHOLDS

__all__ = ["gate_file_schema"]


def gate_file_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) that holds for every gate file that can be read."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Gate file of pytest-ensemble (ensemble.toml)",
        "type": "object",
        "required": ["ensemble"],
        "additionalProperties": False,
        "properties": {
            "ensemble": {
                "description": "The ensembles, by name.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": f"^{NAME}$"},
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        name: {**key.schema, "description": key.help} for name, key in ENSEMBLE.items()
                    },
                    "anyOf": [{"required": [name]} for name in THRESHOLDS],
                },
            }
        },
    }
