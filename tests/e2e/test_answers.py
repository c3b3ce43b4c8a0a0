"""What each answer of the service, and each lost one, makes of its row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.command import POOL, SET, Command, Ran, assert_they_agree, people, seed, write_csv, write_job
from tests.sim import Call, Simulator

REMEMBERS: Final = "us-east-1_History01"
HISTORY: Final = "PasswordHistoryPolicyViolationException"
MAX_ATTEMPTS: Final = 4


@dataclass(frozen=True)
class Case:
    """One user: what goes wrong at its calls, and what its row must become."""

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
    "slow": Case([{"slow": 0.3}], attempts=1, in_doubt=False),
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
    "hang": Case([{"hang": 8}]),
    "hang.applied": Case([{"hang": 8, "apply": True}]),
    "unknown.user": refused("UserNotFoundException"),
    "weak": refused("InvalidPasswordException"),
    "parameter": refused("InvalidParameterException"),
    "not.authorized": refused("NotAuthorizedException"),
    "remembered": refused(HISTORY),
    "unknown.code": refused("NeverHeardOfException"),
    "unknown.code.403": refused("NeverHeardOfException", status=403),
}


@dataclass(frozen=True)
class Troubled:
    """A run in which all of CASES happened, among calm users."""

    ran: Ran
    sim: Simulator
    calls: Sequence[Call]


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Troubled]:
    folder = tmp_path_factory.mktemp("troubled")
    with Simulator(latency=0.02) as sim:
        rows = [(name, f"Quiet-Garden.{n}") for n, name in enumerate(CASES)] + people(10)
        seed(sim, [name for name, _ in rows])
        sim.configure(faults={"users": {name: [dict(step) for step in case.steps] for name, case in CASES.items()}})
        write_csv(folder / "in.csv", rows)
        pace = f"[pace]\nmax_attempts = {MAX_ATTEMPTS}\nmax_wait = 1"
        job = write_job(folder, sim.url, 'path = "in.csv"', pace)
        ran = Command(folder, sim)("run", job, "--yes", "--rate", "none", "--workers", "8")
        yield Troubled(ran, sim, sim.calls(SET))


def test_every_row_ends_as_its_answers_say(troubled: Troubled) -> None:
    columns = ("status", "code", "attempts", "throttled", "in_doubt")
    found = {row["username"]: tuple(row[name] for name in columns) for row in troubled.ran.report}
    assert {name: found[name] for name in CASES} == {name: case.cells() for name, case in CASES.items()}
    assert troubled.ran.code == 1
    assert troubled.ran.summary["state"] == "finished"
    assert_they_agree(troubled.ran, troubled.sim)


def test_failed_rows_say_why_and_calm_ones_are_untouched_by_their_trouble(troubled: Troubled) -> None:
    rows = troubled.ran.report
    assert [row["username"] for row in rows if row["status"] in {"failed", "in_doubt"} and not row["message"]] == []
    calm = rows[len(CASES) :]
    assert {(row["status"], row["attempts"]) for row in calm} == {("set", "1")}


def test_calls_for_one_user_never_overlap(troubled: Troubled) -> None:
    assert troubled.sim.stats().overlapping_calls == 0
    # A hung call ends for its caller at the read timeout: nothing may follow sooner.
    by_user: dict[str, list[Call]] = {}
    for call in troubled.calls:
        by_user.setdefault(call.username, []).append(call)
    for name in ("hang", "hang.applied"):
        first, second = by_user[name]
        assert second.time - first.time >= 0.95


def test_rate_holds_in_every_second(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", people(66)), "--rate", "30")
    assert ran.code == 0
    assert sim.stats().max_per_second[SET] <= 33
    assert_they_agree(ran, sim)


def test_rate_holds_for_retries_too(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    rows = people(20)
    sim.configure(faults={"users": {name: [{"cut": "after"}, {"http": 503}] for name, _ in rows}})
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", rows), "--rate", "30")
    assert ran.code == 0
    assert ran.summary["attempts"] == 60
    assert sim.stats().max_per_second[SET] <= 33
    assert_they_agree(ran, sim)


def test_quota_below_the_rate_costs_retries_but_no_row(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(quota={"rate": 15, "bucket": 2})
    rows = people(30)
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", rows), "--rate", "60")
    assert ran.code == 0
    assert ran.summary["throttled"] > 0
    assert sim.passwords(POOL) == dict(rows)
    assert any(event["event"] == "rate_changed" for event in ran.log)
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


def test_nobody_listening_fails_rows_without_doubt(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    write_csv(tmp_path / "in.csv", people(2))
    job = write_job(tmp_path, "http://127.0.0.1:9", 'path = "in.csv"', "[pace]\nmax_attempts = 2\nmax_wait = 0.2")
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 1
    assert {(row["status"], row["in_doubt"], row["attempts"]) for row in ran.report} == {("failed", "false", "2")}
    assert sim.calls(SET) == []


def test_retries_of_the_aws_configuration_add_no_calls(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(faults={"users": {"user.001": [{"throttle": 2}, {"http": 500}]}})
    ran = bulkreset.reset(
        write_csv(tmp_path / "in.csv", people(1)), env={"AWS_MAX_ATTEMPTS": "5", "AWS_RETRY_MODE": "adaptive"}
    )
    (row,) = ran.report
    assert (row["attempts"], row["throttled"]) == ("4", "2")
    assert_they_agree(ran, sim)
