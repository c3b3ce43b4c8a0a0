"""An approved run sends exactly the reviewed dry run, without a question."""

import hashlib
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bulkreset.cli.main import app
from bulkreset.errors import Refused
from tests.e2e.command import LAX, POOL, SET, Argument, Command, CommandResult, finish, write_csv
from tests.e2e.populated import FAST, LISTS, PASSWORD, resumed
from tests.sim import Simulator
from tests.waiting import wait_until

NAMES = ["ann", "bob", "cat"]


@pytest.fixture
def input_(tmp_path: Path, sim: Simulator) -> Path:
    """Write an input of three users in the pool, and one who is not."""
    sim.add_pool(POOL, NAMES, LAX)
    return write(tmp_path)


def write(folder: Path, *names: str) -> Path:
    return write_csv(folder / "in.csv", [(name, PASSWORD) for name in names or (*NAMES, "nobody")])


@pytest.fixture(scope="module")
def planned(running: Simulator, tmp_path_factory: pytest.TempPathFactory) -> CommandResult:
    """A dry run of that input, made once."""
    folder = tmp_path_factory.mktemp("planned")
    running.reset()
    running.add_pool(POOL, NAMES, LAX)
    bulkreset = Command(folder, running)
    ran = bulkreset(*bulkreset.checked(write(folder)), *FAST, "--dry-run")
    assert ran.summary["counts"] == {"ready": 3, "rejected": 1}
    return ran


@pytest.fixture
def reviewed(planned: CommandResult, input_: Path) -> CommandResult:
    """The reviewed dry run: a copy of its directory for each test."""
    return replace(planned, run_dir=Path(shutil.copytree(planned.run_dir, input_.with_name("reviewed"))))


def approved(bulkreset: Command, input_: Path, by: Path, *args: Argument, **env: str) -> CommandResult:
    """Run what was approved, without a terminal, so that no question is asked."""
    return bulkreset(*bulkreset.checked(input_), *FAST, "--approved", by, *args, env=env)


def assert_refused(ran: CommandResult, sim: Simulator, *words: str) -> None:
    """Check that the run is refused in one sentence that names the change, sends nothing and leaves no files."""
    assert ran.code == 2
    (sentence,) = ran.error_lines
    for word in words:
        assert word in sentence
    assert sim.calls(SET) == []
    assert not ran.run_dir.exists()
    assert [path for path in ran.run_dir.parent.iterdir() if path.name.startswith(f".{ran.run_dir.name}")] == []


def test_approved_run_sends_the_reviewed_rows_without_a_question(
    input_: Path, reviewed: CommandResult, bulkreset: Command, sim: Simulator
) -> None:
    """A refused run changes nothing in the reviewed one, which can still be approved."""
    before = {name: (reviewed.run_dir / name).read_bytes() for name in ("journal.sqlite", "report.csv", "summary.json")}
    assert_refused(approved(bulkreset, input_, reviewed.run_dir, "--permanent"), sim, "permanent")
    assert {name: (reviewed.run_dir / name).read_bytes() for name in before} == before
    ran = approved(bulkreset, input_, reviewed.run_dir)
    assert (ran.code, ran.error_lines) == (1, [])
    assert ran.summary["counts"] == {"set": 3, "rejected": 1}
    assert {call.username for call in sim.calls(SET)} == set(NAMES)
    assert f"{reviewed.run_dir}, planned {reviewed.summary['finished_at']}" in ran.stderr
    by = {
        "run_dir": str(reviewed.run_dir),
        "run_id": reviewed.summary["run_id"],
        "finished_at": reviewed.summary["finished_at"],
        "report_sha256": hashlib.sha256(before["report.csv"]).hexdigest(),
    }
    assert ran.summary["approved"] == by
    assert "approved" not in reviewed.summary


def test_no_more_rows_are_sent_than_in_the_dry_run(input_: Path, bulkreset: Command, sim: Simulator) -> None:
    reviewed = bulkreset(*bulkreset.checked(input_), *FAST, "--dry-run", "--limit", "2").run_dir
    assert_refused(approved(bulkreset, input_, reviewed), sim, "limit was 2 and is not set this time")


def test_approved_limit_bounds_the_whole_run(input_: Path, bulkreset: Command, sim: Simulator) -> None:
    """Every way to resume stays within the limit."""
    reviewed = bulkreset(*bulkreset.checked(input_), *FAST, "--dry-run", "--limit", "2").run_dir
    ran = approved(bulkreset, input_, reviewed, "--limit", "1")
    assert (ran.code, ran.summary["counts"]["set"], ran.summary["approved"]["limit"]) == (5, 1, 2)
    assert "Resume to send the rest." in ran.stderr
    for arguments in ((), ("--limit", "3"), ("--failed",)):
        with bulkreset.start("resume", ran.run_dir, *arguments) as process:
            again = finish(process, ran.run_dir)
        assert (again.code, again.summary["counts"]["set"]) == (5, 2)
        assert "as the approved dry run asks. 1 left. No more rows were approved" in again.stderr
    assert len(sim.calls(SET)) == 2


def test_every_difference_to_the_approved_run_is_named(
    input_: Path, reviewed: CommandResult, bulkreset: Command, sim: Simulator
) -> None:
    write(input_.parent, "ann", "bob", "cat", "dan")
    where = ("--permanent", "--max-rows", "7", "--no-check-users", "--read-timeout", "7")
    ran = approved(bulkreset, input_, reviewed.run_dir, *where, "--limit", "3")
    assert_refused(
        ran,
        sim,
        str(reviewed.run_dir),
        f"the input {input_} has changed",
        "permanent was False and is True",
        "guards.max_rows was not set and is 7",
        "plan.check_users was True and is False",
        "read_timeout was 30.0 and is 7.0",
    )


def test_other_account_is_refused(input_: Path, reviewed: CommandResult, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(accounts={"AKIDOTHER": "999988887777"})
    ran = approved(bulkreset, input_, reviewed.run_dir, AWS_ACCESS_KEY_ID="AKIDOTHER")
    assert_refused(ran, sim, f"the account of {POOL} was 123456789012 and is 999988887777")


def test_user_who_was_deleted_meanwhile_is_named(
    input_: Path, reviewed: CommandResult, bulkreset: Command, sim: Simulator
) -> None:
    sim.add_pool(POOL, ["ann", "cat"], LAX)
    ran = approved(bulkreset, input_, reviewed.run_dir)
    assert_refused(ran, sim, "row 2 was ready and is rejected (user_not_found) now")


def test_listing_that_is_denied_meanwhile_is_refused(
    input_: Path, reviewed: CommandResult, bulkreset: Command, sim: Simulator
) -> None:
    sim.configure(faults={"every": {"operation": LISTS, "error": "AccessDeniedException"}})
    assert_refused(approved(bulkreset, input_, reviewed.run_dir), sim, "were looked up and are not now")


def test_dry_run_is_approved_by_nothing(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["run", "--approved", str(tmp_path), "--dry-run"])
    assert isinstance(refused.exception, Refused)
    assert "--approved runs what a dry run planned, and --dry-run plans only" in str(refused.exception)


@pytest.mark.soak
@pytest.mark.parametrize("deleted", [False, True], ids=["as reviewed", "a user deleted"])
def test_approved_run_that_is_killed_in_its_plan_still_compares(
    tmp_path: Path, bulkreset: Command, sim: Simulator, *, deleted: bool
) -> None:
    crowd: dict[str, Any] = {"count": 20 * 60, "prefix": "user.", "digits": 4, "first": 1}
    sim.add_pool(POOL, policy=LAX, generate=crowd)
    input_ = write(tmp_path, *(f"user.{number:04d}" for number in range(1171, 1201)))  # a user on the last page
    reviewed = bulkreset(*bulkreset.checked(input_), *FAST, "--dry-run")
    pages = sim.stats().count(LISTS)
    sim.configure(faults={"every": {"operation": LISTS, "from_call": 5, "hold": True}})
    run_dir = tmp_path / "run"
    args = (*bulkreset.checked(input_), *FAST, "--approved", reviewed.run_dir, "--run-dir", run_dir)
    with bulkreset.start(*args) as process:
        wait_until(lambda: sim.stats().count(LISTS) >= pages + 5)
        os.kill(process.pid, signal.SIGKILL)
        killed = finish(process, run_dir)
    sim.configure(faults={"every": None})
    if deleted:
        sim.add_pool(POOL, policy=LAX, generate=crowd | {"count": 10 * 60})
    again = resumed(bulkreset, killed)
    if not deleted:
        assert (again.code, again.summary["counts"]) == (0, {"set": 30})
        assert again.summary["approved"]["run_dir"] == str(reviewed.run_dir)
    else:
        assert again.code == 2
        assert "30 rows are not what was approved" in again.stderr
        assert sim.calls(SET) == []


def test_dry_run_stopped_by_a_guard_continues_if_the_guard_allows(
    input_: Path, bulkreset: Command, sim: Simulator
) -> None:
    ran = bulkreset(*bulkreset.checked(input_), *FAST, "--dry-run", "--max-rows", "1")
    assert (ran.code, ran.summary["resumable"]) == (3, True)
    again = resumed(bulkreset, ran, "--max-rows", "100")
    assert (again.code, again.summary["state"]) == (1, "finished")
    assert sim.calls(SET) == []
