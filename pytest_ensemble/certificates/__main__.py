"""`python -m pytest_ensemble.certificates DIR`: check the certificates in a folder again."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_ensemble.certificates.check import FORMAT, Content, check
from pytest_ensemble.errors import EnsembleError, printable
from pytest_ensemble.files import read_arrays
from pytest_ensemble.networks.model import Model

# What a file that is damaged or no certificate may raise.
_BAD = (EnsembleError, OSError, ValueError, KeyError, IndexError, TypeError)


def main(argv: Sequence[str] | None = None) -> int:
    """Check all; 0 if every proof holds, 1 if not, 2 if there is nothing to check."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_ensemble.certificates",
        description="Check again, from the ONNX files alone, that queries answered unsat have no mutual "
        "error. The folder is the one that --ensemble-certificates=DIR was given.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--models", type=Path, metavar="FOLDER", help="where the ONNX files are now, if they were moved"
    )
    arguments = parser.parse_args(argv)
    files = sorted(arguments.folder.glob("*.npz"))
    if not files:
        print(f"There are no certificates (*.npz) in {arguments.folder}.", file=sys.stderr)
        return 2
    models = _Models(arguments.models)
    start, held, total, bad = time.perf_counter(), 0, 0, 0
    for file in files:
        try:
            result = check(_read(file, models))
        except _BAD as error:
            print(printable(f"{file}: can't be checked: {error}"), file=sys.stderr)
            bad += 1
            continue
        held, total = held + sum(result), total + len(result)
        if not all(result):
            bad_proofs = f"{len(result) - sum(result)} of {len(result)} proofs do not hold"
            print(printable(f"{file}: {bad_proofs}."), file=sys.stderr)
    seconds = time.perf_counter() - start - models.seconds
    unread = f"; {bad} of {len(files)} files could not be checked" if bad else ""
    print(
        f"{held:,} of {total:,} proofs hold{unread} ({len(files)} files, {len(models.read)} networks; "
        f"checked in {seconds:.2f} s, networks read in {models.seconds:.2f} s)."
    )
    return 0 if held == total and not bad else 1


class _Models:
    """Networks by the digest of their files."""

    def __init__(self, folder: Path | None) -> None:
        self.read: dict[str, Model] = {}
        self.seconds = 0.0
        paths = [] if folder is None else sorted(folder.rglob("*.onnx"))
        self._paths = {_digest(path): path for path in paths if path.is_file()}

    def find(self, entry: dict[str, Any]) -> Model:
        """The network of an entry of the manifest."""
        digest, name = str(entry["sha256"]), str(entry["name"])
        if digest not in self.read:
            start = time.perf_counter()
            path = self._paths.get(digest, entry.get("path"))
            if path is None:
                raise ValueError(f"the file of {name!r} is not known; use --models FOLDER")
            model = Model.load(path, name)
            if model.sha256 != digest:
                raise ValueError(f"{path} is not the file of {name!r} that was proven; use --models FOLDER")
            self.read[digest] = model
            self.seconds += time.perf_counter() - start
        return self.read[digest]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(file: Path, models: _Models) -> Content:
    arrays = read_arrays(file)
    manifest = json.loads(arrays.pop("manifest").tobytes())
    if manifest.get("format") != FORMAT:
        raise ValueError(f"its format is {manifest.get('format')!r}, not {FORMAT!r}")
    networks = [models.find(entry).network for entry in manifest["models"]]
    return Content(arrays, networks, manifest["queries"])


if __name__ == "__main__":
    sys.exit(main())
