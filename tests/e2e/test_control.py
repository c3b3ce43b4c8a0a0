"""Control of a sending run: pause, rate, limit and stop, in one process and on a cluster."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import RunState
from tests.e2e.command import SET, Command, CommandResult, assert_they_agree, finish, people, seed, write_csv
from tests.e2e.test_confirmation import PROMPT, at_a_terminal
from tests.sim import Simulator
from tests.waiting import wait_until

ROWS = 40


def start_run(bulkreset: Command, sim: Simulator, *args: str, rate: str = "20", rows: int = ROWS) -> tuple[Any, Path]:
    """Start a run and wait until it has sent a few rows."""
    seed(sim, [name for name, _ in people(rows)])
    path = write_csv(bulkreset.home / "in.csv", people(rows))
    run_dir = bulkreset.home / "run"
    process = bulkreset.start(*bulkreset.against(path), "--yes", "--rate", rate, *args, "--run-dir", run_dir)
    wait_until(lambda: len(sim.calls(SET)) >= 3)
    return process, run_dir


def command(bulkreset: Command, *args: str | Path) -> CommandResult:
    """Run a command that makes no run."""
    with bulkreset.start(*args) as process:
        return finish(process, bulkreset.home)


def state_of(run_dir: Path) -> RunState:
    """Return the run state in the journal."""
    return Journal.state_in(run_dir / "journal.sqlite")


def limited_by(run_dir: Path, reason: str) -> bool:
    """Return whether this limits the only lane."""
    return [lane.limited_by for lane in state_of(run_dir).lanes] == [reason]


@pytest.mark.parametrize("where", ["none", "local:1"])
def test_paused_run_sends_nothing_until_it_continues(bulkreset: Command, sim: Simulator, where: str) -> None:
    process, run_dir = start_run(bulkreset, sim, "--cluster", where)
    with process:
        assert command(bulkreset, "control", run_dir, "--pause").code == 0
        wait_until(lambda: limited_by(run_dir, "paused"))
        shown = command(bulkreset, "control", run_dir)
        assert "paused (paused)" in shown.stdout
        assert ": pause" in shown.stdout
        told = json.loads(command(bulkreset, "status", run_dir, "--json").stdout)
        assert (told["lanes"][0]["limit"], told["lanes"][0]["limited_by"]) == (0, "paused")
        assert "last order: pause, by " in command(bulkreset, "status", run_dir).stdout
        # The worker follows at its next exchange: from then on the calls in flight are the last ones.
        before = wait_until(lambda: (calls := len(sim.calls(SET))) == _later(sim, calls) and calls)
        assert before < ROWS
        assert command(bulkreset, "control", run_dir, "--continue", "--rate", "200").code == 0  # at most the job's 20
        ran = finish(process, run_dir)
    assert ran.code == 0
    assert_they_agree(ran, sim)
    assert [order.order for order in state_of(run_dir).control] == ["pause", "rate 200, continue"]
    reasons = [event["reason"] for event in ran.log if event["event"] == "ceiling_changed"]
    assert reasons == ["paused", "job"]


def _later(sim: Simulator, calls: int) -> int:
    """Return the number of calls after so many slots at the job's rate that some would have been used."""
    try:
        wait_until(lambda: len(sim.calls(SET)) > calls, patience=1.0)
    except AssertionError:
        return calls
    return len(sim.calls(SET))


def test_signal_pauses_and_continues(bulkreset: Command, sim: Simulator) -> None:
    process, run_dir = start_run(bulkreset, sim)
    with process:
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda: limited_by(run_dir, "paused"))
        process.send_signal(signal.SIGUSR1)
        ran = finish(process, run_dir)
    assert ran.code == 0
    assert [order.by.partition(" ")[2] for order in state_of(run_dir).control] == ["(SIGUSR1)"] * 2


def test_slow_run_is_stopped_at_once_and_resumed_without_the_orders(bulkreset: Command, sim: Simulator) -> None:
    process, run_dir = start_run(bulkreset, sim)
    with process:
        assert command(bulkreset, "control", run_dir, "--rate", "0.001", "--lane", "123456789012/us-east-1").code == 0
        wait_until(lambda: limited_by(run_dir, "control"))
        assert command(bulkreset, "control", run_dir, "--stop").code == 0
        ran = finish(process, run_dir)
    assert ran.code == 143
    assert "bulkreset control --stop" in ran.summary["stopped_by"]["message"]
    assert ran.summary["counts"]["unprocessed"] > 0
    with bulkreset.start("resume", run_dir) as resumed:
        again = finish(resumed, run_dir)
    assert again.code == 0
    assert_they_agree(again, sim)
    assert len(state_of(run_dir).control) == 2
    refused = command(bulkreset, "control", run_dir, "--pause")
    assert refused.code == 2
    assert "No process works on the run" in refused.stderr


def test_row_limit_of_an_order_ends_the_run(bulkreset: Command, sim: Simulator) -> None:
    process, run_dir = start_run(bulkreset, sim, rate="5")
    with process:
        assert command(bulkreset, "control", run_dir, "--limit", "20").code == 0
        ran = finish(process, run_dir)
    assert ran.code == 5
    assert ran.summary["counts"] == {"set": 20, "unprocessed": ROWS - 20}
    assert "Stopped after 20 rows, as bulkreset control --limit asks. 20 left." in ran.summary["stopped_by"]["message"]


NOT_YET = "It sends nothing yet: orders take effect from the first row on."


def test_order_to_a_run_that_plans_is_in_force_from_the_first_row_on(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, [name for name, _ in people(ROWS)])
    sim.configure(faults={"every": {"operation": "ListUsers", "hold": True}})
    run_dir = bulkreset.home / "run"
    path = write_csv(bulkreset.home / "in.csv", people(ROWS))
    with bulkreset.start(*bulkreset.checked(path), "--yes", "--rate", "200", "--run-dir", run_dir) as process:
        wait_until(lambda: sim.calls("ListUsers"))
        assert NOT_YET in command(bulkreset, "control", run_dir, "--pause").stdout
        shown = command(bulkreset, "control", run_dir).stdout
        assert (NOT_YET in shown, ": pause" in shown) == (True, True)
        early = command(bulkreset, "control", run_dir, "--rate", "5", "--lane", "123456789012/us-east-1")
        assert (early.code, "does not know its lanes yet" in early.stderr) == (2, True)
        sim.configure(faults={"every": None})
        wait_until(lambda: limited_by(run_dir, "paused"))
        assert sim.calls(SET) == []
        assert command(bulkreset, "control", run_dir, "--continue").code == 0
        ran = finish(process, run_dir)
    assert ran.code == 0
    assert_they_agree(ran, sim)
    assert [order.order for order in state_of(run_dir).control] == ["pause", "continue"]


def test_order_at_the_prompt_is_in_force_from_the_first_row_on(bulkreset: Command, sim: Simulator) -> None:
    args = bulkreset.against(write_csv(bulkreset.home / "in.csv", people(3)))
    with at_a_terminal(bulkreset, args) as person:
        assert PROMPT in person.read_until(PROMPT)
        run_dir = person.run_dir
        assert NOT_YET in command(bulkreset, "control", run_dir, "--pause").stdout
        person.type("y\n")
        wait_until(lambda: limited_by(run_dir, "paused"))
        assert sim.calls(SET) == []
        assert command(bulkreset, "control", run_dir, "--continue").code == 0
        assert person.end().code == 0
    assert len(sim.calls(SET)) == 3


def test_order_to_stop_ends_the_question(bulkreset: Command, sim: Simulator) -> None:
    args = bulkreset.against(write_csv(bulkreset.home / "in.csv", people(3)))
    with at_a_terminal(bulkreset, args) as person:
        assert PROMPT in person.read_until(PROMPT)
        said = command(bulkreset, "control", person.run_dir, "--stop").stdout
        assert "It follows within a second." in said
        assert person.end().code == 143
    assert sim.calls(SET) == []
    assert [order.order for order in state_of(person.run_dir).control] == ["stop"]


def test_dry_run_follows_nothing_but_a_stop(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, [name for name, _ in people(3)])
    sim.configure(faults={"every": {"operation": "ListUsers", "hold": True}})
    run_dir = bulkreset.home / "run"
    checked = bulkreset.checked(write_csv(bulkreset.home / "in.csv", people(3)))
    with bulkreset.start(*checked, "--dry-run", "--run-dir", run_dir) as process:
        wait_until(lambda: sim.calls("ListUsers"))
        refused = command(bulkreset, "control", run_dir, "--pause")
        assert (refused.code, "A dry run sends nothing" in refused.stderr) == (2, True)
        assert command(bulkreset, "control", run_dir, "--stop").code == 0
        assert finish(process, run_dir).code == 143


# An order comes while the run is taken over, and one after the last look of the run that has sent everything.
ORDERING = """
from bulkreset.errors import Refused
from bulkreset.run import control, finish, run

def with_order(before):
    def ordered(context):
        try:
            control.give_order(context.home.path, control.new_order(rate=5.0))
        except Refused as refused:
            print(refused.message)
        before(context)
    return ordered

run._take_over = with_order(run._take_over)
finish._record_times = with_order(finish._record_times)
"""


def test_run_killed_while_paused_is_resumed_without_the_pause(bulkreset: Command, sim: Simulator) -> None:
    """An order to the run that is being resumed is refused; one that is given is recorded, however late it comes."""
    process, run_dir = start_run(bulkreset, sim)
    with process:
        assert command(bulkreset, "control", run_dir, "--pause").code == 0
        wait_until(lambda: limited_by(run_dir, "paused"))
        os.kill(process.pid, signal.SIGKILL)
        finish(process, run_dir)
    told = json.loads(command(bulkreset, "status", run_dir, "--json").stdout)
    assert (told["state"], told["control"][0]["order"]) == ("crashed", "pause")
    with bulkreset.start("resume", run_dir, first=ORDERING) as resumed:
        again = finish(resumed, run_dir)
    assert (again.code, again.summary["counts"]) == (0, {"set": ROWS})
    assert {call.username for call in sim.calls(SET)} == {name for name, _ in people(ROWS)}
    state = state_of(run_dir)
    assert [lane.limited_by for lane in state.lanes] == [""]
    assert again.stdout.count("The run's last execution has ended, and no new one has begun yet.") == 1
    assert [order.order for order in state.control] == ["pause", "rate 5"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--pause", "--continue"], "contradict"),
        (["--lane", "1/r"], "An order needs what to change"),
        (["--lane", "1/r", "--stop", "--pause"], "for the whole run"),
        (["--rate", "fast"], "is no rate"),
        (["--lane", "1/nowhere", "--pause"], "has no lane 1/nowhere"),
    ],
)
def test_wrong_order_is_refused(bulkreset: Command, sim: Simulator, flags: list[str], said: str) -> None:
    process, run_dir = start_run(bulkreset, sim, rate="1")
    with process:
        refused = command(bulkreset, "control", run_dir, *flags)
        assert (refused.code, said in refused.stderr) == (2, True), refused.stderr
        assert command(bulkreset, "control", run_dir, "--stop").code == 0
        assert finish(process, run_dir).code == 143
