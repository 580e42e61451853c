"""The ONNX operators that lowering knows, each as a function on `Expression`s.

To add one: write `def _name(node: Node) -> Expression` in the module where it belongs, register it with
`@operator("Name")`, and add a graph that uses it to tests/networks/test_operators.py; onnxruntime is the
oracle there.
"""

from __future__ import annotations

# imported for what they register
from pytest_ensemble.networks.operators import affine as _affine  # noqa: F401
from pytest_ensemble.networks.operators import arrangement as _arrangement  # noqa: F401
from pytest_ensemble.networks.operators import piecewise as _piecewise  # noqa: F401
from pytest_ensemble.networks.operators import reductions as _reductions  # noqa: F401
from pytest_ensemble.networks.operators.node import OPERATORS, Node, NotPiecewiseLinear, Value

__all__ = ["OPERATORS", "Node", "NotPiecewiseLinear", "Value"]
