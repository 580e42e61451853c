"""Every benchmark runs on toy data and untrained networks: no torch, no data sets, seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks import ablation, adjudication, data, paper_workload, queries, scaling, training, workloads
from benchmarks.report import duration, significant
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.queries.answer import Answer, Outcome
from pytest_ensemble.queries.query import Query, make_query

SIDE = training.SIDE
WIDEST = 10  # random features are harder to verify than trained ones
Main = Callable[[list[str]], dict[str, Any]]


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Noisy prototypes in idx files, and networks with random features instead of trained ones."""
    rng = np.random.default_rng(0)
    prototypes = rng.uniform(60, 200, (10, SIDE, SIDE))
    for part, count in (("train", 300), ("t10k", 200)):
        labels = np.arange(count) % 10
        images = np.clip(prototypes[labels] + rng.normal(0, 25, (count, SIDE, SIDE)), 0, 255)
        _write_idx(tmp_path / f"{part}-images-idx3-ubyte", images)
        _write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    monkeypatch.setattr(data, "FASHION", tmp_path)
    monkeypatch.setattr(training, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(training, "fit_dense", _fit_dense)
    monkeypatch.setattr(training, "fit_conv", _fit_conv)
    yield
    workloads._images.cache_clear()


def _write_idx(path: Path, values: NDArray[Any]) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def _fit_dense(train: data.Images, hidden: tuple[int, ...], seed: int, epochs: int) -> training.Parameters:
    rng, value, parameters = np.random.default_rng(seed), train[0], []
    for size in (min(size, WIDEST) for size in hidden):
        weight = rng.normal(0, value.shape[1] ** -0.5, (size, value.shape[1])).astype(np.float32)
        bias = -(weight @ value.mean(axis=0))
        parameters += [weight, bias]
        value = np.maximum(value @ weight.T + bias, 0)
    return parameters + _last_layer(value, train[1])


def _fit_conv(train: data.Images, seed: int, epochs: int) -> training.Parameters:
    size, step = training.KERNEL, training.STRIDE
    kernels = np.random.default_rng(seed).normal(0, 0.2, (training.CHANNELS, 1, size, size))
    images = train[0].reshape(-1, SIDE, SIDE)
    windows = sliding_window_view(images, (size, size), axis=(1, 2))[:, ::step, ::step]
    features = np.maximum(np.einsum("mhwij,cij->mchw", windows, kernels[:, 0]), 0).reshape(len(images), -1)
    shift = np.zeros(training.CHANNELS, np.float32)
    return [kernels.astype(np.float32), shift, *_last_layer(features, train[1])]


def _last_layer(features: NDArray[Any], labels: NDArray[np.int64]) -> training.Parameters:
    """Ridge regression."""
    x = np.column_stack([features, np.ones(len(features))]).astype(np.float64)
    solution = np.linalg.solve(x.T @ x + 0.1 * np.eye(x.shape[1]), x.T @ np.eye(10)[labels])
    return [solution[:-1].T.astype(np.float32), solution[-1].astype(np.float32)]


def _run(main: Main, tmp_path: Path, options: str) -> dict[str, Any]:
    """What it returned, having checked that it was written too, without the folder of any data set."""
    path = tmp_path / "result.json"
    result = main([*options.split(), "--json", str(path)])
    written = json.loads(path.read_text())
    assert {"machine", "options"} < written.keys()
    assert written == {**written, **json.loads(json.dumps(significant(result)))}
    assert str(tmp_path) not in path.read_text()
    return result


def test_queries(tmp_path: Path) -> None:
    options = (
        "--engines native analysis --epsilons 0.005 0.01 --per-epsilon 3 --networks 3 --points 5 --limit 5"
    )
    result = _run(queries.main, tmp_path, options)
    scores = result["scores"]["fashion"]
    assert {own["solved"] for own in scores.values()} == {5}
    assert scores["native"]["par2"] == pytest.approx(scores["native"]["mean"])
    assert result["agreement"] == [{"engines": "native ~ analysis", "both": 5, "agree": 5}]
    assert result["disagreements"] == []


def test_paper_workload(tmp_path: Path) -> None:
    result = _run(paper_workload.main, tmp_path, "--networks 3 --points 5 --epsilons 0.005 0.01 --jobs 1")
    assert [run["labels"] for run in result["runs"]] == ["0", "all"]
    for run in result["runs"]:
        assert run["queries"] == 3 * 5 * 2 == run["sat"] + run["unsat"]
        assert sum(stage["share"] for stage in run["stages"].values()) == pytest.approx(1)
        assert run["wall_seconds"] > 0
        assert run["peak_mib"] > 1


def test_scaling(tmp_path: Path) -> None:
    options = (
        "--networks 2 3 --points 2 4 --epsilons 0.005 0.01 --widths 4 --depths 1 2 --depth-width 5 --jobs 1 "
        "--base-networks 3 --base-points 3 --singles 2 --single-epsilons 0.005 --timeout 1"
    )
    measured = _run(scaling.main, tmp_path, options)["fashion"]
    assert [case["queries"] for case in measured["networks"]] == [1 * 3 * 2, 3 * 3 * 2]
    assert [case["queries"] for case in measured["points"]] == [3 * 2 * 2, 3 * 4 * 2]
    assert [case["value"] for case in measured["epsilon"]] == [0.005, 0.01]
    assert [case["value"] for case in measured["depth"]] == ["5", "5x5"]
    assert measured["conv"][0]["relus"] == 8 * 12 * 12
    assert measured["width"][0]["unknown"] == 0


def test_ablation(tmp_path: Path) -> None:
    options = "--networks 4 --points 8 --epsilons 0.008 0.01 --queries 6 --limit 50"
    outcome = _run(ablation.main, tmp_path, options)["fashion"]
    assert list(outcome["ways"]) == ["w optimised", "w in {0, 1}", "w = 0.5"]
    assert 0 < sum(outcome["queries"].values()) <= 6
    for own in outcome["ways"].values():
        assert own["unsat"]["solved"] <= outcome["queries"]["unsat"]
        assert own["unsat"]["nodes"] + own["sat"]["nodes"] > 0


# --- disagreements --------------------------------------------------------------------------------


@pytest.fixture
def query() -> Query:
    """Answers to it can be made up: every input is a witness at its epsilon, or none, as `erring` says."""
    workload = workloads.load_workload("fashion", None, networks=2, points=1)
    other = int(np.flatnonzero(workload.points.data.y != 0)[0])
    x = workload.points.data.x
    models = tuple(workload.pool.values())
    # around a point of class 0, large enough to hold an image of another class
    return make_query(models, x[workload.points.indices[0]], 0, float(np.abs(x[other] - x[0]).max()) + 0.5)


def test_a_witness_that_replays_settles_a_disagreement(query: Query) -> None:
    images = workloads._images(data.FASHION, "t10k")
    witness = next(x for x, y in zip(*images, strict=True) if y != 0 and query.ball.contains(x[None])[0])
    answers = {"a": Answer(Outcome.UNSAT), "b": Answer(Outcome.SAT, witness), "c": Answer(Outcome.UNKNOWN)}
    assert adjudication.contradicts(answers)
    verdict = adjudication.adjudicate(query, answers, 1.0)
    assert (verdict["verdict"], verdict["wrong"]) == ("sat", ["a"])
    assert "b replays" in verdict["by"]


@pytest.mark.parametrize(
    ("opinion", "verdict", "wrong"),
    [(Outcome.UNSAT, "unsat", ["marabou"]), (Outcome.UNKNOWN, "open", [])],
)
def test_another_engine_is_asked_where_no_witness_replays(
    query: Query, opinion: Outcome, verdict: str, wrong: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adjudication, "ENGINES", ["native", "milp", "marabou"])
    asked = []

    class Other:
        name = "other"

        def __init__(self, name: str) -> None:
            asked.append(name)

        def solve(self, queries: list[Query], budget: Budget) -> Iterator[tuple[Query, Answer]]:
            yield queries[0], Answer(opinion)

        def close(self) -> None:
            asked.append("closed")

    center = query.ball.center
    answers = {"analysis": Answer(Outcome.UNSAT), "marabou": Answer(Outcome.SAT, center)}
    answers["milp"] = Answer(Outcome.UNKNOWN)
    found = adjudication.adjudicate(query, answers, 1.0, make=Other)
    assert (found["verdict"], found["wrong"]) == (verdict, wrong)
    assert asked == ["milp", "closed"]  # the others take part: native as the analysis


def test_engines_that_do_not_know_contradict_nobody() -> None:
    answers = {"a": Answer(Outcome.UNSAT), "b": Answer(Outcome.UNKNOWN)}
    assert not adjudication.contradicts(answers)
    assert adjudication.agreement([answers])[0]["both"] == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0331, "33.1 ms"), (1.4, "1.4 s"), (120.4, "120 s"), (2e-6, "2 us"), (None, "-")]
)
def test_durations_have_three_digits(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
