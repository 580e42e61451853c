"""`Steps`: what a pipeline does to inputs before a model gets them. Light: gate files are read with it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Steps"]


@dataclass(frozen=True)
class Steps:
    """`transpose((x * scale - mean) / std)`, in the precision of the model's input.

    Attributes:
        scale: (a, b): times a, if that is not 1, then divided by b, if that is not 1.
        mean, std: one number, or one for each channel: for each entry of the axis C of the data, or for each
            input where samples have one axis.
        data_axes: order of a sample's axes in the data, a letter each; C is the channel.
        model_axes: order that the model takes; the same if None.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    data_axes: str | None = None
    model_axes: str | None = None
