"""`python -m pytest_ensemble COMMAND`: what is done without running tests.

A command is a function that declares its arguments and returns what runs them; it is listed in `COMMANDS`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from pytest_ensemble.errors import EnsembleError
from pytest_ensemble.report import command as report

__all__ = ["COMMANDS", "main"]

Run = Callable[[argparse.Namespace], int]  # gives the exit code
# Name: (a line of help, what declares the arguments).
COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], Run]]] = {
    "report": ("draw a JSON report again, or compare two", report.declare),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 2 with a message if it can't be done."""
    parser = argparse.ArgumentParser(prog="python -m pytest_ensemble", description="Gate deep ensembles.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    runs: dict[str, Run] = {}
    for name, (text, declare) in COMMANDS.items():
        runs[name] = declare(commands.add_parser(name, help=text, description=f"{text.capitalize()}."))
    arguments = parser.parse_args(argv)
    try:
        return runs[arguments.command](arguments)
    except EnsembleError as error:
        print(f"{parser.prog} {arguments.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
