"""Certificates of the native engine: all of them hold, and nothing false does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_ensemble.certificates.__main__ import main
from pytest_ensemble.certificates.check import Content, check
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.cascade import Cascade
from pytest_ensemble.networks.model import Model
from pytest_ensemble.queries.answer import Outcome
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from tests.engines.random_networks import architecture_query, tiny_model, tiny_query

Arrays = dict[str, NDArray[Any]]


def at_many_epsilons(query: Query) -> list[Query]:
    ball = query.ball
    return [
        Query(query.models, Ball(ball.center, factor * ball.epsilon, ball.bounds), query.label)
        for factor in (0.25, 0.5, 1.0, 2.0)
    ]


def certificates_of(folder: Path, queries: list[Query]) -> list[Outcome]:
    """Solve the queries with certificates written to the folder."""
    answers = {id(query): answer for query, answer in Cascade(certificates=folder).solve(queries, Budget())}
    return [answers[id(query)].outcome for query in queries]


def read(file: Path, models: list[Model]) -> tuple[Arrays, dict[str, Any], list[Any]]:
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    manifest = json.loads(arrays.pop("manifest").tobytes())
    by_digest = {model.sha256: model.network for model in models}
    return arrays, manifest, [by_digest[entry["sha256"]] for entry in manifest["models"]]


def recheck(folder: Path, models: list[Model]) -> int:
    """How many proofs hold; all must."""
    held = 0
    for file in folder.glob("*.npz"):
        arrays, manifest, networks = read(file, models)
        result = check(Content(arrays, networks, manifest["queries"]))
        assert all(result)
        held += len(result)
    return held


@pytest.mark.parametrize("make", [tiny_query, architecture_query])
def test_every_proof_holds(make: Any, tmp_path: Path) -> None:
    held = 0
    for seed in range(24):
        queries = at_many_epsilons(make(np.random.default_rng(seed)))
        folder = tmp_path / str(seed)
        outcomes = certificates_of(folder, queries)
        found = recheck(folder, list(queries[0].models))
        assert found == (Outcome.UNSAT in outcomes)  # one bracket, proven at its largest epsilon
        held += found
    assert held > 8


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Arrays, dict[str, Any], list[Any], Query]:
    """A proof that needs branching on both networks at once, and a query next to it that is sat."""
    rng = np.random.default_rng([15, 7])
    models = tuple(tiny_model(rng, inputs=3, hidden=(6, 4), name=f"m{k}") for k in range(2))
    center = rng.uniform(-1, 1, size=3).astype(np.float32)
    label = int(models[0].predict(center[None])[0])
    queries = [Query(models, Ball(center, epsilon), label) for epsilon in (0.3, 0.6, 1.2)]
    folder = tmp_path_factory.mktemp("joint")
    assert certificates_of(folder, queries) == [Outcome.UNSAT, Outcome.UNSAT, Outcome.SAT]
    (file,) = folder.glob("*.npz")
    arrays, manifest, networks = read(file, list(models))
    (team,) = (name for name in arrays if name.endswith("members") and len(arrays[name]) == 2)
    assert arrays[team.replace("members", "leaves")].max() > 3
    return arrays, manifest, networks, queries[1]


def holds(arrays: Arrays, manifest: dict[str, Any], networks: list[Any]) -> bool:
    try:
        return all(check(Content(arrays, networks, manifest["queries"])))
    except (ValueError, IndexError, KeyError):
        return False


def test_the_joint_proof_holds(joint: Any) -> None:
    assert holds(*joint[:3])


def test_a_larger_epsilon_is_not_proven(joint: Any) -> None:
    arrays, manifest, networks, _ = joint
    (query,) = manifest["queries"]
    larger = manifest | {"queries": [[*query[:-1], query[-1] + 1]]}
    assert not holds(arrays, larger, networks)
    grown = {**arrays, "epsilon": 2 * arrays["epsilon"]}
    assert not holds(grown, manifest, networks)


def test_other_networks_are_not_proven(joint: Any) -> None:
    arrays, manifest, networks, _ = joint
    assert not holds(arrays, manifest, networks[::-1])


def test_another_label_is_not_proven(joint: Any) -> None:
    arrays, manifest, networks, _ = joint
    assert not holds({**arrays, "label": (arrays["label"] + 1) % 3}, manifest, networks)


@pytest.mark.parametrize("part", ["leaf", "fact"])
def test_a_missing_part_is_noticed(joint: Any, part: str) -> None:
    arrays, manifest, networks, _ = joint
    name = next(key[:-7] for key in arrays if key.endswith("members") and len(arrays[key]) == 2)
    counts = arrays[f"{name}leaves"]
    fact = int(counts.argmax())
    rows = slice(int(counts[:fact].sum()), int(counts[: fact + 1].sum()))
    gone = range(rows.start, rows.start + 1) if part == "leaf" else range(rows.start, rows.stop)
    changed = dict(arrays)
    for key, values in arrays.items():
        if key.startswith(name) and len(values) == counts.sum() and key != f"{name}leaves":
            changed[key] = np.delete(values, list(gone), axis=0)
    if part == "leaf":
        changed[f"{name}leaves"] = counts - (np.arange(len(counts)) == fact)
    else:
        changed[f"{name}leaves"] = np.delete(counts, fact)
        changed[f"{name}facts"] = np.delete(arrays[f"{name}facts"], fact, axis=0)
    assert not holds(changed, manifest, networks)


@pytest.mark.parametrize(
    ("suffix", "value"),
    [("alpha0", 2.0), ("alpha0", -1.0), ("beta0", 1.0), ("beta1", -1.0), ("weight0", -1.0)],
)
def test_multipliers_that_prove_nothing_are_refused(joint: Any, suffix: str, value: float) -> None:
    arrays, manifest, networks, _ = joint
    changed = {
        name: np.full_like(values, value) if name.endswith(suffix) else values
        for name, values in arrays.items()
    }
    assert not holds(changed, manifest, networks)


@pytest.mark.parametrize("side", ["lower", "upper"])
def test_bounds_that_do_not_hold_are_refused(joint: Any, side: str) -> None:
    """Narrower ones would prove more; they are recomputed."""
    arrays, manifest, networks, _ = joint
    changed = {}
    for name, values in arrays.items():
        other = arrays.get(name.replace(side, "upper" if side == "lower" else "lower"))
        narrower = name.endswith(side) and other is not None
        changed[name] = values + 0.05 * (other - values) if narrower else values
    assert not holds(changed, manifest, networks)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["flip", "zero", "scale"]))
def test_nothing_false_is_ever_held(joint: Any, seed: int, how: str) -> None:
    """Whatever is damaged in a proof, it does not hold at the epsilon that has a witness."""
    arrays, manifest, networks, _ = joint
    rng = np.random.default_rng(seed)
    ball = ("center", "epsilon", "low", "high")
    names = [name for name, values in arrays.items() if values.dtype.kind == "f" and values.size]
    name = str(rng.choice([name for name in names if name not in ball]))
    changed = arrays[name].copy()
    place = rng.integers(changed.size, size=3)
    changed.reshape(-1)[place] *= {"flip": -1.0, "zero": 0.0, "scale": rng.normal()}[how]
    (claim,) = manifest["queries"]
    largest = len(arrays["epsilon"]) - 1
    false = manifest | {"queries": [[*claim[:-1], largest]]}
    facts = {key: values.copy() for key, values in arrays.items() if key.endswith(("facts", "boxes"))}
    for values in facts.values():
        values[:, 1] = largest
    assert not holds({**arrays, **facts, name: changed}, false, networks)


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def proven(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of certificates and one of models."""
    models, folder = tmp_path / "models", tmp_path / "certificates"
    models.mkdir()
    for seed in range(2):
        (models / f"m{seed}.onnx").write_bytes(tiny_model(np.random.default_rng(seed)).content)
    pair = tuple(Model.load(path) for path in sorted(models.glob("*.onnx")))
    center = np.zeros(2, np.float32)
    label = int(pair[0].predict(center[None])[0])
    assert certificates_of(folder, [Query(pair, Ball(center, 1e-3), label)]) == [Outcome.UNSAT]
    return folder, models


def test_command(proven: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(proven[0])]) == 0
    assert capsys.readouterr().out.startswith("1 of 1 proofs hold (1 files, 2 networks; ")


def test_command_finds_moved_models(proven: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, models = proven
    moved = models.rename(models.with_name("elsewhere"))
    assert main([str(folder)]) == 1
    assert "can't be read" in capsys.readouterr().err
    assert main([str(folder), "--models", str(moved)]) == 0


def test_command_refuses_changed_models(
    proven: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, models = proven
    (models / "m0.onnx").write_bytes((models / "m1.onnx").read_bytes())
    assert main([str(folder)]) == 1
    assert "is not the file of 'm0' that was proven" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 not a zip"])
def test_command_refuses_garbage(
    proven: tuple[Path, Path], content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (proven[0] / "bad.npz").write_bytes(content)
    assert main([str(proven[0])]) == 1
    printed = capsys.readouterr()
    assert "bad.npz: can't be checked" in printed.err
    assert "1 of 2 files could not be checked" in printed.out


def test_command_wants_certificates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "There are no certificates" in capsys.readouterr().err
