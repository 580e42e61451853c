"""What was asked, answered, checked and contradicted, by kind of case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Tally", "table"]


@dataclass
class Tally:
    """Of cases of one kind.

    Attributes:
        counts: "queries"; outcomes ("sat", "unsat", "unknown boundary"); "by ORACLE": how many of the queries
            each oracle had a say on; "far": unknown ones whose true optimum is far from a tie.
        disagreements: one text each.
        notes: what is no disagreement, but worth a look.
        seconds: by what they were spent on.
    """

    counts: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.counts += other.counts
        self.disagreements += other.disagreements
        self.notes += other.notes
        self.seconds.update(other.seconds)


def table(tallies: dict[str, Tally]) -> Iterable[str]:
    """Lines of a table of all kinds and their sum, then who checked how many."""
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    rows = {**tallies, "all": total}
    unknown = sorted(name for name in total.counts if name.startswith("unknown"))
    columns = ["cases", "refused", "queries", "sat", "unsat", *unknown, "far"]
    yield f"{'kind':14}" + "".join(
        f"{name:>{len(name) + 2 if len(name) > 8 else 10}}" for name in [*columns, "disagree"]
    )
    for kind, tally in rows.items():
        numbers = [tally.counts[name] for name in columns] + [len(tally.disagreements)]
        widths = [len(name) + 2 if len(name) > 8 else 10 for name in [*columns, "disagree"]]
        yield f"{kind:14}" + "".join(
            f"{number:>{width},}" for number, width in zip(numbers, widths, strict=True)
        )
    yield ""
    oracles = sorted(
        (name for name in total.counts if name.startswith("by ")), key=lambda name: -total.counts[name]
    )
    for name in oracles:
        yield f"checked {name + ':':30}{total.counts[name]:>10,}"
    yield ""
    for name in sorted(name for name in total.counts if name.startswith(("milp", "marabou", "decided"))):
        yield f"{name + ':':45}{total.counts[name]:>10,}"
    yield ""
    yield "seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in total.seconds.most_common())
