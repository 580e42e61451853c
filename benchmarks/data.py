"""Images to train and ask about: Fashion-MNIST, or MNIST where a folder with the idx files is given."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Images = tuple[NDArray[np.float32], NDArray[np.int64]]

FASHION = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))


def folder(name: str, mnist: Path | None) -> Path:
    """Where the idx files of "fashion" or "mnist" are."""
    place = FASHION if name == "fashion" else mnist
    if place is None or not place.is_dir():
        raise SystemExit(
            f"No folder with the {name} idx files. Fashion-MNIST: install Debian's dataset-fashion-mnist or "
            "set FASHION_MNIST; MNIST: give --mnist FOLDER."
        )
    return place


def load(place: Path, part: str) -> Images:
    """Images in [0, 1], float32 of shape (m, 784), and labels of "train" or "t10k"."""
    images = _idx(place, f"{part}-images-idx3-ubyte")
    labels = _idx(place, f"{part}-labels-idx1-ubyte")
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels.astype(np.int64)


def _idx(place: Path, name: str) -> NDArray[np.uint8]:
    packed = place / f"{name}.gz"
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else (place / name).read_bytes()
    rank = content[3]
    shape = np.frombuffer(content, ">i4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(tuple(shape))
