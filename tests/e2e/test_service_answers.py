"""The result of a row for each answer of the service, and for each lost answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.command import POOL, SET, Command, CommandResult, assert_they_agree, people, seed, write_csv, write_job
from tests.sim import Call, Simulator, Stats

REMEMBERS: Final = "us-east-1_History01"
HISTORY: Final = "PasswordHistoryPolicyViolationException"
MAX_ATTEMPTS: Final = 4


@dataclass(frozen=True)
class Case:
    """One user: the faults of its calls, and the expected result of its row."""

    steps: Sequence[Mapping[str, Any]]
    status: str = "set"
    code: str = ""
    attempts: int = 2
    throttled: int = 0
    in_doubt: bool = True

    def cells(self) -> tuple[str, ...]:
        in_doubt = "true" if self.in_doubt else "false"
        return (self.status, self.code, str(self.attempts), str(self.throttled), in_doubt)


def refused(code: str, status: int = 400) -> Case:
    return Case([{"error": code, "status": status}], "failed", code, attempts=1, in_doubt=False)


def throttled(code: str) -> Case:
    return Case([{"error": code}], throttled=1, in_doubt=False)


CASES: Final[Mapping[str, Case]] = {
    "plain": Case([], attempts=1, in_doubt=False),
    "slow": Case([{"slow": 0.1}], attempts=1, in_doubt=False),
    "throttled.three.times": Case([{"throttle": 3}], attempts=4, throttled=3, in_doubt=False),
    "throttled.to.the.end": Case(
        [{"throttle": 9}], "failed", "TooManyRequestsException", MAX_ATTEMPTS, MAX_ATTEMPTS, in_doubt=False
    ),
    "throttled.ThrottlingException": throttled("ThrottlingException"),
    "throttled.Throttling": throttled("Throttling"),
    "throttled.RequestLimitExceeded": throttled("RequestLimitExceeded"),
    "throttled.LimitExceededException": throttled("LimitExceededException"),
    "internal.error": Case([{"error": "InternalErrorException"}]),
    "internal.error.twice": Case([{"error": "InternalErrorException"}] * 2, attempts=3),
    "service.unavailable": Case([{"error": "ServiceUnavailable"}]),
    "unknown.code.with.500": Case([{"error": "StrangeException", "status": 500}]),
    "bare.500": Case([{"http": 500}]),
    "bare.502": Case([{"http": 502}]),
    "bare.503.applied": Case([{"http": 503, "apply": True}]),
    "bare.504": Case([{"http": 504}]),
    "html.502": Case([{"garbage": True, "status": 502}]),
    "cut.before": Case([{"cut": "before"}]),
    "cut.after": Case([{"cut": "after"}]),
    "cut.then.throttled": Case([{"cut": "before"}, {"throttle": 1}], attempts=3, throttled=1),
    "cut.then.unknown.user": Case(
        [{"cut": "before"}, {"error": "UserNotFoundException"}], "failed", "UserNotFoundException"
    ),
    "cut.to.the.end": Case([{"cut": "before"}] * 9, "in_doubt", "ConnectionClosedError", MAX_ATTEMPTS),
    "garbage.page": Case([{"garbage": True}]),
    "garbage.applied": Case([{"garbage": True, "apply": True}]),
    "garbage.binary": Case([{"garbage": "binary"}]),
    "garbage.array": Case([{"garbage": "array"}]),
    "garbage.truncated": Case([{"garbage": "truncated"}]),
    "unknown.user": refused("UserNotFoundException"),
    "weak": refused("InvalidPasswordException"),
    "parameter": refused("InvalidParameterException"),
    "not.authorized": refused("NotAuthorizedException"),
    "remembered": refused(HISTORY),
    "unknown.code": refused("NeverHeardOfException"),
    "unknown.code.403": refused("NeverHeardOfException", status=403),
}


@dataclass(frozen=True)
class SavedCalls:
    """Calls saved from a simulator that was reset since."""

    arrived: Sequence[Call]
    stats: Stats

    def calls(self, operation: str | None = None) -> Sequence[Call]:
        return [call for call in self.arrived if operation in {None, call.operation}]


@dataclass(frozen=True)
class FaultyRun:
    """A run in which all of CASES happen, among users without faults."""

    ran: CommandResult
    saved: SavedCalls


@pytest.fixture(scope="module")
def faulty_run(tmp_path_factory: pytest.TempPathFactory, running: Simulator) -> FaultyRun:
    folder = tmp_path_factory.mktemp("troubled")
    running.reset()
    rows = [(name, f"Quiet-Garden.{n}") for n, name in enumerate(CASES)] + people(10)
    seed(running, [name for name, _ in rows])
    faults = {"users": {name: [dict(step) for step in case.steps] for name, case in CASES.items()}}
    running.configure(latency=0.02, faults=faults)
    write_csv(folder / "in.csv", rows)
    pace = f"[pace]\nmax_attempts = {MAX_ATTEMPTS}\nmax_wait = 0.2"
    job = write_job(folder, running.url, 'path = "in.csv"', pace)
    ran = Command(folder, running)("run", job, "--yes", "--rate", "none", "--workers", "8")
    return FaultyRun(ran, SavedCalls(running.calls(), running.stats()))


def test_every_row_ends_as_its_answers_say(faulty_run: FaultyRun) -> None:
    columns = ("status", "code", "attempts", "throttled", "in_doubt")
    found = {row["username"]: tuple(row[name] for name in columns) for row in faulty_run.ran.report}
    assert {name: found[name] for name in CASES} == {name: case.cells() for name, case in CASES.items()}
    assert faulty_run.ran.code == 1
    assert faulty_run.ran.summary["state"] == "finished"
    assert_they_agree(faulty_run.ran, faulty_run.saved)


def test_failed_rows_say_why_and_calm_ones_are_untouched_by_their_trouble(faulty_run: FaultyRun) -> None:
    rows = faulty_run.ran.report
    assert [row["username"] for row in rows if row["status"] in {"failed", "in_doubt"} and not row["message"]] == []
    calm = rows[len(CASES) :]
    assert {(row["status"], row["attempts"]) for row in calm} == {("set", "1")}


def test_calls_for_one_user_never_overlap(faulty_run: FaultyRun) -> None:
    assert len(faulty_run.saved.calls(SET)) > len(CASES)
    assert faulty_run.saved.stats.overlapping_calls == 0


def test_missing_answer_is_waited_for_until_the_jobs_time_out_at_most(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    never = {"hang": 600}
    sim.configure(faults={"users": {"user.001": [never], "user.002": [never | {"apply": True}]}})
    write_csv(tmp_path / "in.csv", people(2))
    # On a busy machine other answers come too late as well, and their calls are repeated.
    pace = '[pace]\nrate = "none"\nmax_attempts = 100\nmax_wait = 0.2'
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', pace, read_timeout=0.7)
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 0
    assert {(row["status"], row["in_doubt"]) for row in ran.report} == {("set", "true")}
    assert [call.answer for call in sim.calls(SET)].count("hang") == 2
    assert sim.passwords(POOL) == dict(people(2))
    assert_they_agree(ran, sim)


def test_rate_holds_for_retries_too(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    rows = people(10)
    sim.configure(faults={"users": {name: [{"cut": "after"}, {"http": 503}] for name, _ in rows}})
    job = write_job(tmp_path, sim.url, f'path = "{write_csv(tmp_path / "in.csv", rows)}"', "[pace]\nmax_wait = 0.1")
    ran = bulkreset("run", job, "--yes", "--rate", "30")
    assert ran.code == 0
    assert ran.summary["attempts"] == 30
    # In w seconds at most 30 w + 1 calls leave, so this many calls take at least this long on any machine.
    assert ran.summary["sending_seconds"] >= (30 - 1) / 30
    assert ran.summary["lanes"][0]["ceiling"] == 30
    assert_they_agree(ran, sim)


def test_quota_below_the_rate_costs_retries_but_no_row(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    rows = people(12)
    # The first calls for these users are refused, as a quota would, but independent of the machine's speed.
    sim.configure(faults={"users": {name: [{"throttle": 1}] for name, _ in rows[:4]}})
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", rows), "--rate", "200")
    assert ran.code == 0
    assert ran.summary["throttled"] == 4
    assert sim.passwords(POOL) == dict(rows)
    cut = [event["rate"] for event in ran.log if event["event"] == "rate_changed" and event["reason"] == "throttled"]
    assert cut
    assert max(cut) < 200
    assert_they_agree(ran, sim)


def test_history_refusal_after_a_lost_answer_means_that_the_row_is_set(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    old = {"username": "plain", "password": "Quiet-Garden.1"}
    seed(sim, [], history=3)
    sim.configure(users={POOL: [old, "lost"]})
    sim.configure(faults={"users": {"lost": [{"cut": "after"}]}})
    input_ = write_csv(tmp_path / "in.csv", [("plain", "Quiet-Garden.1"), ("lost", "Quiet-Garden.2")])
    ran = bulkreset.reset(input_)
    plain, lost = ran.report
    assert (plain["status"], plain["code"], plain["in_doubt"]) == ("failed", HISTORY, "false")
    assert (lost["status"], lost["attempts"], lost["in_doubt"]) == ("set", "2", "true")
    assert "earlier call" in lost["message"]
    assert sim.calls(SET)[-1].answer == HISTORY
    assert ran.code == 1


def test_missing_worker_stops_the_run_before_any_row(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    write_csv(tmp_path / "in.csv", people(2))
    job = write_job(tmp_path, "http://127.0.0.1:9", 'path = "in.csv"', "[pace]\nmax_attempts = 2\nmax_wait = 0.2")
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 3
    assert "Cannot connect to http://127.0.0.1:9." in ran.error_lines[0]
    assert ran.summary["counts"] == {}  # no row has failed: all can be sent later
    assert ran.summary["resumable"] is True
    assert sim.calls(SET) == []


def test_retries_of_the_aws_configuration_add_no_calls(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(faults={"users": {"user.001": [{"throttle": 2}, {"http": 500}]}})
    ran = bulkreset.reset(
        write_csv(tmp_path / "in.csv", people(1)), env={"AWS_MAX_ATTEMPTS": "5", "AWS_RETRY_MODE": "adaptive"}
    )
    (row,) = ran.report
    assert (row["attempts"], row["throttled"]) == ("4", "2")
    assert_they_agree(ran, sim)
