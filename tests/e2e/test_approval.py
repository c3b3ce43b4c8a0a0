"""What was reviewed in a dry run is run without a question, and nothing else is."""

import os
import shutil
import signal
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import LAX, POOL, SET, Argument, Command, Ran, finish, write_csv
from tests.e2e.populated import FAST, LISTS, PASSWORD, resumed
from tests.sim import Simulator

OTHER = "us-east-1_Test00002"
NAMES = ["ann", "bob", "cat"]


@pytest.fixture
def input_(tmp_path: Path, sim: Simulator) -> Path:
    """An input of three users whom the pool has, and one whom it has not."""
    for pool in (POOL, OTHER):
        sim.add_pool(pool, NAMES, LAX)
    return write(tmp_path)


def write(folder: Path, *names: str) -> Path:
    return write_csv(folder / "in.csv", [(name, PASSWORD) for name in names or (*NAMES, "nobody")])


@pytest.fixture(scope="module")
def planned(running: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A dry run of that input, made once."""
    folder = tmp_path_factory.mktemp("planned")
    running.add_pool(POOL, NAMES, LAX)
    bulkreset = Command(folder, running)
    ran = bulkreset(*bulkreset.checked(write(folder)), *FAST, "--dry-run")
    assert ran.summary["counts"] == {"ready": 3, "rejected": 1}
    return ran


@pytest.fixture
def reviewed(planned: Ran, input_: Path) -> Ran:
    """The dry run that was looked at: a copy of its directory for each test."""
    return replace(planned, run_dir=Path(shutil.copytree(planned.run_dir, input_.with_name("reviewed"))))


def approved(bulkreset: Command, input_: Path, by: Path, *args: Argument, pool: str = POOL, **env: str) -> Ran:
    """A run of what was approved; nobody is asked, for there is no terminal."""
    return bulkreset(*bulkreset.checked(input_, pool), *FAST, "--approved", by, *args, env=env)


def assert_refused(ran: Ran, sim: Simulator, *words: str) -> None:
    """Refused in one sentence that names what changed; nothing sent, nothing left behind."""
    assert ran.code == 2
    (sentence,) = ran.complaints
    for word in words:
        assert word in sentence
    assert sim.calls(SET) == []
    assert not ran.run_dir.exists()
    assert [path for path in ran.run_dir.parent.iterdir() if path.name.startswith(f".{ran.run_dir.name}")] == []


def test_approved_run_sends_what_was_reviewed_and_asks_nobody(
    input_: Path, reviewed: Ran, bulkreset: Command, sim: Simulator
) -> None:
    ran = approved(bulkreset, input_, reviewed.run_dir)
    assert (ran.code, ran.complaints) == (1, [])
    assert ran.summary["counts"] == {"set": 3, "rejected": 1}
    assert {call.username for call in sim.calls(SET)} == set(NAMES)
    assert f"{reviewed.run_dir}, planned {reviewed.summary['finished_at']}" in ran.stderr
    by = {
        "run_dir": str(reviewed.run_dir),
        "run_id": reviewed.summary["run_id"],
        "finished_at": reviewed.summary["finished_at"],
    }
    assert ran.summary["approved"] == by
    assert "approved" not in reviewed.summary


def test_not_more_rows_are_sent_than_the_dry_run_said(input_: Path, bulkreset: Command, sim: Simulator) -> None:
    reviewed = bulkreset(*bulkreset.checked(input_), *FAST, "--dry-run", "--stop-after", "2").run_dir
    assert_refused(approved(bulkreset, input_, reviewed), sim, "stop_after was 2 and is not set this time")
    assert_refused(approved(bulkreset, input_, reviewed, "--stop-after", "3"), sim, "stop_after was 2 and is 3")
    first = approved(bulkreset, input_, reviewed, "--stop-after", "1")
    assert (first.code, len(sim.calls(SET))) == (5, 1)


def test_input_may_have_been_moved_meanwhile(input_: Path, reviewed: Ran, bulkreset: Command) -> None:
    moved = input_.rename(input_.with_name("moved.csv"))
    ran = approved(bulkreset, moved, reviewed.run_dir)
    assert ran.code == 2, "the job's name is the input's, where it has none"
    assert "name was 'in' and is 'moved'" in ran.stderr
    (input_.parent / "elsewhere").mkdir()
    assert (
        approved(bulkreset, Path(shutil.copy(moved, input_.parent / "elsewhere" / "in.csv")), reviewed.run_dir).code
        == 1
    )


CHANGES: dict[str, tuple[tuple[str, ...], str]] = {
    "permanent": (("--permanent",), "permanent was False and is True"),
    "rate": (("--rate", "7"), "pace.rate was 'none' and is 7.0"),
    "no check": (("--no-check-users",), "plan.check_users was True and is False"),
    "endpoint": (("--endpoint-url", "http://localhost:9"), "endpoint_url"),
    "region": (("--region", "eu-west-1"), "region was 'us-east-1' and is 'eu-west-1'"),
    "emulated": (("--emulate",), "one of the two runs is emulated"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_run_that_is_not_what_was_approved_is_refused(
    what: str, input_: Path, reviewed: Ran, bulkreset: Command, sim: Simulator
) -> None:
    args, word = CHANGES[what]
    assert_refused(approved(bulkreset, input_, reviewed.run_dir, *args), sim, word, str(reviewed.run_dir))


def test_changed_input_is_refused(input_: Path, reviewed: Ran, bulkreset: Command, sim: Simulator) -> None:
    write(input_.parent, "ann", "bob", "cat", "dan")
    assert_refused(approved(bulkreset, input_, reviewed.run_dir), sim, f"the input {input_} has changed")


def test_other_pool_is_refused(input_: Path, reviewed: Ran, bulkreset: Command, sim: Simulator) -> None:
    ran = approved(bulkreset, input_, reviewed.run_dir, pool=OTHER)
    assert_refused(ran, sim, f"user_pool_id was '{POOL}' and is '{OTHER}'")


def test_other_account_is_refused(input_: Path, reviewed: Ran, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(accounts={"AKIDOTHER": "999988887777"})
    ran = approved(bulkreset, input_, reviewed.run_dir, AWS_ACCESS_KEY_ID="AKIDOTHER")
    assert_refused(ran, sim, f"the account of {POOL} was 123456789012 and is 999988887777")


def test_user_who_was_deleted_meanwhile_is_named(
    input_: Path, reviewed: Ran, bulkreset: Command, sim: Simulator
) -> None:
    sim.add_pool(POOL, ["ann", "cat"], LAX)
    ran = approved(bulkreset, input_, reviewed.run_dir)
    assert_refused(ran, sim, "row 2 was ready and is rejected (user_not_found) now")


def test_user_who_was_made_or_disabled_meanwhile_is_named(
    input_: Path, reviewed: Ran, bulkreset: Command, sim: Simulator
) -> None:
    sim.add_pool(POOL, [*NAMES, "nobody"], LAX)
    assert_refused(
        approved(bulkreset, input_, reviewed.run_dir), sim, "row 4 was rejected (user_not_found) and is ready"
    )
    sim.add_pool(POOL, ["ann", "bob", {"username": "cat", "enabled": False}], LAX)
    assert_refused(approved(bulkreset, input_, reviewed.run_dir), sim, "row 3 was ready and is skipped (disabled)")


def test_listing_that_is_denied_meanwhile_is_refused(
    input_: Path, reviewed: Ran, bulkreset: Command, sim: Simulator
) -> None:
    sim.configure(faults={"every": {"operation": LISTS, "error": "AccessDeniedException"}})
    assert_refused(approved(bulkreset, input_, reviewed.run_dir), sim, "were looked up and are not now")


def test_real_run_approves_nothing(input_: Path, bulkreset: Command, sim: Simulator) -> None:
    ran = bulkreset(*bulkreset.checked(input_), *FAST, "--yes", "--max-rows", "0")
    assert sim.calls(SET) == []
    assert_refused(approved(bulkreset, input_, ran.run_dir), sim, "is not a dry run")


def test_unfinished_dry_run_approves_nothing(input_: Path, reviewed: Ran, bulkreset: Command, sim: Simulator) -> None:
    with sqlite3.connect(reviewed.run_dir / "journal.sqlite") as journal:
        journal.execute("""UPDATE meta SET value = '"interrupted"' WHERE key = 'state'""")
        journal.execute("DELETE FROM meta WHERE key = 'rows'")
    assert_refused(approved(bulkreset, input_, reviewed.run_dir), sim, "did not finish", "interrupted")


def test_directory_that_is_no_runs_approves_nothing(
    input_: Path, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    assert_refused(approved(bulkreset, input_, tmp_path / "none"), sim, "is not a run directory")


def test_dry_run_is_approved_by_nothing(input_: Path, reviewed: Ran, bulkreset: Command, sim: Simulator) -> None:
    assert_refused(approved(bulkreset, input_, reviewed.run_dir, "--dry-run"), sim, "--approved", "--dry-run")


def test_refusal_changes_nothing_of_what_was_reviewed(
    input_: Path, reviewed: Ran, bulkreset: Command, sim: Simulator
) -> None:
    before = {name: (reviewed.run_dir / name).read_bytes() for name in ("journal.sqlite", "report.csv", "summary.json")}
    assert_refused(approved(bulkreset, input_, reviewed.run_dir, "--permanent"), sim, "permanent")
    assert {name: (reviewed.run_dir / name).read_bytes() for name in before} == before
    assert approved(bulkreset, input_, reviewed.run_dir).code == 1


@pytest.mark.soak
@pytest.mark.parametrize("deleted", [False, True], ids=["as reviewed", "a user deleted"])
def test_approved_run_that_is_killed_in_its_plan_still_compares(
    tmp_path: Path, bulkreset: Command, sim: Simulator, *, deleted: bool
) -> None:
    crowd: dict[str, Any] = {"count": 20 * 60, "prefix": "user.", "digits": 4, "first": 1}
    sim.add_pool(POOL, policy=LAX, generate=crowd)
    input_ = write(tmp_path, *(f"user.{number:04d}" for number in range(1171, 1201)))  # who is on the last page
    reviewed = bulkreset(*bulkreset.checked(input_), *FAST, "--dry-run")
    pages = sim.stats().count(LISTS)
    sim.configure(latency=0.03)
    run_dir = tmp_path / "run"
    args = (*bulkreset.checked(input_), *FAST, "--approved", reviewed.run_dir, "--run-dir", run_dir)
    with bulkreset.start(*args) as process:
        while sim.stats().count(LISTS) < pages + 5:
            time.sleep(0.01)  # a look at another process
        os.kill(process.pid, signal.SIGKILL)
        killed = finish(process, run_dir)
    sim.configure(latency=0)
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


def test_emulated_run_may_be_approved(input_: Path, bulkreset: Command) -> None:
    plan = bulkreset(*bulkreset.against(input_), "--emulate", "--dry-run")
    ran = bulkreset(*bulkreset.against(input_), "--emulate", "--approved", plan.run_dir, "--no-progress")
    assert (plan.code, ran.code) == (0, 0), ran.stderr


def test_dry_run_that_a_guard_stopped_is_gone_on_with_where_the_guard_allows(
    input_: Path, bulkreset: Command, sim: Simulator
) -> None:
    ran = bulkreset(*bulkreset.checked(input_), *FAST, "--dry-run", "--max-rows", "1")
    assert (ran.code, ran.summary["resumable"]) == (3, True)
    again = resumed(bulkreset, ran, "--max-rows", "100")
    assert (again.code, again.summary["state"]) == (1, "finished")
    assert sim.calls(SET) == []
