"""What users can set: the settings, as one list, and the markers.

Command line > environment PYTEST_ENSEMBLE_* > ini > default.

Thresholds are no settings: what a gate demands stands beside its test, and nowhere else. What a gate is
asked on by default (points, bounds, epsilon) stands in the ini, not on the command line.

Every suite imports this where the plugin is installed: it must take next to no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pytest

__all__ = ["MARKERS", "SETTINGS", "WORDS", "Setting", "add_options"]


class Setting:
    """One setting, and the three places where it can be given.

    Attributes:
        name: "engine" is --ensemble-engine, PYTEST_ENSEMBLE_ENGINE and ensemble_engine in the ini.
        help: what it does, for `pytest --help`.
        value: what its text is: one of these texts, or a kind of `values.VALUES`; relative paths start at
            where they are given.
        default: where it is given nowhere.
        several: the option can be repeated; the ini takes several words, the environment separates them
            like PATH.
        ini_only: not an option: a default for markers, or a matter of the machine.
        flag: the option takes no value and means "true".
        option_only: for a single run; neither in the environment nor in the ini.
    """

    def __init__(
        self,
        name: str,
        help: str,
        value: str | tuple[str, ...],
        default: Any = None,
        *,
        metavar: str = "X",
        several: bool = False,
        ini_only: bool = False,
        flag: bool = False,
        option_only: bool = False,
    ) -> None:
        self.name, self.help, self.value, self.default = name, help, value, default
        self.metavar = metavar if isinstance(value, str) else "|".join(value)
        self.several, self.ini_only, self.flag, self.option_only = several, ini_only, flag, option_only
        self.option = f"--ensemble-{name.replace('_', '-')}"
        self.ini = f"ensemble_{name}"  # where pytest keeps the option's value, too
        self.variable = f"PYTEST_ENSEMBLE_{name.upper()}"


# The same as engines.ENGINES and report.write.FORMATS, which take time to import.
_ENGINES = {
    "auto": "our own engine first; for what stays open at its limit MILP and Marabou (where installed)",
    "native": "our own exact engine alone",
    "milp": "every query as a mixed-integer program, by HiGHS",
    "marabou": "every query by Marabou, paired as in the paper",
}
_FORMATS = ".json, .html, .md"

SETTINGS = (
    Setting(
        "pool",
        "Folder or glob pattern of the ONNX classifiers: the members of ensembles, and the candidates.",
        "pool",
        metavar="DIR",
    ),
    Setting(
        "data",
        "Labelled validation data: an .npz with inputs x, shape (m, ...), and labels y, shape (m,).",
        "path",
        metavar="FILE",
    ),
    Setting(
        "gates",
        "Gate file to run instead of ensemble.toml in the rootdir, which is run if there is one.",
        "path",
        metavar="FILE",
    ),
    Setting(
        "engine",
        "Who answers the queries: "
        + "; ".join(f"{name}: {what}" for name, what in _ENGINES.items())
        + " (default: auto).",
        tuple(_ENGINES),
        "auto",
    ),
    Setting(
        "timeout",
        "Seconds of work on one query, or 'none'; what is not decided by then is inconclusive (default: 60).",
        "seconds",
        60.0,
        metavar="SECONDS",
    ),
    Setting(
        "budget",
        "Seconds of solving for the whole session (under pytest-xdist: of each worker), or 'none' (default).",
        "seconds",
        metavar="SECONDS",
    ),
    Setting(
        "jobs",
        "Solver processes, or 'auto' for all cores (under pytest-xdist: an equal share for each worker) "
        "(default: 1).",
        "jobs",
        1,
        metavar="N",
    ),
    Setting(
        "memory",
        "Memory of each solver process, like '2 GiB', or 'none' (default); what does not fit is unknown. "
        "Everything is solved in such processes then. Linux only.",
        "memory",
        ini_only=True,
    ),
    Setting(
        "suggest",
        "For which gates to look for better members among the candidates (default: failing).",
        ("failing", "always", "never"),
        "failing",
    ),
    Setting(
        "inconclusive",
        "What a gate does that undecided queries leave open: fail the test (default), or warn.",
        ("fail", "warn"),
        "fail",
    ),
    Setting(
        "fail_fast",
        "Stop solving for a test's gates as soon as the verdicts of all of them are certain; scores are "
        "partial then, and swaps are suggested with --ensemble-suggest=always only.",
        "flag",
        False,
        flag=True,
    ),
    Setting(
        "progress",
        "Whether to show how far long solving is: auto (default): one live line on a terminal, elsewhere "
        "and under pytest-xdist a line every 30 seconds, nothing with -q; off: nothing.",
        ("auto", "off"),
        "auto",
    ),
    Setting(
        "report",
        f"Write what was found to this file; repeatable. Suffixes: {_FORMATS}.",
        "report",
        (),
        metavar="PATH",
        several=True,
    ),
    Setting(
        "image_shape",
        "Shape of one input, like 8x8 or 3x32x32: reports show flat inputs as such images.",
        "image_shape",
        metavar="HxW",
    ),
    Setting(
        "step_summary",
        "Append the Markdown report to the file that GITHUB_STEP_SUMMARY names, if it is set: on (default), "
        "off.",
        "flag",
        True,
        metavar="on|off",
    ),
    Setting(
        "certificates",
        "Write proofs of what our own engine answers with 'no mutual error' to this folder; 'python -m "
        "pytest_ensemble.certificates DIR' checks them again. Solving takes longer, and nothing that was "
        "proven before is taken from the cache.",
        "folder",
        metavar="DIR",
    ),
    Setting(
        "cache",
        "What to do with answers of earlier runs, kept in ensemble_cache_dir: rw: read and write (default); "
        "ro: read only; off: solve everything anew.",
        ("rw", "ro", "off"),
        "rw",
    ),
    Setting(
        "cache_dir",
        "Folder of the answers that are kept (default: .ensemble_cache in the rootdir).",
        "folder",
        ini_only=True,
    ),
    Setting(
        "audit",
        "Decided queries, chosen at random, that other engines answer again at the end: so many of each pool "
        "and its points (default: 0). If one contradicts the first answer, the run fails.",
        "count",
        0,
        metavar="N",
    ),
    Setting(
        "baseline",
        "Ratchet: fail if a score of a gate is worse than the one that this file keeps; see "
        "--ensemble-baseline-update.",
        "path",
        metavar="FILE",
    ),
    Setting(
        "baseline_update",
        "Keep better scores, and those of new gates, in the baseline.",
        "flag",
        False,
        flag=True,
        option_only=True,
    ),
    Setting(
        "baseline_accept",
        "Keep worse scores in the baseline, too, and with them this reason and the date.",
        "reason",
        metavar="REASON",
        option_only=True,
    ),
    Setting(
        "points", "Agreement points of ensembles that don't say (default: 200).", "points", 200, ini_only=True
    ),
    Setting("bounds", "Bounds of ensembles that don't say: 'low, high', or 'none'.", "bounds", ini_only=True),
    Setting(
        "epsilon", "Radii of ensembles that don't say: one or several numbers.", "epsilon", ini_only=True
    ),
)

# What `pytest --markers` says.
MARKERS = {
    "ensemble": (
        "ensemble(members=None, epsilon=..., points=200, label=None, bounds=None): "
        "the ensemble that a test judges. "
        "members: names in the pool, None for all of it; the rest of the pool are the candidates. "
        "epsilon: radius of the L-infinity balls, in the units of the data, or several; a gate must hold at "
        "each. points: how many agreement points, or 'all'. label: None for points of any label, a class, or "
        "'best' for the one classified most accurately. bounds: (low, high) that inputs keep to, numbers or "
        "arrays, None for unclipped balls. Defaults of epsilon, points and bounds: ensemble_epsilon, "
        "ensemble_points, ensemble_bounds in the ini."
    ),
    "ensemble_min_uniqueness": (
        "ensemble_min_uniqueness(score, *, epsilon=None, confidence=None): "
        "a gate for ensemble_gate.check(): every member's uniqueness is at least this score, between 0 and "
        "1; at the radii of the ensemble mark, or at this epsilon. "
        "confidence=0.95: for all inputs like the points with this confidence, not for these alone."
    ),
    "ensemble_max_mutual_error": (
        "ensemble_max_mutual_error(score, *, epsilon=None, confidence=None): "
        "a gate for ensemble_gate.check(): the mutual error of every pair of members is at most this score, "
        "between 0 and 1; at the radii of the ensemble mark, or at this epsilon. "
        "confidence=0.95: for all inputs like the points with this confidence, not for these alone."
    ),
}

# Several words in the ini make one value of these.
WORDS = {"bounds", "epsilon"}


def add_options(parser: pytest.Parser) -> None:
    """Declare all settings to pytest."""
    group = parser.getgroup("ensemble", "ensemble gates")
    for setting in SETTINGS:
        where = f" Also {setting.variable} and {setting.ini} in the ini."
        if setting.ini_only or setting.option_only:
            where = ""
        if not setting.ini_only:
            how: dict[str, Any] = {"action": "store", "metavar": setting.metavar}
            if setting.several:
                how["action"] = "append"
            if setting.flag:
                how = {"action": "store_const", "const": "true"}
            group.addoption(
                setting.option,
                dest=setting.ini,
                default=None,
                help=setting.help.replace("%", "%%") + where,
                **how,
            )
        kind: Literal["args", "string"] = "args" if setting.several or setting.name in WORDS else "string"
        if not setting.option_only:
            parser.addini(setting.ini, setting.help, type=kind, default=None)
