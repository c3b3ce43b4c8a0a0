"""Verification: the current state of each user that a run has set, with ListUsers only."""

import csv
import json
import shutil
import signal
import sqlite3
import stat
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyrage
import pytest

from tests.e2e.command import LAX, POOL, REGION, SET, Argument, Command, CommandResult, finish, write_csv, write_job
from tests.e2e.live import rows_set
from tests.sim import Simulator
from tests.waiting import wait_until

OTHER = "us-east-1_Other00002"
DAY = 86_400  # seconds
COLUMNS = ["row", "user_pool_id", "username", "state", "user_status", "set_at", "modified_at", "expires_at"]
HEADER = ("username", "password", "permanent")
ASKED = {"DescribeUserPool", "ListUsers", "GetCallerIdentity"}

# Users that are set: permanent or not, how many days ago, and the pool's state of the user afterwards.
PEOPLE: Mapping[str, tuple[bool, float, Mapping[str, Any] | None]] = {
    "=waits": (False, 0, {"status": "FORCE_CHANGE_PASSWORD"}),
    "hurry": (False, 2.5, {"status": "FORCE_CHANGE_PASSWORD"}),
    'la"te': (False, 3.5, {"status": "FORCE_CHANGE_PASSWORD"}),
    "chose": (False, 0, {"status": "CONFIRMED"}),
    "reset": (False, 0, {"status": "RESET_REQUIRED"}),
    "left": (False, 0, None),
    "same": (True, 0, {"status": "CONFIRMED"}),
    "later": (True, 1, {"status": "CONFIRMED"}),
    "never": (True, 0, {"status": "CONFIRMED", "modified": 1_000_000_000}),
    "other": (True, 0, {"status": "FORCE_CHANGE_PASSWORD"}),
    "away": (True, 0, None),
}
STATES = {
    "=waits": "waiting",
    "hurry": "expiring",
    'la"te': "expired",
    "chose": "changed",
    "reset": "differs",
    "left": "gone",
    "same": "agrees",
    "later": "changed",
    "never": "untouched",
    "other": "differs",
    "away": "gone",
}


def verify(
    bulkreset: Command, run_dir: Path, *args: Argument, env: Mapping[str, str | None] | None = None
) -> CommandResult:
    with bulkreset.start("verify", run_dir, *args, env=env) as process:
        return finish(process, run_dir)


def backdate(run_dir: Path, row: int, days: float) -> None:
    """Change a row as if it had been set some days ago."""
    with closing(sqlite3.connect(run_dir / "journal.sqlite")) as db, db:
        back = round(days * DAY * 1000)
        db.execute(
            "UPDATE rows SET started_at = started_at - ?, finished_at = finished_at - ? WHERE row = ?",
            (back, back, row),
        )


def people_now(sim: Simulator, users: Sequence[str | Mapping[str, Any]], days: int = 3, pool: str = POOL) -> None:
    """Replace the pool's users."""
    sim.add_pool(pool, users, LAX | {"TemporaryPasswordValidityDays": days})


@pytest.fixture(scope="module")
def ended(running: Simulator, tmp_path_factory: pytest.TempPathFactory) -> CommandResult:
    """A run that has set all users, some of them days ago. Each test works on a copy of its directory."""
    home = tmp_path_factory.mktemp("ended")
    running.reset()
    running.add_pool(POOL, policy=LAX, auto_users=True)
    rows = [(name, f"Quiet-Garden.{name}", str(it[0]).lower()) for name, it in PEOPLE.items()]
    made = Command(home, running).reset(write_csv(home / "in.csv", rows, HEADER))
    assert made.code == 0
    for row, (_, days, _) in enumerate(PEOPLE.values(), 1):
        backdate(made.run_dir, row, days)
    return made


@pytest.fixture
def ran(ended: CommandResult, tmp_path: Path, sim: Simulator) -> CommandResult:
    """That run, in a pool that has changed a lot since."""
    run_dir = shutil.copytree(ended.run_dir, tmp_path / "ran")
    people_now(sim, [{"username": name, **now} for name, (_, _, now) in PEOPLE.items() if now is not None])
    return CommandResult(ended.code, ended.stdout, ended.stderr, run_dir)


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def partials(folder: Path) -> list[Path]:
    return list(folder.rglob("*.partial")) + list(folder.glob("bulkreset-*"))


def test_every_set_row_is_reported_with_its_next_step(bulkreset: Command, sim: Simulator, ran: CommandResult) -> None:
    before = len(sim.calls())
    told = verify(bulkreset, ran.run_dir)
    assert told.code == 1, told.stderr
    assert {call.operation for call in sim.calls(since=before)} <= ASKED
    assert told.stdout.splitlines() == [
        "Verified: 11 rows: 1 waiting, 1 expiring, 1 expired, 2 changed, 1 agree, 1 untouched, 2 differ, 2 gone.",
        "1 temporary password not used yet (still valid). Verify again later.",
        "2 temporary passwords expired or expiring soon. --reissue FILE writes an input file with these users.",
        f"5 users have changed since the run in an unexpected way; see {ran.run_dir / 'verify.csv'}.",
        f"Report: {ran.run_dir / 'verify.csv'}",
    ]
    report = ran.run_dir / "verify.csv"
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    found = lines(report)
    assert list(found[0]) == COLUMNS
    assert [line["row"] for line in found] == [str(number) for number in range(1, 12)]
    assert {line["username"].lstrip("'"): line["state"] for line in found} == STATES
    assert found[0]["username"] == "'=waits"
    by_name = {line["username"]: line for line in found}
    assert by_name["left"]["user_status"] == by_name["left"]["modified_at"] == ""
    assert by_name["never"]["modified_at"] == "2001-09-09T01:46:40.000Z"
    assert by_name["same"]["expires_at"] == ""
    assert by_name["same"]["set_at"] == ran.of("same")["finished_at"]
    assert by_name["chose"]["expires_at"] > by_name["chose"]["set_at"]
    assert partials(bulkreset.home) == []


@pytest.mark.fresh
def test_as_json_it_says_the_same_and_how_soon_is_the_callers_choice(bulkreset: Command, ran: CommandResult) -> None:
    told = verify(bulkreset, ran.run_dir, "--json", "--within", "0.4", "-o", "new.csv")
    assert told.code == 1
    shown = json.loads(told.stdout)
    assert list(shown) == ["run_id", "checked_at", "counts", "rows_left", "rows"]
    assert shown["run_id"] == ran.summary["run_id"]
    assert shown["rows_left"] == 8
    assert sum(shown["counts"].values()) == len(shown["rows"]) == 11
    assert {row["username"]: row["state"] for row in shown["rows"]} == STATES | {"hurry": "waiting"}
    assert not (ran.run_dir / "verify.csv").exists()
    assert stat.S_IMODE((bulkreset.home / "new.csv").stat().st_mode) == 0o600
    for row, line in zip(shown["rows"], lines(bulkreset.home / "new.csv"), strict=True):
        assert list(row) == COLUMNS
        row["username"] = row["username"].replace("=waits", "'=waits")
        assert {key: "" if value is None else str(value) for key, value in row.items()} == line


def test_users_with_expiring_passwords_are_the_input_of_a_new_run(
    tmp_path: Path, bulkreset: Command, sim: Simulator, ran: CommandResult
) -> None:
    told = verify(bulkreset, ran.run_dir, "--reissue", "again.csv")
    assert told.code == 1
    assert "Reissue: again.csv, with 2 users" in told.stdout
    path = tmp_path / "again.csv"
    assert path.read_text(encoding="utf-8") == 'username\nhurry\n"la""te"\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = pyrage.x25519.Identity.generate().to_public()
    job = write_job(
        tmp_path,
        sim.url,
        'path = "again.csv"',
        f'[password]\nsource = "generate"\nrecipients = ["{key}"]',
        plan="check_users = true",
    )
    dry = bulkreset("run", job, "--dry-run")
    assert dry.code == 0, dry.stderr
    assert dry.column("status") == ["ready", "ready"]
    assert dry.column("username") == ["hurry", 'la"te']


def test_pools_are_distinguished_in_the_new_input(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    people_now(sim, ["ann", "bob"])
    people_now(sim, ["ann"], pool=OTHER)
    rows = [("ann", "Quiet-Garden.1", POOL), ("bob", "Quiet-Garden.2", POOL), ("ann", "Quiet-Garden.3", OTHER)]
    write_csv(tmp_path / "in.csv", rows, ("username", "password", "user_pool_id"))
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', pools=(POOL, OTHER), plan="check_users = true")
    ended = bulkreset("run", job, "--yes")
    assert ended.code == 0, ended.stderr
    for row in (1, 3):
        backdate(ended.run_dir, row, 4)
    assert verify(bulkreset, ended.run_dir, "--reissue", "again.csv").code == 1
    assert lines(tmp_path / "again.csv") == [
        {"username": "ann", "user_pool_id": POOL},
        {"username": "ann", "user_pool_id": OTHER},
    ]


def test_when_everybody_is_done_so_is_this(bulkreset: Command, sim: Simulator, ran: CommandResult) -> None:
    people_now(sim, [{"username": name, "status": "CONFIRMED"} for name in PEOPLE])
    told = verify(bulkreset, ran.run_dir)
    assert told.code == 0
    assert told.stdout.splitlines()[:2] == ["Verified: 11 rows: 7 changed, 4 agree.", "No action needed."]
    assert verify(bulkreset, ran.run_dir).code == 0, "verify.csv is drawn again"


def test_live_run_can_be_inspected(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    # More rows than are claimed at a time: some cannot have been sent when the signal comes.
    rows = [(f"user.{number}", f"Quiet-Garden.{number}", "true") for number in range(60)]
    source = write_csv(tmp_path / "in.csv", rows, HEADER)
    run_dir = tmp_path / "live"
    sim.configure(faults={"every": {"hold": True, "operation": SET, "from_call": 6}})
    paced = ("--rate", "20", "--workers", "1", "--read-timeout", "90")
    with bulkreset.start(*bulkreset.against(source), "--yes", *paced, "--run-dir", run_dir) as process:
        wait_until(lambda: len(sim.calls(SET)) == 6 and rows_set(run_dir) == 5)
        told = verify(bulkreset, run_dir)
        process.send_signal(signal.SIGINT)
        sim.configure(faults={"every": None})
        assert finish(process, run_dir).code == 130
    assert told.code == 0, told.stderr
    assert "The run is still running" in told.stdout
    assert [line["state"] for line in lines(run_dir / "verify.csv")] == ["agrees"] * 5


def test_ctrl_c_leaves_nothing_behind(bulkreset: Command, sim: Simulator, ran: CommandResult) -> None:
    sim.configure(faults={"every": {"hold": True, "operation": "ListUsers"}})
    with bulkreset.start("verify", ran.run_dir, "--reissue", "again.csv", "--json") as process:
        wait_until(lambda: sim.calls("ListUsers"))
        process.send_signal(signal.SIGINT)
        sim.configure(faults={"every": None})
        told = finish(process, ran.run_dir)
    assert told.code == 130
    assert told.stdout == ""
    assert told.error_lines == ["bulkreset: Interrupted by SIGINT. Nothing was written."]
    assert not (ran.run_dir / "verify.csv").exists()
    assert not (bulkreset.home / "again.csv").exists()
    assert partials(bulkreset.home) == []


def test_denied_look_up_names_the_permission(bulkreset: Command, sim: Simulator, ran: CommandResult) -> None:
    sim.configure(faults={"every": {"error": "AccessDeniedException", "operation": "ListUsers"}})
    told = verify(bulkreset, ran.run_dir)
    assert told.code == 2
    (sentence,) = told.error_lines
    assert f"Allow cognito-idp:ListUsers on arn:aws:cognito-idp:{REGION}:*:userpool/{POOL}" in sentence
    assert partials(bulkreset.home) == []


def test_interrupted_listing_is_not_an_answer(bulkreset: Command, sim: Simulator, ran: CommandResult) -> None:
    sim.configure(faults={"every": {"error": "ResourceNotFoundException", "operation": "ListUsers"}})
    told = verify(bulkreset, ran.run_dir)
    assert told.code == 2
    assert told.stdout == ""
    (sentence,) = told.error_lines
    assert POOL in sentence
    assert "resume" not in sentence
    assert not (ran.run_dir / "verify.csv").exists()


def test_impossible_request_is_refused_before_any_question(
    bulkreset: Command, sim: Simulator, ran: CommandResult
) -> None:
    before = len(sim.calls())
    (bulkreset.home / "in.csv").write_text("kept")
    told = verify(bulkreset, ran.run_dir, "--reissue", "in.csv")
    assert told.code == 2
    assert "in.csv already exists" in told.error_lines[0]
    assert len(sim.calls()) == before


def test_another_endpoint_or_account_is_another_pool(bulkreset: Command, sim: Simulator, ran: CommandResult) -> None:
    with closing(sqlite3.connect(ran.run_dir / "journal.sqlite")) as db, db:
        db.execute("UPDATE meta SET value = replace(value, '127.0.0.1', 'localhost') WHERE key = 'job'")
    told = verify(bulkreset, ran.run_dir)
    assert told.code == 2
    assert "The endpoint of" in told.error_lines[0]
    with closing(sqlite3.connect(ran.run_dir / "journal.sqlite")) as db, db:
        db.execute("UPDATE meta SET value = replace(value, 'localhost', '127.0.0.1') WHERE key = 'job'")
    sim.configure(accounts={"AKIDOTHER": "999988887777"}, secret_keys={"AKIDOTHER": "simulated"})
    told = verify(bulkreset, ran.run_dir, env={"AWS_ACCESS_KEY_ID": "AKIDOTHER"})
    assert told.code == 2
    assert "these credentials are of 999988887777" in told.error_lines[0]
