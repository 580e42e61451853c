"""`python -m pytest_ensemble COMMAND`: what is done beside pytest runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from pytest_ensemble.errors import EnsembleError
from pytest_ensemble.report import command as report

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
    except EnsembleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


# Name: (a line of help, what declares the arguments and gives what runs them).
COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], Command]]] = {
    "report": ("Draw a JSON report again without solving, or compare two.", report.declare),
}

if __name__ == "__main__":
    sys.exit(main())
