"""`python -m pytest_ensemble report`: reports without solving."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from pytest_ensemble.errors import ReportError, did_you_mean, printable
from pytest_ensemble.report.compare import compare
from pytest_ensemble.report.read import read
from pytest_ensemble.report.write import FORMATS, write

__all__ = ["declare"]


def declare(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare the arguments; gives what runs them."""
    parser.add_argument("results", type=Path, nargs="?", metavar="RESULTS.json", help="a JSON report")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"where to draw it; repeatable; the suffix says how: {', '.join(FORMATS)}",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs=2,
        metavar=("OLD.json", "NEW.json"),
        help="print what changed between two runs",
    )

    def run(arguments: argparse.Namespace) -> int:
        if arguments.compare:
            if arguments.results or arguments.output:
                parser.error("--compare takes two reports and prints; give nothing else with it.")
            old, new = map(read, arguments.compare)
            print("\n".join(map(printable, compare(old, new))))
            return 0
        if not arguments.results or not arguments.output:
            parser.error("give RESULTS.json and -o FILE, or --compare OLD.json NEW.json.")
        _draw(arguments.results, arguments.output)
        return 0

    return run


def _draw(results: Path, outputs: list[Path]) -> None:
    for path in outputs:
        if path.suffix.lower() not in FORMATS:
            raise ReportError(f"{path}: has no known suffix.{did_you_mean(path.suffix.lower(), FORMATS)}")
    document = read(results)
    for path in outputs:
        try:
            write(document, path)
        except OSError as error:
            raise ReportError(f"{path}: can't be written: {error.strerror or error}.") from None
        print(path)
