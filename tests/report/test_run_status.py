"""The status of a run directory: during a run, after it, and after a crash."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bulkreset.cli.prompts import describe_status
from bulkreset.errors import RecordError, RunDirError, StoppedBy
from bulkreset.journal import schema
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import LaneFacts, UndoFacts
from bulkreset.models import Outcome, Status
from bulkreset.report.run_status import RunStatus, list_runs, read_status
from bulkreset.run.abandon import abandon
from tests.journal.journals import BEGUN, ENDED, POOL, commit, done, run_state
from tests.targets import EU, job

APPLYING = """
import sys
from pathlib import Path
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.models import Outcome, Status
from tests.journal.journals import commit
home = RunDir.open(Path(sys.argv[1]))
home.lock()
journal = Journal.open(home.journal)
journal.write.change(phase="applying", rows=6)
journal.write.begin_sending()
commit(journal, [1, 2, 3], [])
commit(journal, [4], [Outcome(1, Status.SET, attempts=2, throttled=1, finished_at=1000)])
commit(journal, [], [Outcome(2, Status.FAILED, "UserNotFoundException", "x", 1, finished_at=2000)])
print("applying", flush=True)
sys.stdin.read()
"""


def made(path: Path, *names: str, **facts: Any) -> Path:  # noqa: ANN401  (of the run state)
    """Make a run directory of ready rows that no process holds."""
    home = RunDir.create(path, lambda journal: Journal.create(journal, [POOL], run_state(**facts)).close())
    journal = Journal.open(home.journal)
    journal.write.add_rows([(number, POOL, name, True, "ready", "", "") for number, name in enumerate(names, 1)])
    journal.close()
    home.release()
    return path


def record(path: Path, *outcomes: Outcome, claims: int = 0, **facts: Any) -> None:  # noqa: ANN401  (as above)
    """Claim the first rows of a run, finish some, and record facts."""
    journal = Journal.open(path / "journal.sqlite")
    commit(journal, range(1, claims + 1), [])
    commit(journal, [], outcomes)
    journal.write.change(**dict(run_state(**facts)))
    journal.close()


@contextmanager
def applying(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is sending."""
    with subprocess.Popen(
        [sys.executable, "-c", APPLYING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"applying\n"
        yield process


def test_all_rows_of_a_planned_run_remain(tmp_path: Path) -> None:
    path = made(tmp_path / "one", "ann", "bob", rows=2)
    home = RunDir.open(path)
    home.lock()
    assert read_status(path) == RunStatus(
        run_dir=str(path),
        job="nightly",
        mode="run",
        state="planned",
        alive=True,
        started_at="2024-01-31T00:00:00.000Z",
        rows=2,
        counts={"ready": 2},
        codes={},
        attempts=0,
        throttled=0,
        rows_left=2,
        rate=0.0,
        seconds_left=None,
        resumable=False,
    )
    home.release()


@pytest.mark.parametrize("state", ["stopped", "interrupted", "time_limit"])
def test_run_that_was_stopped_can_be_resumed(tmp_path: Path, state: str) -> None:
    path = made(tmp_path / "one", "ann", "bob", "cat", "dan")
    failed = Outcome(2, Status.FAILED, "UserNotFoundException", "x", 1)
    lost = Outcome(3, Status.IN_DOUBT, "ReadTimeoutError", "x", 3, 1, in_doubt=True)
    record(path, done(1, attempts=1), failed, lost, state=state)
    status = read_status(path)
    assert (status.state, status.alive, status.resumable) == (state, False, True)
    assert status.counts == {"set": 1, "failed": 1, "in_doubt": 1, "unprocessed": 1}
    assert status.codes == {"ReadTimeoutError": 1, "UserNotFoundException": 1}
    assert (status.rows, status.rows_left, status.attempts, status.throttled) == (4, 2, 5, 1)
    assert (status.rate, status.seconds_left) == (0.0, None)


def test_finished_run_has_no_remaining_rows(tmp_path: Path) -> None:
    path = made(tmp_path / "one", "ann", "bob")
    record(path, done(1), Outcome(2, Status.FAILED, "UserNotFoundException"), state="finished", rows=2)
    status = read_status(path)
    assert (status.state, status.rows_left, status.resumable) == ("finished", 0, False)


def test_finished_dry_run_has_nothing_to_resume(tmp_path: Path) -> None:
    path = made(tmp_path / "one", "ann", "bob", mode="dry_run", state="finished", rows=2)
    status = read_status(path)
    assert (status.mode, status.state, status.rows_left, status.resumable) == ("dry_run", "finished", 0, False)
    assert status.counts == {"ready": 2}


@pytest.mark.parametrize("state", ["planning", "interrupted", "stopped"])
def test_dry_run_with_an_incomplete_plan_can_be_resumed(tmp_path: Path, state: str) -> None:
    path = made(tmp_path / "one", "ann", "bob", mode="dry_run", state=state)
    status = read_status(path)
    assert (status.state, status.resumable) == ("crashed" if state == "planning" else state, True)
    record(path, rows=2, state="finished", mode="dry_run")
    assert not read_status(path).resumable


@pytest.mark.parametrize("state", ["planning", "planned", "applying"])
def test_run_that_is_under_way_in_no_process_has_crashed(tmp_path: Path, state: str) -> None:
    path = made(tmp_path / "one", "ann", "bob", "cat")
    record(path, done(1), claims=2, state=state)
    status = read_status(path)
    assert (status.state, status.alive, status.resumable) == ("crashed", False, True)
    assert status.counts == {"set": 1, "in_doubt": 1, "unprocessed": 1}
    assert status.rows_left == 2


def test_crash_after_the_last_row_is_resumable_too(tmp_path: Path) -> None:
    path = made(tmp_path / "one", "ann")
    record(path, done(1), state="applying")
    status = read_status(path)
    assert (status.state, status.rows_left, status.resumable) == ("crashed", 0, True)


@pytest.mark.process
def test_run_is_alive_in_its_process_and_crashed_when_that_is_killed(tmp_path: Path) -> None:
    path = made(tmp_path / "one", *"abcdef")
    with applying(path) as process:
        alive = read_status(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        dead = read_status(path)
    assert (alive.state, alive.alive, alive.resumable) == ("applying", True, False)
    assert alive.counts == {"set": 1, "failed": 1, "claimed": 2, "ready": 2}
    assert (alive.rate, alive.rows_left, alive.seconds_left) == (1.0, 4, 4.0)
    assert dead == replace(
        alive,
        state="crashed",
        alive=False,
        resumable=True,
        counts={"set": 1, "failed": 1, "in_doubt": 2, "unprocessed": 2},
        rate=0.0,
        seconds_left=None,
        commands=(f"bulkreset resume {path}", f"bulkreset resume {path} --failed"),
    )


def test_ended_run_says_why_it_stopped_when_and_how_to_continue(tmp_path: Path) -> None:
    path = made(tmp_path / "one", "ann", "bob", rows=2)
    stopped = StoppedBy("GuardTripped", "GuardTripped", "Too many.", "Fix the cause, then resume.", 3)
    record(
        path,
        done(1, attempts=1),
        state="stopped",
        rows=2,
        exit_code=3,
        stopped_by=asdict(stopped),
        finished_at="2024-01-31T00:05:00.000Z",
    )
    status = read_status(path)
    assert (status.exit_code, status.stopped_by) == (3, stopped)
    assert status.commands == (f"bulkreset resume {path}",)
    assert describe_status(status).splitlines() == [
        f"{path}: stopped, exit code 3",
        "  run of nightly, started 2024-01-31 00:00:00 UTC, ended 2024-01-31 00:05:00 UTC",
        "  2 rows: 1 set, 1 not sent",
        "  1 call, 0 throttled",
        "  why: Too many. Fix the cause, then resume.",
        f"  next: bulkreset resume {path}",
    ]


def test_nothing_says_that_an_abandoned_run_can_continue(tmp_path: Path) -> None:
    path = made(tmp_path / "one", "ann", "bob", rows=2)
    asked = job(EU).model_dump(mode="json")
    stopped = asdict(StoppedBy("WavePause", "WavePause", "Wave 1 of 2 was sent.", "Resume later.", 5))
    record(path, done(1), state="wave", rows=2, job=asked, exit_code=5, stopped_by=stopped, finished_at=ENDED)
    (path / "report.html").touch()
    abandon(path)
    assert "why: Wave 1 of 2 was sent.\n" in describe_status(read_status(path)) + "\n"
    summary = json.loads((path / "summary.json").read_text())
    assert (summary["resumable"], summary["stopped_by"]["advice"]) == (False, "")
    page = (path / "report.html").read_text()
    assert "Wave 1 of 2 was sent." in page
    assert "Resume later" not in page
    assert "bulkreset resume" not in page


def test_run_with_a_wrong_pool_is_not_to_be_resumed(tmp_path: Path) -> None:
    path = made(tmp_path / "one", "ann", rows=1)
    stopped = StoppedBy("ServiceError", "ResourceNotFoundException", "No such pool.", "Fix the job.", 2)
    record(path, rows=1, state="stopped", exit_code=2, stopped_by=asdict(stopped))
    assert (read_status(path).resumable, read_status(path).commands) == (False, ())
    record(path, rows=1, state="interrupted", stopped_by=asdict(StoppedBy("Interrupted", "Interrupted", "", "", 130)))
    assert read_status(path).resumable


def test_reading_a_run_takes_no_lock_and_changes_no_file(tmp_path: Path) -> None:
    path = made(tmp_path / "one", "ann")
    record(path, state="applying")
    content = (path / "journal.sqlite").read_bytes()
    for _ in range(3):
        assert not read_status(path).alive
    assert (path / "journal.sqlite").read_bytes() == content
    RunDir.open(path).lock()


def test_rate_is_of_the_last_minute(tmp_path: Path) -> None:
    path = made(tmp_path / "one", *(f"user{number}" for number in range(40)))
    old = [done(row, finished_at=row) for row in range(1, 11)]
    new = [done(row, finished_at=1_000_000 + row * 500) for row in range(11, 22)]
    record(path, *old, *new, state="applying")
    home = RunDir.open(path)
    home.lock()
    status = read_status(path)
    assert (status.rate, status.rows_left, status.seconds_left) == (2.0, 19, 9.5)
    lanes = [
        LaneFacts(account="1", region=region, quota=30, ceiling=24, limit=0.0, limited_by="paused")
        for region in ("a", "b")
    ]
    for facts, rate, left in ((lanes, 0.0, None), ([lanes[0], lanes[1].model_copy(update={"limit": 3.0})], 2.0, 9.5)):
        record(path, state="applying", lanes=tuple(facts))
        assert (read_status(path).rate, read_status(path).seconds_left) == (rate, left), "nothing is sent while paused"
    home.release()


def test_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "is not a run directory"), (tmp_path / "none", "does not exist")):
        with pytest.raises(RunDirError, match=said):
            read_status(path)
    (tmp_path / "journal.sqlite").write_bytes(b"username,password\n" * 100)
    with pytest.raises(RecordError, match="is damaged"):
        read_status(tmp_path)


def test_damaged_journal_is_a_record_error(tmp_path: Path) -> None:
    path = made(tmp_path / "one", "ann")
    journal = sqlite3.connect(path / "journal.sqlite")
    journal.execute("DROP TABLE rows")
    journal.close()
    with pytest.raises(RecordError, match="no such table"):
        read_status(path)


def test_runs_of_a_folder_are_listed_oldest_first(tmp_path: Path) -> None:
    made(tmp_path / "a", "ann", started_at="2024-01-30T00:00:00.000Z", state="stopped")
    made(tmp_path / "b", "ann", started_at="2024-02-01T00:00:00.000Z", state="applying")
    made(tmp_path / "c", started_at="2024-01-31T00:00:00.000Z", state="finished")
    found = [(Path(status.run_dir).name, status.state) for status in list_runs(tmp_path)[0]]
    assert found == [("a", "stopped"), ("c", "finished"), ("b", "crashed")]


def test_other_directories_are_ignored_and_unreadable_runs_are_named(tmp_path: Path) -> None:
    made(tmp_path / "good", "ann", state="stopped")
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name, content in (("empty", b""), ("text", b"username,password\n" * 100), ("zeros", b"\x00" * 4096)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "journal.sqlite").write_bytes(content)
    for name, change in (("newer", "PRAGMA user_version = 99"), ("torn", "DROP TABLE rows")):
        journal = sqlite3.connect(made(tmp_path / name, "ann") / "journal.sqlite")
        journal.execute(change)
        journal.close()
    os.mkfifo(tmp_path / "pipe")
    found, unreadable = list_runs(tmp_path)
    assert [Path(status.run_dir).name for status in found] == ["good"]
    assert [Path(one.run_dir).name for one in unreadable] == ["empty", "newer", "text", "torn", "zeros"]
    assert [one.problem.partition("journal.sqlite ")[2] for one in unreadable[:3]] == [
        "is damaged. Restore it from a backup. Without one, plan a new run of the rows that are not set.",
        f"has version 99; this bulkreset knows version {schema.VERSION}. Use the bulkreset that wrote it.",
        "is damaged. Restore it from a backup. Without one, plan a new run of the rows that are not set.",
    ]


def test_missing_folder_of_runs_has_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == ([], [])
    (tmp_path / "file").touch()
    assert list_runs(tmp_path / "file") == ([], [])


@pytest.mark.parametrize(("state", "pending"), [("applying", False), ("stopped", False), ("finished", True)])
def test_undone_run_cannot_be_resumed_with_any_remaining_rows(tmp_path: Path, state: str, pending: bool) -> None:  # noqa: FBT001  (pytest's)
    path = made(tmp_path / "run", "ann")
    facts: dict[str, Any] = {"state": state, "rows": 1, "mirror_pending": pending}
    record(path, *([done(1)] if pending else []), claims=1, **facts)
    assert read_status(path).resumable
    undo = UndoFacts(status="RESTORE_COMPLETED", user="ops", begun_at=BEGUN, ended_at=ENDED)
    record(path, **facts, undos={POOL: undo})
    found = read_status(path)
    assert not found.resumable
    assert found.commands == ()
