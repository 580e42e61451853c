"""A gate where real numbers say "no error" and onnxruntime's float32 errs: it never passes on `unsat`."""

import json

import numpy as np
import pytest

from pytest_ensemble.engines.marabou_process import available
from pytest_ensemble.queries.ball import Ball
from pytest_ensemble.queries.query import Query
from pytest_ensemble.queries.replay import errs
from tests.engines.exact import optimum
from tests.engines.test_deployed import EPSILON, ULP, tipping
from tests.plugin.conftest import LOAD, said

GATE = """
import pytest

@pytest.mark.ensemble(members=["a", "b"], epsilon={epsilon!r}, points=1)
@pytest.mark.ensemble_max_mutual_error(0.5)
def test_it(ensemble_gate):
    ensemble_gate.check()
"""


@pytest.fixture
def gate(pytester):
    """Runs a gate on two networks around 0 with an engine; gives the result and its JSON report."""
    (pytester.path / "models").mkdir()
    for model in (tipping("a"), tipping("b", 2.0)):
        (pytester.path / "models" / f"{model.name}.onnx").write_bytes(model.content)

    def run(engine, epsilon, x=0.0):
        np.savez(pytester.path / "data.npz", x=np.full((1, 1), x, np.float32), y=np.zeros(1, int))
        pytester.makepyfile(GATE.format(epsilon=epsilon))
        options = "--ensemble-pool=models", "--ensemble-data=data.npz", f"--ensemble-engine={engine}"
        result = pytester.runpytest_inprocess(
            *LOAD,
            *options,
            "--ensemble-report=report.json",
            *("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
        )
        return result, json.loads((pytester.path / "report.json").read_text())

    return run


@pytest.mark.parametrize("engine", ["auto", "native", "milp", "marabou"])
def test_what_errs_in_float32_only_is_not_unsat(gate, engine):
    if engine == "marabou" and not available():
        pytest.skip("needs maraboupy")
    models = tipping("a"), tipping("b", 2.0)
    assert optimum(Query(models, Ball(np.zeros(1, np.float32), EPSILON), 0)) < -0.1 * ULP
    assert all(errs(model, np.full((1, 1), EPSILON, np.float32), 0).all() for model in models)
    result, report = gate(engine, EPSILON)
    result.assert_outcomes(failed=1)
    assert report["queries"]["unsat"] == 0
    assert "Traceback" not in said(result)


def test_a_clear_margin_passes(gate):
    result, report = gate("native", 0.4, x=-0.5)
    result.assert_outcomes(passed=1)
    assert report["queries"]["unsat"] == report["queries"]["total"] > 0
