"""Iterative selection against a second implementation of it, on random matrices of mutual errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from pytest_ensemble.analysis.scores import Interval, Pair, Tally, make_pair, pairs_of, uniqueness
from pytest_ensemble.analysis.selection import Swap, iterate
from tests.strategies import tallies

Matrix = dict[Pair, Tally]
POINTS = 10


@st.composite
def pools(draw: st.DrawFn, *, unknowns: bool = False) -> tuple[list[str], list[str], Matrix]:
    """Members, candidates and what is known of all pairs."""
    names = [f"m{k}" for k in range(draw(st.integers(2, 7)))]
    size = draw(st.integers(2, len(names)))
    shuffled = draw(st.permutations(names))
    most = draw(st.sampled_from([1, 2, POINTS]))  # few values: many ties
    decided = st.integers(0, most).map(lambda sat: Tally(sat, POINTS - sat))
    matrix = {pair: draw(tallies(POINTS) if unknowns else decided) for pair in pairs_of(names)}
    return list(shuffled[:size]), list(shuffled[size:]), matrix


class Scores:
    """The uniqueness function, with a record of the pairs that it was asked for."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix
        self.asked: set[Pair] = set()

    def __call__(self, name: str, others: Sequence[str]) -> Interval:
        self.asked |= {make_pair(name, other) for other in others}
        return uniqueness(name, others, self.matrix)


def accuracy(members: Sequence[str]) -> float:
    return sum(int(name[1:]) for name in members) / 100


def run(members: list[str], candidates: list[str], matrix: Matrix, limit: int | None = None) -> list[Swap]:
    return iterate(members, candidates, 0.1, Scores(matrix), accuracy, limit)


def share(matrix: Mapping[Pair, Tally], name: str, others: Sequence[str]) -> Fraction:
    return 1 - sum(Fraction(matrix[make_pair(name, o)].sat, POINTS) for o in others) / len(others)


def by_brute_force(members: list[str], candidates: list[str], matrix: Matrix) -> list[tuple[str, str]]:
    """The algorithm as the paper tells it: one swap after the other, in sets and fractions."""
    ensemble, pool = set(members), set(members) | set(candidates)
    swaps = []
    while True:
        _, weak = min((share(matrix, name, sorted(ensemble - {name})), name) for name in ensemble)
        others = sorted(ensemble - {weak})
        options = [(-share(matrix, name, others), name) for name in pool - ensemble]
        if not options or -min(options)[0] <= share(matrix, weak, others):
            return swaps
        _, better = min(options)
        swaps.append((weak, better))
        ensemble = (ensemble - {weak}) | {better}


def joint_errors(matrix: Matrix, members: Sequence[str]) -> int:
    return sum(matrix[make_pair(a, b)].sat for a, b in combinations(members, 2))


@given(pools())
def test_swaps_are_those_of_the_paper(pool: tuple[list[str], list[str], Matrix]) -> None:
    members, candidates, matrix = pool
    swaps = run(members, candidates, matrix)
    assert [(swap.out, swap.into) for swap in swaps] == by_brute_force(members, candidates, matrix)


@given(pools())
def test_joint_errors_fall_strictly(pool: tuple[list[str], list[str], Matrix]) -> None:
    members, candidates, matrix = pool
    ensembles = [members, *(list(swap.members) for swap in run(members, candidates, matrix))]
    counts = [joint_errors(matrix, ensemble) for ensemble in ensembles]
    assert counts == sorted(set(counts), reverse=True)


@given(pools(unknowns=True))
def test_each_swap_tells_the_scores_before_and_after(pool: tuple[list[str], list[str], Matrix]) -> None:
    members, candidates, matrix = pool
    ensemble = list(members)
    for swap in run(members, candidates, matrix):
        others = [name for name in ensemble if name != swap.out]
        assert swap.uniqueness_before == uniqueness(swap.out, others, matrix)
        assert swap.uniqueness_after == uniqueness(swap.into, others, matrix)
        assert swap.accuracy_before == accuracy(ensemble)
        # it takes the place of the one that leaves
        ensemble = [swap.into if name == swap.out else name for name in ensemble]
        assert list(swap.members) == ensemble
        assert swap.accuracy_after == accuracy(ensemble)
        assert swap.epsilon == 0.1


@given(pools(unknowns=True), st.data())
def test_swap_is_an_improvement_whatever_is_unknown(
    pool: tuple[list[str], list[str], Matrix], data: st.DataObject
) -> None:
    members, candidates, matrix = pool
    extra = {pair: data.draw(st.integers(0, tally.unknown)) for pair, tally in matrix.items()}
    decided = {pair: Tally(t.sat + extra[pair], POINTS - t.sat - extra[pair]) for pair, t in matrix.items()}
    ensemble = list(members)
    for swap in run(members, candidates, matrix):
        assert joint_errors(decided, swap.members) < joint_errors(decided, ensemble)
        ensemble = list(swap.members)


@given(pools())
def test_only_pairs_that_the_algorithm_compares_are_asked(
    pool: tuple[list[str], list[str], Matrix],
) -> None:
    members, candidates, matrix = pool
    scores = Scores(matrix)
    swaps = iterate(members, candidates, 0.1, scores, accuracy)
    needed: set[Pair] = set()
    ensemble = list(members)
    for out in [*(swap.out for swap in swaps), None]:
        outside = [name for name in [*members, *candidates] if name not in ensemble]
        if outside:
            needed |= set(pairs_of(ensemble))
            weak = min(sorted(ensemble), key=lambda n: share(matrix, n, [o for o in ensemble if o != n]))
            assert out in (weak, None)
            needed |= {make_pair(a, b) for a in outside for b in ensemble if b != weak}
        if out is not None:
            ensemble = list(swaps.pop(0).members)
    assert scores.asked == needed


def test_candidates_are_never_compared_with_each_other_nor_with_the_weak_one() -> None:
    matrix = {pair: Tally(5, 5) for pair in pairs_of(["a", "b", "c", "x", "y"])}
    matrix["a", "b"] = Tally(9, 1)  # a is the weakest, by its name
    scores = Scores(matrix)
    (swap,) = iterate(["a", "b", "c"], ["x", "y"], 0.1, scores, lambda _: 0.0, limit=1)
    assert swap.out == "a"
    assert not {("x", "y"), ("a", "x"), ("a", "y")} & scores.asked


def test_nothing_is_asked_without_candidates() -> None:
    scores = Scores({("a", "b"): Tally(5, 5)})
    assert iterate(["a", "b"], [], 0.1, scores, lambda _: 0.0) == []
    assert scores.asked == set()


@given(pools(), st.integers(0, 3))
def test_limit(pool: tuple[list[str], list[str], Matrix], limit: int) -> None:
    members, candidates, matrix = pool
    assert run(members, candidates, matrix, limit) == run(members, candidates, matrix)[:limit]


def test_equal_is_no_reason_to_swap() -> None:
    matrix = {("a", "b"): Tally(5, 5), ("b", "x"): Tally(5, 5), ("a", "x"): Tally(5, 5)}
    assert run_with(matrix, ["a", "b"], ["x"]) == []
    matrix["b", "x"] = Tally(4, 6)
    assert [(swap.out, swap.into) for swap in run_with(matrix, ["a", "b"], ["x"])] == [("a", "x")]


def test_ties_go_to_the_first_name() -> None:
    matrix = {pair: Tally(0, 10) for pair in pairs_of(["a", "b", "x", "y"])}
    matrix["a", "b"] = Tally(5, 5)
    for members, candidates in ((["b", "a"], ["y", "x"]), (["a", "b"], ["x", "y"])):
        (swap,) = run_with(matrix, members, candidates)
        assert (swap.out, swap.into) == ("a", "x")


def run_with(matrix: Matrix, members: list[str], candidates: list[str]) -> list[Swap]:
    return iterate(members, candidates, 0.1, Scores(matrix), lambda _: 0.0)
