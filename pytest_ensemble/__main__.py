"""`python -m pytest_ensemble COMMAND`: what is done beside pytest runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_ensemble.errors import EnsembleError
from pytest_ensemble.report import command as report
from pytest_ensemble.report.write import replace_file

__all__ = ["main"]

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 2 if what it was given can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_ensemble", description="Helpers of pytest-ensemble."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (summary, declare) in COMMANDS.items():
        own = commands.add_parser(name, help=summary, description=summary)
        own.set_defaults(run=declare(own))
    arguments = parser.parse_args(argv)
    run: Command = arguments.run
    try:
        return run(arguments)
    except (EnsembleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


# --- init -----------------------------------------------------------------------------------------


def _init(parser: argparse.ArgumentParser) -> Command:
    parser.add_argument(
        "--pool", required=True, metavar="DIR", help="folder or pattern of the ONNX classifiers"
    )
    parser.add_argument("--data", required=True, type=Path, metavar="FILE", help=".npz with x and y")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("ensemble.toml"),
        metavar="FILE",
        help="(default: ensemble.toml)",
    )
    parser.add_argument("--name", default="release", help="of the ensemble (default: release)")
    parser.add_argument("--members", nargs="+", metavar="NAME", help="(default: the pool, at most 8 of it)")
    parser.add_argument(
        "--epsilon",
        nargs="+",
        type=float,
        metavar="E",
        help="radii (default: where a few percent of pairs err)",
    )
    parser.add_argument(
        "--points", type=int, metavar="N", help="agreement points (default: 100, if there are)"
    )
    parser.add_argument(
        "--bounds",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="that inputs keep to (default: by the data)",
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    return _run_init


def _run_init(arguments: argparse.Namespace) -> int:
    from pytest_ensemble.gatefile.first import Wish, first_gate_file

    output: Path = arguments.output
    if output.exists() and not arguments.force:
        print(f"error: {output} is there already; --force replaces it.", file=sys.stderr)
        return 2
    if not output.absolute().parent.is_dir():
        print(f"error: there is no folder {output.parent}; make it first.", file=sys.stderr)
        return 2
    if arguments.points is not None and arguments.points < 1:
        print(f"error: --points must be 1 or more; got {arguments.points}.", file=sys.stderr)
        return 2
    wish = Wish(
        arguments.name,
        _tuple(arguments.members),
        _tuple(arguments.epsilon),
        arguments.points,
        _tuple(arguments.bounds),
    )
    text = first_gate_file(arguments.pool, arguments.data, output.absolute().parent, wish)
    try:
        replace_file(output, text)
    except OSError as problem:
        print(f"error: {output} can't be written: {problem.strerror or problem}.", file=sys.stderr)
        return 2
    print(f"{output} is written. Run its gates: python -m pytest {output}")
    return 0


def _tuple(values: Any) -> Any:
    return None if values is None else tuple(values)


# --- schema ---------------------------------------------------------------------------------------


def _schema(parser: argparse.ArgumentParser) -> Command:
    return _run_schema


def _run_schema(arguments: argparse.Namespace) -> int:
    from pytest_ensemble.gatefile.schema import gate_file_schema

    print(json.dumps(gate_file_schema(), indent=2))
    return 0


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], Command]]] = {
    "init": ("Write a first gate file, ensemble.toml, with thresholds that hold now.", _init),
    "report": ("Draw a JSON report again without solving, or compare two.", report.declare),
    "schema": ("Print the JSON Schema of gate files, for editors.", _schema),
}

if __name__ == "__main__":
    sys.exit(main())
