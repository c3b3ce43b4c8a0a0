"""A full or read-only disk: the run stops with a clear error, sends nothing more and loses nothing."""

import os
import resource
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.crash.test_resume import hold, let_go, resume, sent
from tests.e2e.command import SET, Command, CommandResult, assert_they_agree, finish, people, write_csv, write_job
from tests.sim import Simulator

# Drops the three capabilities with which root writes and changes files of other users.
LEAVE_RIGHTS: Final = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
asked = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, of this process
sets = (ctypes.c_uint32 * 6)()
assert libc.capget(asked, sets) == 0
for number in range(3):  # effective, permitted and inheritable
    sets[number] &= ~0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
assert libc.capset(asked, sets) == 0
"""


@pytest.mark.linux("prlimit, to fill the disk of a process")
def test_a_full_disk_stops_the_run_and_resume_continues_when_there_is_room(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(600))
    run_dir = bulkreset.home / "run"
    hold(sim, 40)
    with bulkreset.start(*bulkreset.against(source), "--yes", "--rate", "150", "--run-dir", run_dir) as process:
        sent(sim, 40)
        limit = (run_dir / "journal.sqlite-wal").stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        let_go(sim)
        ran = finish(process, run_dir)
    assert ran.code == 3
    assert len(ran.error_lines) == 1
    assert "journal" in ran.error_lines[0]
    before = sim.calls(SET)
    assert len(before) < 300
    again = resume(bulkreset, run_dir, "--rate", "none")
    assert again.code == 0
    assert again.summary["counts"] == {"set": 600}
    calls = [call.username for call in sim.calls(SET)]
    twice = {user for user in calls if calls.count(user) > 1}
    assert twice <= {row["username"] for row in again.report if row["in_doubt"] == "true"}
    assert len(twice) < 150


def test_a_journal_that_is_not_ours_to_write_stops_resume_before_anything_is_sent(
    bulkreset: Command, sim: Simulator
) -> None:
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("root writes everywhere, and only Linux takes that right away")
    source = write_csv(bulkreset.home / "users.csv", people(60))
    run_dir = bulkreset.home / "run"
    hold(sim, 5)
    with bulkreset.start(*bulkreset.against(source), "--yes", "--rate", "40", "--run-dir", run_dir) as process:
        sent(sim, 5)
        process.kill()
        process.communicate()
    let_go(sim)
    before = len(sim.calls(SET))
    for file in [*run_dir.iterdir(), run_dir]:
        file.chmod(0o500 if file.is_dir() else 0o400)
    ran = unprivileged(bulkreset, run_dir)
    assert ran.code in {2, 3}
    assert len(ran.error_lines) == 1
    assert len(sim.calls(SET)) == before
    for file in [run_dir, *run_dir.iterdir()]:
        file.chmod(0o700 if file.is_dir() else 0o600)
    again = resume(bulkreset, run_dir, "--rate", "none")
    assert again.code == 0
    assert again.summary["counts"] == {"set": 60}


def unprivileged(bulkreset: Command, run_dir: Path) -> CommandResult:
    """Resume without root's right to write everywhere."""
    first = LEAVE_RIGHTS if os.geteuid() == 0 else ""
    return finish(bulkreset.start("resume", run_dir, first=first), run_dir)


def test_unwritable_report_is_reported_and_written_later(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(40))
    run_dir = bulkreset.home / "run"
    hold(sim, 5)
    with bulkreset.start(*bulkreset.against(source), "--yes", "--rate", "none", "--run-dir", run_dir) as process:
        sent(sim, 5)
        (run_dir / "report.csv").mkdir()
        let_go(sim)
        ran = finish(process, run_dir)
    assert ran.code == 3
    assert len(ran.error_lines) == 1
    assert [ran.summary[key] for key in ("exit_code", "state", "resumable", "counts")] == [
        3,
        "stopped",
        True,
        {"set": 40},
    ]
    (run_dir / "report.csv").rmdir()
    again = resume(bulkreset, run_dir)
    assert again.code == 0
    assert_they_agree(again, sim)


def test_a_page_that_cannot_be_written_stops_the_run_and_says_so_everywhere(bulkreset: Command, sim: Simulator) -> None:
    write_csv(bulkreset.home / "users.csv", people(20))
    job = write_job(bulkreset.home, sim.url, 'path = "users.csv"', '[pace]\nrate = "none"\n[report]\nhtml = true\n')
    run_dir = bulkreset.home / "run"
    hold(sim, 5)
    with bulkreset.start("run", job, "--yes", "--run-dir", run_dir) as process:
        sent(sim, 5)
        (run_dir / "report.html").mkdir()
        let_go(sim)
        ran = finish(process, run_dir)
    assert (ran.code, ran.summary["exit_code"], ran.summary["state"], ran.summary["resumable"]) == (
        3,
        3,
        "stopped",
        True,
    )
    assert f"then run: bulkreset report {run_dir} --format html." in ran.stderr
    (run_dir / "report.html").rmdir()
    again = resume(bulkreset, run_dir)
    assert (again.code, again.summary["state"], again.summary["resumable"]) == (0, "finished", False)
    assert len(sim.calls(SET)) == 20


@pytest.mark.linux("/dev/full, a disk that is always full")
def test_a_log_that_cannot_be_written_changes_nothing(bulkreset: Command) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(5))
    stopped = bulkreset.reset(source, "--limit", "2", "--rate", "none")
    log = stopped.run_dir / "log.jsonl"
    log.unlink()
    log.symlink_to("/dev/full")
    again = resume(bulkreset, stopped.run_dir)
    assert (again.code, again.summary["counts"]) == (0, {"set": 5})
    assert "5 set" in again.stdout
    assert again.error_lines == []
