"""Inputs as pictures: PNG, as data that a page can hold."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.report.layout import image_layout

__all__ = ["difference", "picture", "png", "thinned"]

_MOST = 128  # pixels a side that are shown: of larger images every second, third, ... is
# ColorBrewer's PuOr: its ends differ in lightness as well for colour-blind readers.
_LESS, _NONE, _MORE = (np.array(rgb, float) for rgb in ((84, 39, 136), (247, 247, 247), (179, 88, 6)))


def _as_image(values: Sequence[float], shape: Sequence[int]) -> NDArray[np.float64]:
    """Shape (h, w, c), not larger than what is shown."""
    layout = image_layout(shape)
    pixels = np.asarray(values, np.float64).reshape(tuple(shape))
    if layout == "HW":
        pixels = pixels[:, :, None]
    if layout == "CHW":
        pixels = pixels.transpose(1, 2, 0)
    step = thinned(shape)
    return pixels[::step, ::step]


def thinned(shape: Sequence[int]) -> int:
    """Of how many rows and columns one is shown; 1 for all."""
    sides = {"HW": shape[:2], "CHW": shape[1:], "HWC": shape[:2]}[image_layout(shape) or "HW"]
    return -(-max(sides) // _MOST)


def picture(values: Sequence[float], shape: Sequence[int], low: float, high: float) -> str:
    """An input as a data URL of a PNG; `low` is black, `high` white (or full colour)."""
    pixels = _as_image(values, shape)
    scaled = np.clip((pixels - low) / ((high - low) or 1.0), 0, 1) * 255
    return png(np.broadcast_to(scaled.round().astype(np.uint8), (*pixels.shape[:2], 3)))


def difference(values: Sequence[float], shape: Sequence[int], largest: float) -> str:
    """A perturbation as a data URL: purple is less, white none, orange more; `largest` is full colour.

    Of several channels, the one that changed most counts.
    """
    pixels = _as_image(values, shape)
    strongest = np.take_along_axis(pixels, abs(pixels).argmax(axis=2)[:, :, None], axis=2)
    share = np.clip(strongest / (largest or 1.0), -1, 1)
    colours = _NONE + np.where(share < 0, -share * (_LESS - _NONE), share * (_MORE - _NONE))
    return png(colours.round().astype(np.uint8))


def png(pixels: NDArray[np.uint8]) -> str:
    """A data URL of pixels, shape (h, w, 3). The format's simplest case needs no library."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + np.ascontiguousarray(row).tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()
