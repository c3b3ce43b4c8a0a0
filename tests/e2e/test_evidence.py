"""Compare a run's report of rows with lost answers with what the service did: `set` only if it was set.

In each pool the password history refuses the second call. Either the first call set the password, or the user already
had it: the answer is the same.
"""

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

from tests.e2e.command import (
    PATIENCE,
    POOL,
    SET,
    Command,
    CommandResult,
    assert_they_agree,
    finish,
    seed,
    write_csv,
    write_job,
)
from tests.sim import Simulator
from tests.waiting import wait_until

HISTORY: Final = "PasswordHistoryPolicyViolationException"
LISTING: Final = "ListUsers"
BY_EVIDENCE: Final = "set by an earlier call whose answer was lost: the user was changed after that call began"
MAY_BE_SET: Final = "an earlier call, whose answer was lost, may have set the password"
EARLIER: Final = f"{MAY_BE_SET}, but the user was last changed before that call"
ATTEMPTS: Final = 4
LONG_AGO: Final = 3600.0  # seconds

# Ways to lose the answer of a call that was applied, and of one that was not.
WAYS: Final[Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]] = {
    "time-out": ({"hang": 600, "apply": True}, {"hang": 600}),
    "reset": ({"cut": "after"}, {"cut": "before"}),
    "shortened": ({"garbage": "truncated", "apply": True}, {"garbage": "truncated"}),
    "bare-500": ({"http": 500, "apply": True}, {"http": 500}),
    "internal-error": ({"error": "InternalErrorException", "apply": True}, {"error": "InternalErrorException"}),
}
# What happened to the first call: it set the password, it never reached the pool, or the pool refused it.
FIRST: Final = ("set", "dropped", "refused")
# What happens to the calls after it.
VERDICTS: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "ordinary": [],
    "throttled-then-ordinary": [{"throttle": 1}],
    "lost-to-the-end": [{"http": 500}] * ATTEMPTS,
    "throttled-to-the-end": [{"throttle": ATTEMPTS}],
    "unknown-user": [{"error": "UserNotFoundException"}],
}


@dataclass(frozen=True)
class Case:
    """A user whose first answer is lost, and the expected report."""

    way: str
    first: str
    verdict: str

    @property
    def name(self) -> str:
        return f"{self.way}.{self.first}.{self.verdict}"

    @property
    def steps(self) -> list[Mapping[str, Any]]:
        return [WAYS[self.way][self.first != "set"], *VERDICTS[self.verdict]]

    @property
    def expected(self) -> tuple[str, str, str]:
        """Return status, code, and the end of the message."""
        match self.verdict, self.first:
            case "unknown-user", _:
                return "failed", "UserNotFoundException", MAY_BE_SET
            case "lost-to-the-end", _:
                return "in_doubt", "HTTP500", ""
            case "throttled-to-the-end", _:
                return "in_doubt", "TooManyRequestsException", ""
            case _, "set":
                return "set", "", BY_EVIDENCE
            case _, "dropped":
                return "set", "", ""
            case _:
                return "in_doubt", HISTORY, EARLIER


CASES: Final = [Case(*of) for of in product(WAYS, FIRST, VERDICTS)]


def user(name: str, password: str, *, has_it: bool) -> dict[str, Any]:
    """Return a user who was last changed long ago, with this password or with another one."""
    long_ago = time.time() - LONG_AGO
    current = password if has_it else "Older-Garden.1"
    return {"username": name, "password": current, "created": long_ago, "modified": long_ago}


def assert_set_is_what_was_set(ran: CommandResult, sim: Simulator) -> None:
    """Check that every `set` row was set by a call of this run, and that other applied rows are in doubt."""
    applied = {call.username for call in sim.calls(SET) if call.applied}
    assert {row["username"] for row in ran.report if row["status"] == "set"} <= applied
    assert applied <= {row["username"] for row in ran.report if row["status"] == "set" or row["in_doubt"] == "true"}


def test_reports_of_lost_answers_are_true(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    rows = [(case.name, f"Quiet-Garden.{number}") for number, case in enumerate(CASES)]
    seed(sim, [], history=3)
    users = [
        user(name, password, has_it=case.first == "refused") for case, (name, password) in zip(CASES, rows, strict=True)
    ]
    sim.configure(users={POOL: users})
    sim.configure(faults={"users": {case.name: [dict(step) for step in case.steps] for case in CASES}})
    write_csv(tmp_path / "in.csv", rows)
    pace = f'[pace]\nrate = "none"\nworkers = 16\nmax_attempts = {ATTEMPTS}\nmax_wait = 0.2'
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', pace, read_timeout=8.0)
    ran = bulkreset("run", job, "--yes")
    found = {row["username"]: row for row in ran.report}
    told = {case.name: (found[case.name]["status"], found[case.name]["code"]) for case in CASES}
    assert told == {case.name: case.expected[:2] for case in CASES}
    wrong = {case.name: found[case.name]["message"] for case in CASES}
    assert {name: text for name, text in wrong.items() if not text.endswith(_end_of(name))} == {}
    assert {row["in_doubt"] for row in ran.report} == {"true"}
    assert ran.code == 1
    assert_they_agree(ran, sim)
    assert_set_is_what_was_set(ran, sim)


def _end_of(name: str) -> str:
    return next(case.expected[2] for case in CASES if case.name == name)


def resumed(bulkreset: Command, run_dir: Path) -> CommandResult:
    with bulkreset.start("resume", run_dir) as process:
        return finish(process, run_dir)


def statuses(run_dir: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(run_dir / "journal.sqlite")) as journal:
        return [status for (status,) in journal.execute("SELECT status FROM rows ORDER BY row")]


def test_row_claimed_by_a_killed_run_is_set_only_if_its_call_was_sent_and_applied(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    """Two threads wait for answers, so two rows are claimed and never sent. Half of the users have the password."""
    names = ("sent.new", "sent.old", "unsent.new", "unsent.old")
    rows = [(name, f"Quiet-Garden.{number}") for number, name in enumerate(names)]
    seed(sim, [], history=3)
    sim.configure(users={POOL: [user(name, password, has_it=name.endswith("old")) for name, password in rows]})
    never = {"hang": 600}
    sim.configure(faults={"users": {"sent.new": [never | {"apply": True}], "sent.old": [never]}})
    write_csv(tmp_path / "in.csv", rows)
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', '[pace]\nrate = "none"\nworkers = 2\nmax_wait = 0.2')
    run_dir = tmp_path / "run"
    with bulkreset.start("run", job, "--yes", "--run-dir", run_dir) as process:
        wait_until(lambda: len(sim.calls(SET)) == 2)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
    assert statuses(run_dir) == ["claimed"] * 4
    assert {call.username for call in sim.calls(SET)} == {"sent.new", "sent.old"}

    sim.configure(faults={"every": {"operation": LISTING, "error": "AccessDeniedException"}})
    ran = resumed(bulkreset, run_dir)
    denied = f"{MAY_BE_SET}, but ListUsers failed (AccessDeniedException)"
    assert ran.code == 1
    assert ran.column("status") == ["in_doubt", "in_doubt", "set", "in_doubt"]
    assert [text.endswith(denied) for text in ran.column("message")] == [True, True, False, True]
    assert_set_is_what_was_set(ran, sim)

    sim.configure(faults={"every": None})
    ran = resumed(bulkreset, run_dir)
    assert ran.code == 1
    assert ran.column("status") == ["set", "in_doubt", "set", "in_doubt"]
    assert ran.column("code") == ["", HISTORY, "", HISTORY]
    assert ran.of("sent.new")["message"] == BY_EVIDENCE
    for name in ("sent.old", "unsent.old"):
        assert ran.of(name)["message"].endswith(EARLIER)
    assert_set_is_what_was_set(ran, sim)
