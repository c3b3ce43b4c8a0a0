"""The pool as the input: selected users are listed, checked and set, and no other call is made."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import (
    LAX,
    POOL,
    REGION,
    SET,
    Command,
    CommandResult,
    assert_they_agree,
    finish,
    write_csv,
    write_job,
)
from tests.e2e.program import Program
from tests.sim import Simulator
from tests.waiting import wait_until

OTHER = "us-east-1_Test00002"
LIST = "ListUsers"
SCRAMBLE = 'permanent = true\npassword = { source = "generate" }\nafter = { sign_out = false }\ncampaign = { accept_lockout = true }\n'
OLD, NEW = 1_600_000_000, 1_760_000_000  # in 2020 and 2025
PEOPLE: list[str | dict[str, Any]] = [
    {"username": "zoe", "created": OLD, "attributes": {"email": "z@x.example", "email_verified": "true"}},
    {"username": "ann", "created": NEW},
    {"username": "bob", "created": OLD, "status": "RESET_REQUIRED"},
    {"username": "fed", "created": OLD, "status": "EXTERNAL_PROVIDER"},
    {"username": "out", "created": OLD, "enabled": False},
    {"username": "new", "created": NEW, "status": "UNCONFIRMED"},
]


def campaign(folder: Path, sim: Simulator, select: str = "", more: str = "", pools: Sequence[str] = (POOL,)) -> Path:
    """Write a job whose rows are the pools' users."""
    path = write_job(folder, sim.url, f"from_pool = true\n{select}", f'[pace]\nrate = "none"\n{more}', pools, "")
    path.write_text(SCRAMBLE + path.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def resume(bulkreset: Command, run_dir: Path) -> CommandResult:
    with bulkreset.start("resume", run_dir) as process:
        return finish(process, run_dir)


def set_users(sim: Simulator, pool: str = POOL) -> set[str]:
    return {name for name, password in sim.passwords(pool).items() if password}


def test_users_of_the_pool_are_listed_once_checked_and_set(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool(POOL, PEOPLE, LAX)
    ran = bulkreset("run", campaign(tmp_path, sim), "--yes")
    assert (ran.code, ran.error_lines) == (0, [])
    told = [(row["username"], row["status"], row["code"], row["status_before"]) for row in ran.report]
    assert told == [
        ("ann", "set", "", "CONFIRMED"),
        ("bob", "set", "", "RESET_REQUIRED"),
        ("fed", "skipped", "federated", "EXTERNAL_PROVIDER"),
        ("new", "set", "", "UNCONFIRMED"),
        ("out", "skipped", "disabled", "CONFIRMED"),
        ("zoe", "set", "", "CONFIRMED"),
    ]
    assert len(sim.calls(LIST)) == 1, "the check takes what the list has told"
    assert set_users(sim) == {"ann", "bob", "new", "zoe"}
    assert len(set(sim.passwords(POOL).values()) - {None}) == 4
    assert ran.summary["input"] == {"path": "", "size": 0, "sha256": "", "files": 0, "remarks": []}
    assert "Input       the users of the pool: ALL of them" in ran.stderr
    assert "3 users cannot recover without an administrator" in ran.stderr
    assert {path.name for path in ran.run_dir.iterdir()} == {
        "journal.sqlite",
        "report.csv",
        "journal.mark",
        "summary.json",
        "log.jsonl",
    }
    assert_they_agree(ran, sim)


def test_selection_says_whose_rows_there_are(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    """Each way to select is tested in tests/plan/test_pool_users.py."""
    sim.add_pool(POOL, PEOPLE, LAX, groups={"staff": ["ann", "bob"], "board": ["zoe", "bob"]}, case_sensitive=False)
    write_csv(tmp_path / "done.csv", [("ZOE",)], ("username",))
    select = 'select = { groups = ["staff", "board"], created_before = 2024-01-01, not_in = "done.csv" }'
    ran = bulkreset("run", campaign(tmp_path, sim, select), "--dry-run")
    assert (ran.code, ran.error_lines) == (0, [])
    assert ran.column("username") == ["bob"]


def test_pools_are_listed_side_by_side_and_page_by_page(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool(POOL, (), LAX, generate={"count": 150, "digits": 4})
    sim.add_pool(OTHER, ["ann"], LAX)
    ran = bulkreset("run", campaign(tmp_path, sim, pools=(OTHER, POOL)), "--yes")
    assert (ran.code, ran.error_lines) == (0, [])
    assert ran.column("user_pool_id") == [OTHER] + [POOL] * 150
    assert ran.column("username")[1:] == [f"user{number:04d}" for number in range(150)]
    assert len(sim.calls(LIST)) == 3 + 1
    assert set(ran.column("status")) == {"set"}
    assert_they_agree(ran, sim)


def test_report_of_an_earlier_run_leaves_its_users_out(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool(POOL, [f"+45{number}" for number in range(10)], LAX)
    first = bulkreset("run", campaign(tmp_path, sim, more="[guards]\nlimit = 4"), "--yes")
    assert first.code == 5
    earlier = tmp_path / "earlier.csv"
    lines = (first.run_dir / "report.csv").read_text(encoding="utf-8").splitlines()
    earlier.write_text("\n".join([lines[0], *(line for line in lines if ",set," in line)]) + "\n", encoding="utf-8")
    ran = bulkreset("run", campaign(tmp_path, sim, 'select.not_in = "earlier.csv"'), "--yes")
    assert ran.code == 0
    assert len(ran.report) == 6
    calls = [call.username for call in sim.calls(SET)]
    assert len(calls) == len(set(calls)) == 10


def test_run_is_resumed_without_an_input(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool(POOL, (), LAX, generate={"count": 30})
    ran = bulkreset("run", campaign(tmp_path, sim, more="[guards]\nlimit = 12"), "--yes")
    assert (ran.code, ran.summary["counts"]) == (5, {"set": 12, "unprocessed": 18})
    ran = resume(bulkreset, ran.run_dir)
    assert ran.summary["counts"] == {"set": 24, "unprocessed": 6}
    assert len(sim.calls(LIST)) == 1
    assert_they_agree(ran, sim)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_run_that_ended_while_it_listed_continues_the_list(
    tmp_path: Path, number: signal.Signals, bulkreset: Command, sim: Simulator
) -> None:
    sim.add_pool(POOL, (), LAX, generate={"count": 200})
    sim.configure(faults={"every": {"hold": True, "operation": LIST, "from_call": 3}})
    argv, run_dir = bulkreset.with_run_dir(["run", campaign(tmp_path, sim), "--yes"])
    with bulkreset.start(*argv) as process:
        wait_until(lambda: len(sim.calls(LIST)) >= 3)
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()  # calls that are still held have no receiver
        sim.configure(faults={"every": None})
        ran = finish(process, run_dir)
    assert ran.code == (130 if number == signal.SIGINT else -9)
    assert (run_dir / "users.sqlite").exists()
    assert sim.calls(SET) == []
    listed = len(sim.calls(LIST))
    ran = resume(bulkreset, run_dir)
    assert (ran.code, ran.summary["counts"]) == (0, {"set": 200})
    # Two of four pages were stored; the third too, if its answer came before the signal was handled.
    assert len(sim.calls(LIST)) - listed in ({1, 2} if number == signal.SIGINT else {2})
    assert not (run_dir / "users.sqlite").exists()
    assert_they_agree(ran, sim)


def test_approved_run_sends_only_to_the_approved_users(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool(POOL, ["ann", "bob"], LAX)
    job = campaign(tmp_path, sim, "select.created_before = 2200-01-01T00:00:00+02:00")
    reviewed = bulkreset("run", job, "--dry-run")
    assert reviewed.code == 0
    sim.configure(users={POOL: ["zoe"]})  # sorts last, so only her row is new
    ran = bulkreset("run", job, "--approved", reviewed.run_dir)
    assert ran.code == 2
    assert "There are 3 rows now, and 2 were approved" in ran.error_lines[0]
    sim.add_pool(POOL, ["ann", "cat"], LAX)
    ran = bulkreset("run", job, "--approved", reviewed.run_dir)
    assert ran.code == 2
    assert "row 2 belongs to another user now" in ran.error_lines[0]
    assert sim.calls(SET) == []
    sim.add_pool(POOL, ["bob", "ann"], LAX)
    ran = bulkreset("run", job, "--approved", reviewed.run_dir)
    assert (ran.code, ran.error_lines) == (0, [])
    assert set_users(sim) == {"ann", "bob"}


def test_pool_that_may_not_be_listed_is_refused(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(faults={"every": {"error": "AccessDeniedException", "operation": LIST}})
    ran = bulkreset("run", campaign(tmp_path, sim), "--yes")
    assert ran.code == 2
    assert f"The users of {POOL} could not be listed: AccessDeniedException." in ran.error_lines[0]
    assert not ran.run_dir.exists()


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ('select.groups = ["staff"]', f"The group 'staff' of {POOL} could not be listed: ResourceNotFoundException."),
        ('select.statuses = ["COMPROMISED"]', "[input.select] selects no user of the pools."),
        ('select.not_in = "none.csv"', "input.select.not_in: There is no input file"),
        ('path = "users.csv"', "input has a path, and from_pool"),
    ],
)
def test_empty_selection_is_refused(tmp_path: Path, select: str, said: str, program: Program, sim: Simulator) -> None:
    sim.add_pool(POOL, PEOPLE, LAX)
    ran = program.apply(campaign(tmp_path, sim, select))
    assert ran.code == 2
    assert said in ran.error_lines[0]
    assert not ran.run_dir.exists()
    assert sim.calls(SET) == []


def test_emulator_has_no_users_to_list(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    ran = bulkreset("run", campaign(tmp_path, sim), "--emulate")
    assert ran.code == 2
    assert "none to list" in ran.error_lines[0]


def test_users_that_are_not_looked_up_are_set_as_they_are_listed(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    sim.add_pool(POOL, PEOPLE[:3], LAX)
    ran = bulkreset("run", campaign(tmp_path, sim), "--yes", "--no-check-users")
    assert ran.code == 0
    assert set(ran.column("status_before")) == {""}
    assert set_users(sim) == {"ann", "bob", "zoe"}
    assert REGION in ran.stderr
