"""Windows of convolutions and pools, in any number of dimensions, as tables of flat positions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pytest_ensemble.networks.limits import check_size, spend
from pytest_ensemble.networks.network import Float

__all__ = ["linear_convolution", "windows"]


def windows(shape: Sequence[int], kernel: Sequence[int], attributes: Mapping[str, Any]) -> NDArray[np.intp]:
    """Where each window of a tensor of `shape` (batch, channels, *space) finds its elements.

    Returns flat positions, shape (batch, channels, *output space, prod(kernel)). -1 stands for padding,
    -2 for what `ceil_mode` reaches beyond the padding. Attributes are those of ONNX Conv and pools:
    strides, pads, dilations, auto_pad, ceil_mode.
    """
    rank = len(kernel)
    space = shape[2:]
    strides = list(attributes.get("strides", [1] * rank))
    dilations = list(attributes.get("dilations", [1] * rank))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    before, after = _padding(space, reach, strides, attributes)
    beyond = [0] * rank
    if attributes.get("ceil_mode"):
        for k in range(rank):
            free = space[k] + before[k] + after[k] - reach[k]
            extra = -free % strides[k]
            # a window must start inside the input or the padding before it
            if extra and free + extra < space[k] + before[k]:
                beyond[k] = extra
    grown = zip(space, before, after, beyond, strict=True)
    check_size(math.prod(shape[:2]) * math.prod(sum(sizes) for sizes in grown))
    table = np.arange(int(np.prod(shape)), dtype=np.intp).reshape(tuple(shape))
    still = [(0, 0), (0, 0)]
    table = np.pad(table, still + list(zip(before, after, strict=True)), constant_values=-1)
    table = np.pad(table, still + [(0, n) for n in beyond], constant_values=-2)
    axes = tuple(range(2, 2 + rank))
    spend(math.prod(shape[:2]) * math.prod(kernel) * math.prod(_positions(table.shape[2:], reach, strides)))
    view = np.lib.stride_tricks.sliding_window_view(table, reach, axis=axes)
    outer = tuple(slice(None, None, stride) for stride in strides)
    inner = tuple(slice(None, None, dilation) for dilation in dilations)
    picked = view[(slice(None), slice(None), *outer, *inner)]
    return picked.reshape(*picked.shape[: 2 + rank], -1)


def _positions(space: Sequence[int], reach: Sequence[int], strides: Sequence[int]) -> list[int]:
    """How often each window fits."""
    return [(size - window) // stride + 1 for size, window, stride in zip(space, reach, strides, strict=True)]


def _padding(
    space: Sequence[int],
    reach: Sequence[int],
    strides: Sequence[int],
    attributes: Mapping[str, Any],
) -> tuple[list[int], list[int]]:
    mode = attributes.get("auto_pad", b"NOTSET").decode()
    if mode in ("NOTSET", "VALID"):
        pads = list(attributes.get("pads", [0] * 2 * len(space))) if mode == "NOTSET" else []
        pads = pads or [0] * 2 * len(space)
        return pads[: len(space)], pads[len(space) :]
    before, after = [], []
    for size, window, stride in zip(space, reach, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        small, large = total // 2, total - total // 2
        before.append(large if mode == "SAME_LOWER" else small)
        after.append(small if mode == "SAME_LOWER" else large)
    return before, after


def linear_convolution(
    shape: Sequence[int], weight: Float, attributes: Mapping[str, Any]
) -> tuple[Any, tuple[int, ...]]:
    """A convolution as a csr_array on the flat tensor, and the shape of its result.

    `weight` has shape (output channels, channels per group, *kernel).
    """
    groups = int(attributes.get("group", 1))
    table = windows(shape, weight.shape[2:], attributes)  # (batch, channels, *out, kernel)
    batch, channels, *out, window = table.shape
    filters = weight.shape[0]
    table = table.reshape(batch, groups, channels // groups, -1, window)
    kernels = weight.reshape(groups, filters // groups, 1, channels // groups, window)
    # (batch, groups, filters per group, positions, channels per group, window)
    columns = table.transpose(0, 1, 3, 2, 4)[:, :, None]
    spend(math.prod(np.broadcast_shapes(columns.shape, kernels[None].shape)))
    columns, values = np.broadcast_arrays(columns, kernels[None])
    rows = np.arange(batch * filters * int(np.prod(out))).reshape(*columns.shape[:4])
    rows = np.broadcast_to(rows[..., None, None], columns.shape)
    inside = columns >= 0
    matrix = sp.csr_array(
        (values[inside], (rows[inside], columns[inside])),
        shape=(int(rows.max()) + 1, int(np.prod(shape))),
    )
    return matrix, (batch, filters, *out)
