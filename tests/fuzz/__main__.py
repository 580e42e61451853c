"""`python -m tests.fuzz`: fuzz for some minutes; 1 if anything contradicts anything, else 0."""

from __future__ import annotations

import argparse
import faulthandler
import signal
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from itertools import count, islice
from typing import Any

import numpy as np

from pytest_ensemble.errors import ModelError
from tests.fuzz.cases import MAKERS
from tests.fuzz.examine import Engines, examine
from tests.fuzz.tally import Tally, table

_SLOW = 30  # seconds for a case, which is noted
_HUNG = 300  # seconds for a case, after which it is said to hang


def main(argv: Sequence[str] | None = None) -> int:
    """Make and examine cases until the time, or their number, is reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="stop after that (default 1)")
    parser.add_argument("--cases", type=int, help="stop after so many cases: then all is deterministic")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the next ones count up")
    parser.add_argument(
        "--kinds",
        "--only",
        nargs="+",
        choices=MAKERS,
        default=list(MAKERS),
        metavar="KIND",
        help=f"of {', '.join(MAKERS)}",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    arguments = parser.parse_args(argv)
    until = time.monotonic() + 60 * arguments.minutes
    kinds = arguments.kinds
    todo = ((arguments.seed + k, kinds[k % len(kinds)], until) for k in count())
    if arguments.cases is not None:
        todo = ((seed, kind, float("inf")) for seed, kind, _ in islice(todo, arguments.cases))
    tallies: dict[str, Tally] = {kind: Tally() for kind in kinds}
    start = time.monotonic()
    for seed, kind, tally in _results(todo, arguments.jobs):
        if tally is None:
            break
        tallies[kind].add(tally)
        if (seconds := tally.seconds.total()) > _SLOW:
            tally.notes.append(f"slow: {seconds:.0f} s ({tally.seconds.most_common(1)[0][0]})")
        for name, texts in (("DISAGREEMENT", tally.disagreements), ("note", tally.notes)):
            for text in texts:
                print(
                    f"{name} {text}\n    python -m tests.fuzz --cases 1 --only {kind} --seed {seed}",
                    flush=True,
                )
    print("\n".join(table(tallies)))
    print(f"{time.monotonic() - start:.0f} s, seeds from {arguments.seed}")
    return 1 if any(tally.disagreements for tally in tallies.values()) else 0


def _results(todo: Iterator[tuple[int, str, float]], jobs: int) -> Iterator[tuple[int, str, Tally | None]]:
    if jobs == 1:
        yield from map(run, todo)
        return
    with ProcessPoolExecutor(jobs) as pool:
        while True:  # some at a time: `map` would take all of an endless list
            part = list(islice(todo, 8 * jobs))
            results = list(pool.map(run, part))
            yield from results
            if not part or results[-1][2] is None:
                return


@lru_cache(maxsize=1)
def _engines() -> Engines:
    return Engines()


def run(what: tuple[int, str, float]) -> tuple[int, str, Tally | None]:
    """Examine one case; None when the time is over. Whatever is raised is a disagreement."""
    seed, kind, until = what
    if time.monotonic() > until:
        return seed, kind, None
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(_HUNG)
    try:
        start = time.perf_counter()
        case = MAKERS[kind](rng)
        made = time.perf_counter() - start
        tally = examine(case, _engines(), rng)
        tally.seconds["making"] += made  # type: ignore[assignment]
    except ModelError as error:
        # rounding may make a file hard to tell from a wrong one, but is never more than its bound
        wrong = [str(error)] if "order of sums" in str(error) else []
        tally = Tally(Counter(refused=1), wrong)
    except Exception:
        tally = Tally(disagreements=[traceback.format_exc()])
    finally:
        signal.alarm(0)
    return seed, kind, tally


def _hangs(*_: Any) -> None:
    faulthandler.dump_traceback()
    raise TimeoutError(f"no answer within {_HUNG} s")


if __name__ == "__main__":
    code = main()
    _engines().close()
    sys.exit(code)
