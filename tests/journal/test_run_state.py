"""The run state: the progress of a run, and its names for people."""

import pytest

from bulkreset.errors import GuardTripped
from bulkreset.journal.execution import new_execution
from bulkreset.journal.run_state import Phase
from tests.journal.journals import EXECUTION, run_state

STATES = [
    (Phase.READING, "planning", (False, False)),
    (Phase.CHECKING, "planning", (True, False)),
    (Phase.COMPARING, "planning", (True, False)),
    (Phase.PLANNED, "planned", (True, True)),
    (Phase.APPLYING, "applying", (True, True)),
]


@pytest.mark.parametrize(("phase", "name", "done"), STATES)
def test_phase_names_the_work(phase: Phase, name: str, done: tuple[bool, bool]) -> None:
    state = run_state().changed({"phase": phase})
    assert (state.is_read, state.is_planned) == done
    assert (state.state, state.end, state.is_finished, state.stopped_by) == (name, None, False, None)


def test_end_belongs_to_its_execution() -> None:
    error = GuardTripped("Too many.", "Look.").describe()
    stopped = run_state("stopped", rows=1, exit_code=3, stopped_by=error)
    assert (stopped.state, stopped.stopped_by, stopped.is_finished) == ("stopped", error, False)
    resumed = stopped.changed({"executions": (*stopped.executions, new_execution())})
    assert (resumed.state, resumed.stopped_by, resumed.was_killed) == ("planned", None, False)
    assert run_state(executions=[EXECUTION, EXECUTION]).was_killed
    assert not run_state().was_killed


def test_only_the_last_execution_is_replaced() -> None:
    state = run_state(executions=[EXECUTION, EXECUTION])
    first, last = state.replacing_execution(callers={"p": "arn"})
    assert (first.callers, last.callers) == ({}, {"p": "arn"})
