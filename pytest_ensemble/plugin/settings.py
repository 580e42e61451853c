"""`Settings`: the values that hold in a session, and where each came from."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_ensemble.plugin.options import SETTINGS, WORDS, Setting
from pytest_ensemble.plugin.values import CHECKS, VALUES, one_of

__all__ = ["Settings", "read_settings"]

# What a test must be run with again to give the same verdict.
_VERDICT = {"pool", "data", "engine", "timeout", "budget", "inconclusive", "baseline"}


@dataclass(frozen=True)
class Settings:
    """The values that hold in this session; paths are absolute.

    Attributes:
        sources: where each setting that was given came from, as users know it.
        arguments: what stood on the command line and changes verdicts, to run a test again.
        given: the text of each setting that was given, by where, for reports.
        command: what pytest was called with.
    """

    pool: str | None
    data: Path | None
    gates: Path | None
    engine: str
    timeout: float | None
    budget: float | None
    jobs: int
    memory: int | None
    suggest: Literal["failing", "always", "never"]
    inconclusive: Literal["fail", "warn"]
    fail_fast: bool
    progress: Literal["auto", "off"]
    report: tuple[Path, ...]
    certificates: Path | None
    cache: Literal["rw", "ro", "off"]
    cache_dir: Path | None
    audit: int
    baseline: Path | None
    baseline_update: bool
    baseline_accept: str | None
    points: int | Literal["all"]
    bounds: tuple[float, float] | None
    epsilon: tuple[float, ...] | None
    image_shape: tuple[int, ...] | None
    step_summary: bool
    sources: Mapping[str, str]
    arguments: tuple[str, ...]
    given: Mapping[str, str]
    command: str


def read_settings(config: pytest.Config) -> Settings:
    """The settings of this session.

    Raises:
        pytest.UsageError: a bad value; says where it came from, what it is and what would be valid.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    arguments: list[str] = []
    given: dict[str, str] = {}
    for setting in SETTINGS:
        texts, source, folder, for_this_run = _given(setting, config)
        if not texts:
            values[setting.name] = setting.default
            continue
        parsed = [_parse(setting, text, source, folder, for_this_run) for text in texts]
        values[setting.name] = tuple(parsed) if setting.several else parsed[-1]
        sources[setting.name] = source
        given[source] = " ".join(texts)
        if setting.name in _VERDICT and source == setting.option:
            arguments.append(f"{setting.option}={texts[-1]}")
    command = shlex.join(["pytest", *map(str, config.invocation_params.args)])
    return Settings(**values, sources=sources, arguments=tuple(arguments), given=given, command=command)


def _given(setting: Setting, config: pytest.Config) -> tuple[Sequence[str], str, Path, bool]:
    """Texts of a setting, where they came from, where relative paths start, and if only for this run."""
    here = config.invocation_params.dir
    if not setting.ini_only:
        option = config.getoption(setting.ini)
        if option is not None:
            return (option if setting.several else [option]), setting.option, here, True
        variable = "" if setting.option_only else os.environ.get(setting.variable, "").strip()
        if variable:
            texts = variable.split(os.pathsep) if setting.several else [variable]
            return texts, f"environment variable {setting.variable}", here, True
    if setting.option_only:
        return [], "", here, True
    value = config.getini(setting.ini)
    home, file = config.rootpath, "ini"
    if config.inipath is not None:
        home, file = config.inipath.parent, config.inipath.name
    words = [str(word) for word in value] if isinstance(value, list) else [str(value or "").strip()]
    if setting.name in WORDS:
        words = [" ".join(words)]
    return [word for word in words if word], f"{setting.ini} in {file}", home, False


def _parse(setting: Setting, text: str, source: str, folder: Path, for_this_run: bool) -> Any:
    try:
        if not isinstance(setting.value, str):
            return one_of(text, setting.value)
        value = VALUES[setting.value](text, folder)
        if setting.name in CHECKS and for_this_run:
            CHECKS[setting.name](value)
    except ValueError as error:
        raise pytest.UsageError(f"{source}: {text!r} {error}") from None
    except OSError as error:
        raise pytest.UsageError(f"{source}: {text!r} can't be used: {error.strerror or error}.") from None
    return value
