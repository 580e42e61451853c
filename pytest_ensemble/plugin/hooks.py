"""The hooks of suites that use the plugin: registered with its state, or where pytest-xdist distributes.

Reports and the terminal's summary are made once, under pytest-xdist by the controller, from what its workers
send as JSON when they end.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_ensemble.plugin import (
    BLOCKS,
    CHECKED,
    FAILURE,
    INCONCLUSIVE,
    MARKS,
    NODES,
    STATE,
    state_of,
)
from pytest_ensemble.plugin.options import MARKERS

_OUTPUT = "pytest_ensemble"  # our key among what a worker of pytest-xdist returns


def pytest_collection_finish(session: pytest.Session) -> None:
    """Remember which gates have to be checked, also those that other hooks have added meanwhile."""
    state = session.config.stash.get(STATE, None)
    if state is not None:
        from pytest_ensemble.plugin.markers import id_of, read_item
        from pytest_ensemble.plugin.state import declared_gates

        problems = [problem for item in session.items for problem in read_item(item, state.settings, MARKS)]
        if problems:
            raise pytest.UsageError("\n".join(problems))
        state.declared = declared_gates(session.items)
        state.tests = [id_of(item) for item in session.items if item.stash.get(MARKS, None) is not None]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A test whose gates were not checked, or did not hold, fails, whatever else it did."""
    if CHECKED in item.stash:  # by an earlier run of it
        del item.stash[CHECKED]
    if FAILURE in item.stash:
        del item.stash[FAILURE]
    yield
    marks = item.stash.get(MARKS, None)
    if marks is not None and marks.gates and not item.stash.get(CHECKED, False):
        pytest.fail(
            "The gates of this test were not checked: call ensemble_gate.check() in it.", pytrace=False
        )
    if (failure := item.stash.get(FAILURE, None)) is not None:  # and the test went on
        pytest.fail(failure.message, pytrace=False)
    if isinstance(item, pytest.Function) and any(mark.name in MARKERS for mark in item.iter_markers()):
        from pytest_ensemble.plugin.markers import read_marks

        settings = state_of(item.config).settings
        if marks is None or read_marks(item, settings).gates != marks.gates:
            pytest.fail(
                "Gates were added to this test while it ran, and not checked: mark it before it runs.",
                pytrace=False,
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Short summaries, JUnit messages and annotations get the first line of a gate's failure only.

    What the terminal needs beside it are plain attributes, which pytest-xdist sends with the report.
    """
    report = yield
    crash = getattr(report.longrepr, "reprcrash", None)
    failure = item.stash.get(FAILURE, None)
    if crash is not None and failure is not None and crash.message.endswith(failure.message):
        crash.message = crash.message.partition("\n")[0]
        report.__dict__[BLOCKS] = failure.blocks
        report.__dict__[INCONCLUSIVE] = failure.inconclusive
    return report


def pytest_report_teststatus(
    report: pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Tests that fail only because gates are inconclusive have a letter, a word and a count of their own."""
    if report.failed and report.when == "call" and report.__dict__.get(INCONCLUSIVE):
        return "inconclusive", "?", ("INCONCLUSIVE", {"yellow": True})
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Have the workers of pytest-xdist share what they find, even where nothing is kept."""
    node.config.stash.setdefault(NODES, []).append(node)
    if STATE in node.config.stash and (state := state_of(node.config)).settings.cache != "rw":
        from pytest_ensemble.plugin.cache import lend

        state.lent = lend(node, state.settings, state.lent)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """Take what a worker of pytest-xdist found; it is lost if the worker crashed."""
    if node in (nodes := node.config.stash.get(NODES, [])):
        nodes.remove(node)
    output = getattr(node, "workeroutput", {}).get(_OUTPUT)
    if output:
        from pytest_ensemble.report.document import Document

        said, state = json.loads(output), state_of(node.config)
        state.workers[node.gateway.id] = Document.from_json(said["document"])
        state.tests = state.tests or said["tests"]  # all workers collect the same
    elif output is None and node.gateway.id not in (lost := state_of(node.config).lost):
        lost.append(node.gateway.id)


@pytest.hookimpl(trylast=True)  # pytest-xdist has ended its workers then
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Audit, end solver processes; send what was found to the controller, or write the reports."""
    config = session.config
    for node in list(config.stash.get(NODES, ())):  # nobody reported their end, because of Ctrl-C
        if STATE in config.stash or hasattr(node, "workeroutput"):
            pytest_testnodedown(node, None)
    if STATE not in config.stash:
        if hasattr(config, "workeroutput"):
            config.workeroutput[_OUTPUT] = ""  # not lost: it found nothing
        return
    state = config.stash[STATE]
    finished = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if state.session is not None:
        if state.settings.audit and finished:
            state.session.audit(state.settings.audit)
        state.session.close()
    if hasattr(config, "workeroutput"):
        said = {"document": state.document().to_json(), "tests": state.tests}
        config.workeroutput[_OUTPUT] = json.dumps(said)
        return
    from pytest_ensemble.plugin import failures

    config.pluginmanager.register(failures, "ensemble-failures")
    if state.lent is not None:
        shutil.rmtree(state.lent, ignore_errors=True)
    found = state.document()
    if exitstatus == pytest.ExitCode.OK and found.audit.contradictions:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    trusted = finished and not found.audit.contradictions
    if state.settings.baseline is not None and trusted and not config.option.collectonly:
        from pytest_ensemble.plugin.baseline import keep_baseline

        try:
            state.baseline_written = keep_baseline(state.settings, found.baseline)
        except (OSError, pytest.UsageError) as problem:
            _not_written(session, state.settings.baseline, problem)
    if state.settings.report and not config.option.collectonly:
        from pytest_ensemble.report.write import write

        for path in state.settings.report:
            try:
                write(found, path)
            except OSError as problem:
                _not_written(session, path, problem)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary and state.settings.step_summary and not config.option.collectonly:
        from pytest_ensemble.plugin.summary import append_step_summary

        append_step_summary(state, found, Path(summary))


def _not_written(session: pytest.Session, path: Path, problem: Exception) -> None:
    """Say so, and fail the run, unless it failed in another way."""
    session.config.stash[STATE].failed_reports.append(f"{path} could not be written: {problem}")
    if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """One line for each gate, where there are any."""
    if STATE not in config.stash or config.option.collectonly:
        return
    from pytest_ensemble.plugin.summary import write_summary

    write_summary(config.stash[STATE], terminalreporter, exitstatus)
