"""`Model`: one ONNX classifier as its users run it, and its exact lowering."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from pytest_ensemble.errors import DataError, ModelError, quoted, reason
from pytest_ensemble.files import open_regular
from pytest_ensemble.networks.limits import FILE_BYTES, LARGEST
from pytest_ensemble.networks.lowering import Lowered, lower
from pytest_ensemble.networks.network import Network
from pytest_ensemble.networks.parsing import parse
from pytest_ensemble.networks.rounding import output_rounding

__all__ = ["Model"]

_NUMBERS: dict[str, Any] = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_TOGETHER = 256  # samples that onnxruntime is given at a time: each may take many numbers on the way
# How far onnxruntime's float32 logits may be from ours, relative to the largest number met on the way.
_MISMATCH = 1e-4
# Logits that differ by this much, relative to the same, must order the class scores likewise.
_CLEAR = 1e-3


class Model:
    """An ONNX classifier: its content, its digest, what it says, and its exact `Network`.

    Attributes:
        name: file stem, unless given otherwise.
        path: where it was read from, or None.
        content: the bytes of the file.
        sha256: their hex digest; what answers are keyed by.
        input_shape: shape of one sample, without a batch axis.
        classes: number of classes.
        network: the graph as affine and masked-ReLU layers, checked against onnxruntime.
    """

    def __init__(self, content: bytes, name: str, path: Path | None = None) -> None:
        """Read a classifier from the bytes of an ONNX file.

        Raises:
            ModelError: not an ONNX file, not a classifier of one float tensor, or the lowering and
                onnxruntime disagree.
            UnsupportedOperatorError: an operator that is not piecewise linear.
        """
        self.name = name
        self.path = path
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.content = content
        self._where = str(path) if path else f"model {name!r}"
        self._proto = parse(content, self._where)
        self._input, self._feed_shape, self._dtype = self._read_input()
        self._batched = bool(self._feed_shape) and self._feed_shape[0] is None
        self.input_shape: tuple[int, ...] = tuple(
            int(n or 1) for n in (self._feed_shape[1:] if self._has_batch() else self._feed_shape)
        )
        self._lowered: Lowered = lower(self._proto, self._input, self._single_shape(), self._where)
        self.network: Network = self._lowered.network
        self.classes = self.network.output_size
        self._check()

    @classmethod
    def load(cls, path: str | Path, name: str | None = None) -> Model:
        """Read a classifier from an ONNX file; its name is the file's stem unless given."""
        path = Path(path)
        try:
            with open_regular(path) as file:
                content = file.read(FILE_BYTES + 1)
        except OSError as error:
            raise ModelError(f"{path}: can't be read: {error.strerror or error}.") from None
        return cls(content, name or path.stem, path)

    def __repr__(self) -> str:
        return f"Model({self.name!r}, sha256={self.sha256[:12]})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.content, self.name, self.path)

    @property
    def input_size(self) -> int:
        """Number of inputs, flat."""
        return self.network.input_size

    def scores(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Class scores as the file itself gives them: logits, or probabilities after a Softmax.

        Args:
            x: shape (m, ...) with `input_size` numbers a sample; cast to the model's dtype.

        Returns:
            float64 of shape (m, classes): exact copies of what onnxruntime returned.

        Raises:
            DataError: the number of inputs does not fit.
        """
        return self._run(self._session, x)[0]

    def predict(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Labels, shape (m,): the file's own label output, else the first of the highest scores."""
        return self.classify(x)[1]

    def classify(self, x: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """`scores` and `predict` in one run."""
        scores, label = self._run(self._session, x)
        return scores, scores.argmax(axis=1) if label is None else label

    def logits(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Scores before any trailing Softmax, as onnxruntime computes them: (m, ...) -> (m, classes)."""
        values = self._run(self._probe, x)[0]
        return np.hstack([np.zeros_like(values), values]) if self._lowered.binary else values

    # --- reading ----------------------------------------------------------------------------------

    def _read_input(self) -> tuple[str, list[int | None], Any]:
        stored = {tensor.name for tensor in self._proto.graph.initializer}
        inputs = [entry for entry in self._proto.graph.input if entry.name not in stored]
        if len(inputs) != 1:
            names = ", ".join(quoted(entry.name) for entry in inputs[:20]) or "none"
            raise ModelError(f"{self._where}: has {len(inputs)} inputs ({names}); 1 is needed.")
        (entry,) = inputs
        tensor = entry.type.tensor_type
        kind = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.DOUBLE: np.float64}.get(tensor.elem_type)
        if kind is None:
            raise ModelError(f"{self._where}: its input {quoted(entry.name)} is not a float tensor.")
        if not tensor.HasField("shape"):
            raise ModelError(f"{self._where}: its input {quoted(entry.name)} has no shape.")
        shape = [d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim]
        if None in shape[1:]:
            raise ModelError(
                f"{self._where}: its input shape {_show(shape)} leaves more than the batch open. "
                "Export the model for a fixed sample shape."
            )
        if (size := math.prod(n or 1 for n in shape)) > LARGEST:
            raise ModelError(
                f"{self._where}: its input {_show(shape)} has {size} numbers, too many to verify."
            )
        return entry.name, shape, kind

    def _has_batch(self) -> bool:
        """A leading symbolic axis, or a leading 1 before others, counts the samples."""
        shape = self._feed_shape
        return bool(shape) and (shape[0] is None or (shape[0] == 1 and len(shape) > 1))

    def _single_shape(self) -> tuple[int, ...]:
        return tuple(1 if n is None else n for n in self._feed_shape)

    # --- running ----------------------------------------------------------------------------------

    @cached_property
    def _session(self) -> ort.InferenceSession:
        """The user's file, unchanged unless it has no tensor of class scores among its outputs."""
        outputs = {output.name for output in self._proto.graph.output}
        if self._lowered.scores in outputs:
            return self._open(self.content)
        return self._open(self._exposing(self._lowered.scores))

    @cached_property
    def _probe(self) -> ort.InferenceSession:
        outputs = {output.name for output in self._proto.graph.output}
        if self._lowered.logits in outputs:
            return self._open(self.content)
        return self._open(self._exposing(self._lowered.logits))

    def _exposing(self, tensor: str) -> bytes:
        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        proto.graph.output.append(onnx.ValueInfoProto(name=tensor))
        return bytes(proto.SerializeToString())

    def _open(self, content: bytes) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise ModelError(f"{self._where}: onnxruntime can't run it: {reason(error)}") from None

    def _run(
        self, session: ort.InferenceSession, x: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
        x = np.asarray(x)
        samples = len(x) if x.ndim else 0
        size = int(np.prod(self._single_shape()))
        if x.size != samples * size:
            raise DataError(
                f"{self._where} takes {size} numbers a sample (shape {self.input_shape}); the data "
                f"has shape {x.shape[1:]} a sample."
            )
        wanted = self._lowered.scores if session is self._session else self._lowered.logits
        names = [wanted] + ([self._lowered.label] if self._lowered.label else [])
        flat = np.ascontiguousarray(x, dtype=self._dtype)
        shape = self._single_shape()
        together = bool(self._batched and samples)
        if together:
            flat = flat.reshape(samples, *shape[1:])
            feeds = [flat[row : row + _TOGETHER] for row in range(0, samples, _TOGETHER)]
        else:
            feeds = [row.reshape(shape) for row in flat]
        try:
            parts = [session.run(names, {self._input: feed}) for feed in feeds]
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise ModelError(f"{self._where}: onnxruntime can't run it: {reason(error)}") from None
        width = 1 if session is not self._session and self._lowered.binary else self.classes
        for feed, part in zip(feeds, parts, strict=True):
            if np.size(part[0]) != (len(feed) if together else 1) * width:
                raise ModelError(
                    f"{self._where}: onnxruntime's {quoted(wanted)} has shape {np.shape(part[0])} where "
                    f"{width} numbers for each sample were expected."
                )
        columns = [np.asarray(part[0], dtype=np.float64).reshape(-1, width) for part in parts]
        values = np.concatenate(columns) if columns else np.zeros((0, width))
        label = None
        if self._lowered.label and columns:
            label = np.concatenate([np.asarray(part[1]).reshape(-1) for part in parts])
        return values, label

    def _check(self) -> None:
        """Compare the lowering and the batching with onnxruntime on random inputs."""
        rng = np.random.default_rng(0)
        size = self.input_size
        samples = np.concatenate(
            [rng.random((8, size)), rng.normal(size=(8, size)), 16 * rng.normal(size=(8, size))]
        ).astype(np.float32)
        if self._batched:
            self._batched = self._batch_works(samples[:3])
        expected = self.logits(samples)
        value, largest = samples.astype(np.float64), np.ones((len(samples), 1))
        with np.errstate(all="ignore"):
            for layer in self.network.layers:
                value = layer.activate(layer.affine(value))
                largest = np.maximum(largest, np.abs(value).max(axis=1, keepdims=True))
        if not np.isfinite(expected).all() or not np.isfinite(value).all():
            raise ModelError(
                f"{self._where}: its outputs are not finite (weights that are NaN, infinite or huge?)."
            )
        worst = float((np.abs(value - expected) / largest).max())
        if worst > _MISMATCH:
            raise ModelError(
                f"{self._where}: its lowering to affine and ReLU layers differs from onnxruntime by "
                f"{worst:.2g} of its largest value. Please report this model: it must not be gated."
            )
        exact = samples.astype(np.float64)
        if (np.abs(value - expected) > output_rounding(self.network, exact, exact)).any():
            raise ModelError(
                f"{self._where}: onnxruntime's float32 differs from its lowering by more than the order of "
                "sums can explain (reduced precision?). Please report this model: it must not be gated."
            )
        scores, label = self._run(self._session, samples)
        rows, best = np.arange(len(expected)), expected.argmax(axis=1)
        clear = expected[rows, best] - np.sort(expected)[:, -2] > _CLEAR * largest[:, 0]
        if (clear & ((scores >= scores[rows, best][:, None]).sum(axis=1) > 1)).any():
            raise ModelError(
                f"{self._where}: its class scores {quoted(self._lowered.scores)} name other classes than the "
                f"logits {quoted(self._lowered.logits)} do. Please report this model: it must not be gated."
            )
        if label is not None and not np.array_equal(label, scores.argmax(axis=1)):
            row = int(np.argmax(label != scores.argmax(axis=1)))
            raise ModelError(
                f"{self._where}: its label output says {quoted(label.tolist()[row])} where "
                f"its scores say class {scores[row].argmax()}. Train with labels 0..{self.classes - 1}."
            )

    def _batch_works(self, samples: NDArray[np.float32]) -> bool:
        """Whether a batch gives what single samples give; some exports fix a batch of 1 inside."""
        try:
            together = self.logits(samples)
        except ModelError:  # single samples are tried next
            return False
        self._batched = False
        alone = self.logits(samples)
        return together.shape == alone.shape and bool(np.allclose(together, alone, 1e-4, 1e-4))


def _show(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("?" if n is None else str(n) for n in shape) + ")"


@lru_cache(maxsize=64)
def _unpickle(content: bytes, name: str, path: Path | None) -> Model:
    """Worker processes get the same models with every batch; each is read once."""
    return Model(content, name, path)
