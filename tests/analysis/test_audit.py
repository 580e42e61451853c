"""Audits answer decided queries again; whoever contradicts the first answer is reported."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_ensemble.analysis.analysis import Analysis
from pytest_ensemble.analysis.audit import auditors
from pytest_ensemble.analysis.points import Points, agreement_points
from pytest_ensemble.engines.base import Budget
from pytest_ensemble.engines.decide import decide
from pytest_ensemble.networks.pool import Pool
from pytest_ensemble.queries.answer import Answer, Outcome
from tests.analysis.tables import Recorder, Says, agreeing, by_radius, unknown
from tests.engines.random_networks import tiny_model

NAMES = ("a", "b", "c")
COUNT = 4
AB = ("a", "b")
TRUTH = by_radius({(AB, 0): 0.25, (AB, 1): 1 / 64}, COUNT)

Setting = tuple[Pool, Points]


@pytest.fixture(scope="module")
def setting() -> Setting:
    return agreeing(NAMES, COUNT)


def second(says: Says, name: str = "second") -> Recorder:
    """An auditor."""
    engine = Recorder(lambda *asked: Answer(**vars(says(*asked)) | {"engine": name}))
    engine.name = name
    return engine


def solved(setting: Setting, says: Says = TRUTH) -> Analysis:
    """All queries of all pairs at two radii: 24 of them, three of which are sat."""
    analysis = Analysis(*setting, epsilons=[1 / 64, 0.25], engine=Recorder(says))
    analysis.solve()
    return analysis


def test_all_agree(setting: Setting) -> None:
    auditor = second(TRUTH)
    audit = solved(setting).audit(100, engines=[auditor])
    assert (audit.asked, audit.agreed, audit.undecided, audit.contradictions) == (24, 24, 0, ())
    assert len(set(auditor.asked)) == 24


def test_the_choice_is_seeded(setting: Setting) -> None:
    def chosen(seed: int) -> list[object]:
        auditor = second(TRUTH)
        assert solved(setting).audit(5, seed, engines=[auditor]).asked == 5
        return auditor.asked

    assert chosen(0) == chosen(0)
    assert chosen(0) != chosen(1)


def test_a_contradiction_names_the_query_and_both_answers(setting: Setting) -> None:
    def lie(pair: object, point: int, epsilon: float) -> Answer:
        return Answer(Outcome.UNSAT, engine="recorder", stage="table")

    analysis = solved(setting, lie)
    audit = analysis.audit(100, engines=[second(TRUTH)])
    assert (audit.agreed, audit.undecided) == (21, 0)
    found = sorted(audit.contradictions, key=lambda one: (one.point, one.query.ball.epsilon))
    assert [(one.pair, one.point, one.query.ball.epsilon) for one in found] == [
        (AB, 0, 0.25),
        (AB, 1, 1 / 64),
        (AB, 1, 0.25),
    ]
    first = found[0]
    assert (first.answer.outcome, first.answer.engine) == (Outcome.UNSAT, "recorder")
    assert (first.second.outcome, first.second.engine) == (Outcome.SAT, "second")
    assert str(first) == "a~b, label 0, epsilon 0.25, point 0: recorder says unsat, second sat"


def test_what_is_contradicted_is_unknown_from_then_on(setting: Setting) -> None:
    analysis = solved(setting)
    assert analysis.mutual_error(epsilon=0.25)[AB].low == 2 / 4

    def no(pair: object, point: int, epsilon: float) -> Answer:
        return Answer(Outcome.UNSAT)

    analysis.audit(100, engines=[second(no)])
    score = analysis.mutual_error(epsilon=0.25)[AB]
    assert (score.low, score.high) == (0.0, 2 / 4)
    answer = analysis.answer(AB, 0, 0.25)
    assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "disagreement")


def test_who_does_not_know_passes_it_on(setting: Setting) -> None:
    clueless = second(lambda *asked: unknown(), "clueless")
    partly = second(lambda pair, point, epsilon: TRUTH(pair, point, epsilon) if point else unknown())
    audit = solved(setting).audit(100, engines=[clueless, partly])
    assert (audit.asked, audit.agreed, audit.undecided) == (24, 18, 6)
    assert len(clueless.asked) == len(partly.asked) == 24


def test_nobody_audits_his_own_answers(setting: Setting) -> None:
    auditor = second(TRUTH, "recorder")
    audit = solved(setting).audit(100, engines=[auditor])
    assert (audit.undecided, auditor.asked) == (24, [])


def test_undecided_queries_are_not_audited(setting: Setting) -> None:
    analysis = solved(setting, lambda *asked: unknown() if asked[1] == 2 else TRUTH(*asked))
    assert analysis.audit(100, engines=[second(TRUTH)]).asked == 18


def test_nothing_was_asked_yet(setting: Setting) -> None:
    analysis = Analysis(*setting, epsilons=0.25, engine=Recorder(TRUTH))
    assert analysis.audit(10, engines=[second(TRUTH)]).asked == 0


def test_the_budget_holds_for_audits(setting: Setting) -> None:
    auditor = second(TRUTH)
    analysis = solved(setting)
    analysis.timeout, analysis.deadline = 3.0, 1e12
    analysis.audit(1, engines=[auditor])
    assert auditor.budgets == [Budget(3.0, 1e12)]


@pytest.mark.parametrize(
    ("engine", "available", "names"),
    [
        ("auto", True, ["marabou", "milp"]),
        ("native", False, ["milp"]),
        ("marabou", True, ["milp", "native"]),
        ("milp", True, ["marabou", "native"]),
        ("milp", False, ["native"]),
    ],
)
def test_who_audits_whom(engine: str, available: bool, names: list[str]) -> None:
    assert auditors(engine, available) == names


# --- with real engines ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks() -> Setting:
    rng = np.random.default_rng(5)
    pool = Pool([tiny_model(rng, inputs=3, hidden=(6,), name=name) for name in NAMES])
    x = rng.normal(size=(200, 3)).astype(np.float32)
    says = np.stack([model.predict(x) for model in pool.values()])
    same = (says == says[0]).all(axis=0)
    return pool, agreement_points(pool, x[same], says[0][same], count=6)


@pytest.mark.parametrize("engine", ["native", "auto", "milp"])
def test_real_engines_agree(networks: Setting, engine: str) -> None:
    analysis = Analysis(*networks, epsilons=[0.1, 0.5, 1.0], engine=engine, bounds=(-5, 5))
    analysis.solve()
    audit = analysis.audit(30)
    assert (audit.asked, audit.undecided, audit.contradictions) == (30, 0, ())
    outcomes = {analysis.answer(pair, 0, 1.0).outcome for pair in (AB, ("b", "c"))}
    assert outcomes <= {Outcome.SAT, Outcome.UNSAT}


def test_an_engine_that_lies_is_caught_and_the_query_can_be_replayed(networks: Setting) -> None:
    liar = Recorder(lambda *asked: Answer(Outcome.UNSAT, engine="recorder"))
    liar_analysis = Analysis(*networks, epsilons=[1.0], engine=liar)
    liar_analysis.solve()
    audit = liar_analysis.audit(100)
    assert audit.asked == 18
    assert audit.contradictions
    for one in audit.contradictions:
        ball = one.query.ball
        for engine in ("native", "milp"):
            again = decide(one.query.models, ball.center, one.query.label, ball.epsilon, engine=engine)
            assert again.outcome is one.second.outcome is Outcome.SAT
