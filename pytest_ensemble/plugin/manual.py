"""What `pytest --markers` says: the manual of the markers."""

from __future__ import annotations

__all__ = ["MARKERS"]

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
