"""Which shapes of an input are images. Light: options are read with it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["image_layout"]

_LEAST = 4  # pixels a side: less is no image


def image_layout(shape: Sequence[int]) -> str | None:
    """How an input of this shape is an image: "HW", "CHW" or "HWC" with 1 or 3 channels; None if not."""
    if len(shape) == 2 and min(shape) >= _LEAST:
        return "HW"
    if len(shape) != 3:
        return None
    if shape[0] in (1, 3) and min(shape[1:]) >= _LEAST:
        return "CHW"
    return "HWC" if shape[2] in (1, 3) and min(shape[:2]) >= _LEAST else None
