"""Bytes of an ONNX file -> a protobuf that is safe to walk: within limits, with all of its data in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import inliner

from pytest_ensemble.errors import ModelError, quoted, reason
from pytest_ensemble.networks.limits import FILE_BYTES, STEP, WORK

__all__ = ["parse", "without_functions"]

_PARTS = 1 << 18  # fields in a file: each takes up to a hundred times its bytes in memory
_NODES = WORK // STEP
_ONNX_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def parse(content: bytes, where: str) -> onnx.ModelProto:
    """Read an ONNX file, with all of its tensors in it.

    Raises:
        ModelError: not an ONNX file, too large, or with data that is elsewhere.
    """
    if len(content) > FILE_BYTES:
        raise ModelError(f"{where}: is larger than {FILE_BYTES} bytes, too large to verify.")
    try:
        if _more_parts(memoryview(content), onnx.ModelProto.DESCRIPTOR, _PARTS) < 0:
            raise ModelError(f"{where}: has more than {_PARTS} parts, too many to verify.")
        proto = onnx.load_model_from_string(content)
    except ModelError:
        raise
    except Exception as error:  # protobuf's DecodeError is not part of its public interface
        # torch.save writes zip files, and pickles before
        torch = content[:4] == b"PK\x03\x04" or content[:2] == b"\x80\x02"
        hint = (
            " It looks like a file of torch.save: export the model with torch.onnx.export." if torch else ""
        )
        raise ModelError(f"{where}: not an ONNX file ({reason(error)}).{hint}") from None
    if not proto.graph.node or not proto.graph.output:
        raise ModelError(f"{where}: not an ONNX model: its graph is empty.")
    for message in _messages(proto):
        # neither onnx nor onnxruntime may read a file that a model names
        if isinstance(message, onnx.TensorProto) and message.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelError(
                f"{where}: its weights ({quoted(message.name)}) are in another file. Save the model "
                "with its weights inside: onnx.save(onnx.load(path), path)."
            )
        if isinstance(message, onnx.SparseTensorProto):
            raise ModelError(f"{where}: has sparse tensors, which are not supported. Export them dense.")
    return proto


def _more_parts(data: memoryview, kind: Any, left: int) -> int:
    """How many more fields than those of this message there may be; negative if there are too many.

    A message that is damaged is read up to there: the real parser says so.
    """
    place, end = 0, len(data)
    while place < end and left >= 0:
        left -= 1
        tag, place = _varint(data, place)
        form, size = tag & 7, 0
        if form == 0:
            _, place = _varint(data, place)
        elif form == 2:
            size, place = _varint(data, place)
            field = kind.fields_by_number.get(tag >> 3)
            if field is not None and field.message_type is not None:
                left = _more_parts(data[place : place + size], field.message_type, left)
        elif form in (1, 5):
            size = 8 if form == 1 else 4
        elif form > 5:
            break
        place += size
    return left


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number of the wire format, and where it ends."""
    value = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            break
    return value, place


def _messages(message: Any) -> Iterator[Any]:
    """A message and all that are in it, however deep."""
    stack = [message]
    while stack:
        message = stack.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                stack.extend([value] if hasattr(value, "ListFields") else value)


def without_functions(proto: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model with the bodies of its own functions where they are called.

    Raises:
        ModelError: functions that call themselves, stand for operators of ONNX, or grow too large.
    """
    if not proto.functions:
        return proto
    bodies: dict[tuple[str, str], Any] = {}
    for function in proto.functions:
        key = (function.domain, function.name)
        if function.domain in _ONNX_DOMAINS or key in bodies:
            name = quoted(function.name)
            raise ModelError(f"{where}: defines the function {name} twice, or instead of ONNX's own.")
        bodies[key] = function
    sizes: dict[tuple[str, str], int] = {}

    def expanded(message: Any, open_ones: tuple[tuple[str, str], ...]) -> int:
        """Number of nodes with all calls replaced."""
        total = 0
        for node in _messages(message):
            if not isinstance(node, onnx.NodeProto):
                continue
            key = (node.domain, node.op_type)
            if key in bodies and key not in sizes:
                if key in open_ones or len(open_ones) > 100:
                    name = quoted(node.op_type)
                    raise ModelError(f"{where}: its function {name} calls itself, or too many others.")
                sizes[key] = expanded(bodies[key], (*open_ones, key))
            total += sizes.get(key, 1)
        return total

    nodes = expanded(proto.graph, ())
    if nodes > _NODES:
        raise ModelError(f"{where}: has {nodes} nodes, too many to verify; {_NODES} are allowed.")
    try:
        return inliner.inline_local_functions(proto)
    except Exception as error:  # onnx raises what its checker raises
        raise ModelError(f"{where}: its functions can't be read: {reason(error)}") from None
