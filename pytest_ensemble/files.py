"""Files that come from anywhere: opened only if they end, and read only as far as they may go."""

from __future__ import annotations

import errno
import io
import math
import os
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_ensemble.errors import DataError, reason

__all__ = ["LARGEST_ARRAY", "open_regular", "read_arrays"]

LARGEST_ARRAY = 1 << 28  # numbers; 1 GB as float32
_LARGEST_READ = 1 << 20  # bytes at a time; numpy reads less
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a file for reading in binary, without waiting.

    Raises:
        OSError: it can't be opened, or is no regular file: pipes and devices may never end.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise OSError(errno.EINVAL, "Not a regular file")
    return os.fdopen(handle, "rb")


def read_arrays(path: str | Path, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """Arrays from an .npz, all or those of some names. Never unpickles; looks at sizes before it reads.

    Raises:
        DataError: no such file, not an .npz, an array that is missing, damaged, or too large.
    """
    try:
        with _Reader(open_regular(path).detach()) as file:
            if file.peek(6)[:6] == b"\x93NUMPY":
                wanted = " and ".join(repr(name) for name in names or ())
                raise DataError(f"{path}: is a single array; an .npz with arrays {wanted} is needed.")
            with zipfile.ZipFile(file) as archive:
                held = {member.removesuffix(".npy"): member for member in archive.namelist()}
                wanted_names = held if names is None else names
                missing = [name for name in wanted_names if name not in held]
                if missing:
                    listed = ", ".join(repr(name) for name in list(held)[:20]) or "nothing"
                    raise DataError(
                        f"{path}: has no array {missing[0]!r} (it holds {listed}). Write it with "
                        "numpy.savez(path, x=inputs, y=labels)."
                    )
                arrays: dict[str, NDArray[Any]] = {}
                for name in wanted_names:
                    arrays[name] = _read(archive, held[name], f"{path}: its array {name!r}")
                    if sum(array.size for array in arrays.values()) > LARGEST_ARRAY:
                        raise DataError(f"{path}: holds too many numbers; at most {LARGEST_ARRAY} are read.")
                return arrays
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}.") from None
    except Exception as error:  # what numpy, zipfile and zlib say to a damaged file is not documented
        raise DataError(f"{path}: can't be read as .npz ({reason(error)}).") from None


class _Reader(io.BufferedReader):
    """Refuses to read much at once: a zip's table of contents is read whole, and may be millions of names."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = _LARGEST_READ
        if size > _LARGEST_READ:
            raise ValueError(f"its table of contents is larger than {_LARGEST_READ} bytes")
        return super().read(size)


def _read(archive: zipfile.ZipFile, member: str, where: str) -> NDArray[Any]:
    """One array, if it is what numpy.savez writes."""
    entry = archive.getinfo(member)
    if entry.flag_bits & 1:
        raise DataError(f"{where} is encrypted. Write the file with numpy.savez.")
    if entry.compress_type not in _METHODS:
        raise DataError(f"{where} is compressed in another way than numpy does. Write it with numpy.savez.")
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in header:  # 3.0 is for names of fields
            raise DataError(f"{where} must hold numbers.")
        shape, _, dtype = header[version](stream)
        if dtype.hasobject:
            raise DataError(f"{where} can't be read as .npz: it holds pickled objects.")
        if dtype.kind not in "fiub":
            raise DataError(f"{where} must hold numbers; its dtype is {dtype}.")
        if any(n < 0 for n in shape):
            raise DataError(f"{where} can't be read as .npz: its shape {shape} has a negative number.")
        size = math.prod(shape)
        if size > LARGEST_ARRAY:
            raise DataError(f"{where} holds {size} numbers; at most {LARGEST_ARRAY} are read.")
        if stream.tell() + size * dtype.itemsize != entry.file_size:
            raise DataError(
                f"{where} can't be read as .npz: it has {entry.file_size} bytes where its shape {shape} "
                f"needs {stream.tell() + size * dtype.itemsize}."
            )
    with archive.open(entry) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):  # also checks the checksum
            raise DataError(f"{where} can't be read as .npz: it has more bytes than its shape {shape} needs.")
        return np.asarray(array)
