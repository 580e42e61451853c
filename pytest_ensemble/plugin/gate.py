"""`EnsembleGate`: what the fixture `ensemble_gate` gives, `check()`."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Sequence

import pytest

from pytest_ensemble.analysis.baseline import Move, Place, with_worst
from pytest_ensemble.analysis.gates import Gate, Verdict, judge
from pytest_ensemble.plugin import CHECKED, FAILURE, MARKS, state_of
from pytest_ensemble.plugin.failures import Failure
from pytest_ensemble.plugin.markers import id_of
from pytest_ensemble.plugin.session import Session, plain_failures
from pytest_ensemble.plugin.under_test import EnsembleUnderTest
from pytest_ensemble.report.document import Document
from pytest_ensemble.report.drawing import failure
from pytest_ensemble.report.entries import GateResult
from pytest_ensemble.report.junit import properties
from pytest_ensemble.report.lost import lost_block
from pytest_ensemble.report.ratchet import Comparison
from pytest_ensemble.report.terminal import Block, blocks, worst_pair
from pytest_ensemble.report.terms import title_of

__all__ = ["EnsembleGate", "InconclusiveGateWarning"]


class InconclusiveGateWarning(pytest.PytestWarning):
    """A gate is inconclusive, and --ensemble-inconclusive=warn lets it pass."""


class EnsembleGate:
    """The gates of one test: all `ensemble_min_uniqueness` and `ensemble_max_mutual_error` marks of it."""

    def __init__(
        self,
        item: pytest.Item,
        session: Session,
        ensemble: EnsembleUnderTest,
        together: Sequence[Gate] = (),
    ) -> None:
        """Use the fixture `ensemble_gate` instead.

        Args:
            together: gates of this ensemble, these among them, that other tests will ask for.
        """
        self._item = item
        self._session = session
        self._ensemble = ensemble
        self._gates = item.stash[MARKS].gates
        self._together = together or self._gates

    def check(self) -> None:
        """Solve what the gates need, and fail the test if one of them does not hold.

        A gate holds if every member, or every pair, is surely on the right side of its threshold. It is
        inconclusive if undecided queries leave that open; that fails the test too, or warns with
        --ensemble-inconclusive=warn.
        """
        __tracebackhide__ = True
        self._item.stash[CHECKED] = True
        with plain_failures():
            self._ensemble.solve(self._together)
            for gate in self._gates:
                self._suggest(gate)
            results = [self._check(gate) for gate in self._gates]
            lost = self._compare()
        self._item.user_properties.extend(properties(results))
        open_ones = [result for result in results if result.verdict is not Verdict.PASS]
        if not open_ones and not lost:
            return
        suggested = self._session.settings.suggest != "never"
        parts: list[Block] = []
        if open_ones:
            found = Document.of(self._session.entries)
            parts += blocks(found, open_ones, self._rerun(), suggested=suggested)
        if lost:
            parts.append(lost_block(lost, title_of(id_of(self._item)), "" if open_ones else self._rerun()))
        parts.sort(key=lambda block: block["verdict"] != "fail")  # the first headline stands for all
        message = failure(parts)
        failing = any(result.verdict is Verdict.FAIL for result in open_ones)
        failing |= any(one.move == Move.WORSE for one in lost)
        if failing or self._session.settings.inconclusive == "fail":
            self._item.stash[FAILURE] = Failure(message, parts, not failing)
            pytest.fail(message, pytrace=False)
        warnings.warn(InconclusiveGateWarning(message), stacklevel=2)

    def _suggest(self, gate: Gate) -> None:
        """Look for better members, if that is wanted; before verdicts are written down: scores may profit."""
        wanted = self._session.settings.suggest
        if wanted == "failing":
            failing = judge(gate, self._ensemble.scores(gate), self._ensemble.sample).verdict is Verdict.FAIL
            if not failing or self._ensemble.stopped(gate.epsilon):
                return
        if wanted != "never":
            self._ensemble.suggest(epsilon=gate.epsilon)

    def _check(self, gate: Gate) -> GateResult:
        ruling = judge(gate, self._ensemble.scores(gate), self._ensemble.sample)
        undecided = self._ensemble.undecided(gate.epsilon)
        self._ensemble.record(gate.epsilon)
        result = GateResult(
            self._ensemble.key,
            id_of(self._item),
            gate.metric,
            gate.epsilon,
            gate.threshold,
            ruling.verdict,
            ruling.subject,
            ruling.score.low,
            ruling.score.high,
            undecided,
            self._ensemble.stopped(gate.epsilon),
            gate.confidence,
            None if gate.confidence is None else gate.bound(ruling.score, self._ensemble.sample),
        )
        self._session.entries.append(result)
        if ruling.verdict is not Verdict.PASS:
            pair = worst_pair(Document.of(self._session.entries), result)
            assert pair is not None
            self._ensemble.show(pair, gate.epsilon)
        return result

    def _compare(self) -> list[Comparison]:
        """Put the scores beside the baseline, if there is one; what is worse, or may be, and not accepted."""
        baseline = state_of(self._item.config).baseline
        if baseline is None:
            return []
        found = [
            Comparison.of(
                baseline.compare(Place(id_of(self._item), gate.metric, gate.epsilon, subject), score),
                self._session.settings.baseline_accept,
            )
            for gate in {(gate.metric, gate.epsilon): gate for gate in self._gates}.values()
            for subject, score in with_worst(gate.metric, self._ensemble.scores(gate)).items()
        ]
        self._session.entries.extend(found)
        return [one for one in found if one.lost]

    def _rerun(self) -> str:
        """The command that runs this test again from where pytest was called."""
        config = self._item.config
        path, separator, rest = id_of(self._item).partition("::")
        test = os.path.relpath(config.rootpath / path, config.invocation_params.dir) + separator + rest
        quoted = shlex.quote(test) if set(test) & set('"$`\\!') else f'"{test}"'
        arguments = (shlex.quote(argument) for argument in self._session.settings.arguments)
        return " ".join(["pytest", quoted, *arguments])
