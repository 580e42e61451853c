"""Shared by the make_*.py scripts; run on its own, it checks and lists every stored model."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

HERE = Path(__file__).parent


def store(model: onnx.ModelProto, name: str) -> Path:
    """Write `name`.onnx beside this file, without the exporter's notes (source lines, paths)."""
    tidy(model)
    onnx.checker.check_model(model, full_check=True)
    path = HERE / f"{name}.onnx"
    onnx.save(model, path)
    return path


def tidy(message) -> None:
    """Clear doc_string and metadata_props everywhere below `message`; the graph stays as it is."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type:
            for child in [value] if hasattr(value, "ListFields") else value:
                tidy(child)


def session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def outputs(path: Path, x: np.ndarray) -> list:
    """The outputs for the rows of `x`, which are fed one by one if the batch is fixed or absent."""
    run = session(path)
    (tensor,) = run.get_inputs()
    x = x.astype({"tensor(float)": np.float32, "tensor(double)": np.float64}[tensor.type])
    if tensor.shape and not isinstance(tensor.shape[0], int):
        return run.run(None, {tensor.name: x})
    shape = tensor.shape
    rows = [run.run(None, {tensor.name: row.reshape(shape)}) for row in x]
    columns = zip(*rows, strict=True)
    return [np.stack([np.asarray(value).ravel() for value in column]) for column in columns]


def sample(path: Path, count: int = 300) -> np.ndarray:
    shape = session(path).get_inputs()[0].shape
    if len(shape) > 1:
        shape = shape[1:]
    return np.random.default_rng(0).normal(size=(count, *shape))


def labels(values: list) -> list:
    """The label of each row, from whichever output tells it."""
    last = values[-1]
    if len(values) == 1 and last.ndim > 1 and last.shape[1] > 1:
        return last.argmax(1).tolist()
    return np.ravel(values[0]).tolist()


def main() -> None:
    for path in sorted(HERE.glob("*.onnx")):
        model = onnx.load(path)
        opsets = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import)
        print(f"{path.name}  ({path.stat().st_size} bytes; IR {model.ir_version}; {opsets})")
        for tensor in [*session(path).get_inputs(), *session(path).get_outputs()]:
            print(f"    {tensor.name}: {tensor.type} {tensor.shape}")
        print("    " + " ".join(node.op_type for node in model.graph.node))
        if model.functions:
            print("    functions: " + " ".join(f.name for f in model.functions))
        if len(session(path).get_inputs()) > 1:
            continue
        seen = Counter(labels(outputs(path, sample(path))))
        assert len(seen) > 1, f"{path.name} gives one label only: {seen}"
        if len(seen) < 10:
            print(f"    labels of 300 normal inputs: {dict(sorted(seen.items()))}")


if __name__ == "__main__":
    main()
