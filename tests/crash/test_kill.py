"""A run killed at any moment and resumed to the end: no row lost, no finished row sent again."""

import contextlib
import csv
import os
import random
import signal
import sqlite3
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bulkreset.report.run_status import read_status
from tests.crash.test_resume import ENDS_WHILE_IT_PLANS, hold, let_go, resume, sent
from tests.e2e.command import PATIENCE, SET, Command, people, write_csv
from tests.sim import Simulator
from tests.waiting import wait_until

ROWS = 300
PADDING = 60_000  # rows without a password: they make plan and report long enough for a random kill


@dataclass
class RunState:
    """The state of a run between two executions."""

    run_dir: Path
    settled: set[str] = field(default_factory=set)
    claimed: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)

    def check_sent(self, sim: Simulator) -> None:
        """Check after an execution that no finished row was sent in it, and remember which rows are finished now."""
        sent = [call.username for call in sim.calls(SET)][self.calls.total() :]
        self.calls.update(sent)
        assert not self.settled & set(sent)
        with contextlib.closing(sqlite3.connect(self.run_dir / "journal.sqlite")) as journal:
            found = dict(journal.execute("SELECT username, status FROM rows"))
        self.settled |= {user for user, status in found.items() if status == "set"}
        self.claimed |= {user for user, status in found.items() if status in {"claimed", "in_doubt"}}

    def assert_report(self) -> None:
        """Check that each row is reported once as set, and that users sent twice were claimed at a kill and marked."""
        with (self.run_dir / "report.csv").open(encoding="utf-8", newline="") as file:
            report = list(csv.DictReader(file))
        assert [row["row"] for row in report] == [str(number) for number in range(1, len(report) + 1)]
        sent = [row for row in report if row["status"] != "rejected"]
        assert [row["username"] for row in sent] == [username for username, _ in people(ROWS)]
        assert {row["status"] for row in sent} == {"set"}
        twice = {user for user, times in self.calls.items() if times > 1}
        assert twice <= self.claimed
        assert twice <= {row["username"] for row in report if row["in_doubt"] == "true"}


def signal_after(process: subprocess.Popen[str], after: float, number: int) -> None:
    """Send a signal this long after the start, unless the process has ended."""
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, number)
        process.communicate()


def kill_until_done(bulkreset: Command, sim: Simulator, number: int, seed: int, kills: int, padding: int = 0) -> None:
    """Start, kill, resume, kill … and finally resume to the end."""
    chance = random.Random(seed)
    sim.configure(latency=0.03, jitter=0.5)
    source = write_csv(bulkreset.home / "users.csv", [*((f"no.{row}", "") for row in range(padding)), *people(ROWS)])
    run_dir = bulkreset.home / "run"
    begin = (*bulkreset.against(source), "--yes", "--rate", "100", "--run-dir", run_dir)
    state = RunState(run_dir)
    for last in [False] * kills + [True]:
        with bulkreset.start(*(("resume", run_dir) if run_dir.exists() else begin)) as process:
            signal_after(process, 300.0 if last else chance.uniform(0.5, 2.5), number)
        if last:
            assert process.returncode == (1 if padding else 0)
        else:
            assert process.returncode in {0, 1, -number, 128 + number}
        if run_dir.exists():
            state.check_sent(sim)
    state.assert_report()


# The process kills itself at the third row of its report.
KILLED_WHILE_IT_REPORTS = """
import os
from bulkreset.journal.reader import JournalReader
report_facts = JournalReader.report_facts
def ending(*args, **named):
    for number, row in enumerate(report_facts(*args, **named)):
        if number == 3:
            os.kill(os.getpid(), 9)
        yield row
JournalReader.report_facts = ending
"""


def test_kill_at_any_point_and_resume_loses_no_row_and_settles_none_twice(bulkreset: Command, sim: Simulator) -> None:
    """Kill it while it plans, twice while it sends, and while it writes its report."""
    source = write_csv(bulkreset.home / "users.csv", people(ROWS))
    run_dir = bulkreset.home / "run"
    begin = (*bulkreset.against(source), "--yes", "--rate", "none", "--workers", "4", "--run-dir", run_dir)
    state = RunState(run_dir)
    with bulkreset.start(*begin, first=ENDS_WHILE_IT_PLANS.format(signal.SIGKILL)) as process:
        assert process.wait(timeout=PATIENCE) == -signal.SIGKILL
    state.check_sent(sim)
    assert not state.calls
    for calls, answered in ((40, 39), (110, 0)):  # of these at least so many are in the journal
        hold(sim, calls)
        with bulkreset.start("resume", run_dir) as process:
            sent(sim, state.calls.total() + calls)
            wait_until(lambda: read_status(run_dir).counts.get("set", 0) >= answered)  # noqa: B023
            process.kill()
            process.communicate()
        let_go(sim)
        state.check_sent(sim)
        assert state.settled
        assert state.claimed
    with bulkreset.start("resume", run_dir, first=KILLED_WHILE_IT_REPORTS) as process:
        assert process.wait(timeout=PATIENCE) == -signal.SIGKILL
    state.check_sent(sim)
    assert len(state.settled) == ROWS
    ran = resume(bulkreset, run_dir)
    assert ran.code == 0
    state.check_sent(sim)
    state.assert_report()
    assert ran.summary["resent"] >= sum(times > 1 for times in state.calls.values()) > 0


@pytest.mark.fresh
@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
@pytest.mark.parametrize("seed", range(10))
def test_killed_fifty_times(bulkreset: Command, sim: Simulator, number: int, seed: int) -> None:
    kill_until_done(bulkreset, sim, number, seed=seed, kills=5, padding=PADDING * (seed % 2))
