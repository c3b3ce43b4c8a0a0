"""Control of a sending run: pause, rate, limit and stop, in one process and on a cluster."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import RunState
from tests.e2e.command import SET, Command, Ran, assert_they_agree, finish, people, seed, write_csv
from tests.sim import Simulator
from tests.waiting import wait_until

ROWS = 40


def begun(bulkreset: Command, sim: Simulator, *args: str, rate: str = "20", rows: int = ROWS) -> tuple[Any, Path]:
    """A run that has sent a few rows."""
    seed(sim, [name for name, _ in people(rows)])
    path = write_csv(bulkreset.home / "in.csv", people(rows))
    run_dir = bulkreset.home / "run"
    process = bulkreset.start(*bulkreset.against(path), "--yes", "--rate", rate, *args, "--run-dir", run_dir)
    wait_until(lambda: len(sim.calls(SET)) >= 3)
    return process, run_dir


def command(bulkreset: Command, *args: str | Path) -> Ran:
    """A command that makes no run."""
    with bulkreset.start(*args) as process:
        return finish(process, bulkreset.home)


def state_of(run_dir: Path) -> RunState:
    """The run state that the journal has now."""
    return Journal.state_in(run_dir / "journal.sqlite")


def limited_by(run_dir: Path, reason: str) -> bool:
    """Whether this limits the only lane."""
    return [lane.limited_by for lane in state_of(run_dir).lanes] == [reason]


@pytest.mark.parametrize("where", ["none", "local:1"])
def test_paused_run_sends_nothing_until_it_continues(bulkreset: Command, sim: Simulator, where: str) -> None:
    process, run_dir = begun(bulkreset, sim, "--cluster", where)
    with process:
        assert command(bulkreset, "control", run_dir, "--pause").code == 0
        wait_until(lambda: limited_by(run_dir, "paused"))
        shown = command(bulkreset, "control", run_dir)
        assert "paused (paused)" in shown.stdout
        assert ": pause" in shown.stdout
        told = json.loads(command(bulkreset, "status", run_dir, "--json").stdout)
        assert (told["lanes"][0]["limit"], told["lanes"][0]["limited_by"]) == (0, "paused")
        assert "last order: pause, by " in command(bulkreset, "status", run_dir).stdout
        # The worker follows with its next exchange: then the calls in flight are the last ones.
        before = wait_until(lambda: (calls := len(sim.calls(SET))) == _later(sim, calls) and calls)
        assert before < ROWS
        assert (
            command(bulkreset, "control", run_dir, "--continue", "--rate", "200").code == 0
        )  # no more than the job's 20
        ran = finish(process, run_dir)
    assert ran.code == 0
    assert_they_agree(ran, sim)
    assert [order.order for order in state_of(run_dir).control] == ["pause", "rate 200, continue"]
    reasons = [event["reason"] for event in ran.log if event["event"] == "ceiling_changed"]
    assert reasons == ["paused", "job"]


def _later(sim: Simulator, calls: int) -> int:
    """The number of calls after so many slots at the job's rate that some of them would have been used."""
    try:
        wait_until(lambda: len(sim.calls(SET)) > calls, patience=1.0)
    except AssertionError:
        return calls
    return len(sim.calls(SET))


def test_signal_pauses_and_continues(bulkreset: Command, sim: Simulator) -> None:
    process, run_dir = begun(bulkreset, sim)
    with process:
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda: limited_by(run_dir, "paused"))
        process.send_signal(signal.SIGUSR1)
        ran = finish(process, run_dir)
    assert ran.code == 0
    assert [order.by.partition(" ")[2] for order in state_of(run_dir).control] == ["(SIGUSR1)"] * 2


def test_slow_run_is_stopped_at_once_and_resumed_without_the_orders(bulkreset: Command, sim: Simulator) -> None:
    process, run_dir = begun(bulkreset, sim)
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
    process, run_dir = begun(bulkreset, sim, rate="5")
    with process:
        assert command(bulkreset, "control", run_dir, "--limit", "20").code == 0
        ran = finish(process, run_dir)
    assert ran.code == 5
    assert ran.summary["counts"] == {"set": 20, "unprocessed": ROWS - 20}
    assert "Stopped after 20 rows, as bulkreset control --limit asks. 20 left." in ran.summary["stopped_by"]["message"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--pause", "--continue"], "contradict"),
        (["--lane", "1/r"], "needs what to change"),
        (["--lane", "1/r", "--stop", "--pause"], "for the whole run"),
        (["--rate", "fast"], "is no rate"),
        (["--lane", "1/nowhere", "--pause"], "has no lane 1/nowhere"),
    ],
)
def test_wrong_order_is_refused(bulkreset: Command, sim: Simulator, flags: list[str], said: str) -> None:
    process, run_dir = begun(bulkreset, sim, rate="1")
    with process:
        refused = command(bulkreset, "control", run_dir, *flags)
        assert (refused.code, said in refused.stderr) == (2, True), refused.stderr
        assert command(bulkreset, "control", run_dir, "--stop").code == 0
        assert finish(process, run_dir).code == 143
