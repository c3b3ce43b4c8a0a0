"""Events around a run: a changed input, a new report, a closed terminal, a hanging answer."""

import os
import shlex
import signal
import subprocess
import sys

import pytest

from tests.crash.test_resume import hold, let_go, resume, sent
from tests.e2e.command import (
    PATIENCE,
    POOL,
    SET,
    Command,
    CommandResult,
    assert_they_agree,
    finish,
    people,
    write_csv,
    write_job,
)
from tests.sim import Simulator

PADDING = [(f"no.{row}", "") for row in range(50)]
# So that the last rows are in their own pages, which are read when they are sent.
SMALL_PIECES = """
from bulkreset.input import batch, page_reader, text_reader
batch.BATCH_ROWS, text_reader.PAGE_ROWS, page_reader.PAGE_ROWS = 10, 5, 5
"""


@pytest.mark.parametrize("change", ["other passwords", "cut off", "gone"])
def test_an_input_that_changes_during_the_run_stops_it(bulkreset: Command, sim: Simulator, change: str) -> None:
    rows = [*people(10), *PADDING, *((f"late.{row}", f"Late-Garden.{row}") for row in range(20))]
    source = write_csv(bulkreset.home / "users.csv", rows)
    before = source.read_bytes()
    run_dir = bulkreset.home / "run"
    hold(sim, 1)
    argv = (*bulkreset.against(source), "--yes", "--rate", "4", "--run-dir", run_dir)
    with bulkreset.start(*argv, first=SMALL_PIECES) as process:
        sent(sim, 1)
        if change == "gone":
            source.unlink()
        elif change == "cut off":
            with source.open("r+b") as file:
                file.truncate(300)
        else:
            with source.open("r+b") as file:
                file.write(before.replace(b"Late-Garden", b"Evil-Garden"))
        let_go(sim)
        ran = finish(process, run_dir)
    assert ran.code == 3
    assert "changed" in ran.stderr
    assert ran.summary["state"] == "stopped"
    assert not any(call.username.startswith("late") for call in sim.calls(SET))
    source.write_bytes(before)
    again = resume(bulkreset, run_dir, "--rate", "none")
    assert again.summary["counts"] == {"rejected": len(PADDING), "set": 30}
    assert sim.passwords(POOL)["late.7"] == "Late-Garden.7"


def test_report_can_be_written_while_the_run_writes_it(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(30))
    run_dir = bulkreset.home / "run"
    hold(sim, 25)
    with bulkreset.start(*bulkreset.against(source), "--yes", "--rate", "none", "--run-dir", run_dir) as process:
        sent(sim, 25)
        with bulkreset.start("report", run_dir) as drawing:
            assert finish(drawing, run_dir).code == 0
        let_go(sim)
        while process.poll() is None:
            with bulkreset.start("report", run_dir) as drawing:
                assert finish(drawing, run_dir).code == 0
        ran = finish(process, run_dir)
    assert ran.code == 0
    assert len(ran.report) == 30


def test_report_does_not_overwrite_a_file(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(2))
    ran = bulkreset.reset(source, "--rate", "none")
    before = source.read_bytes()
    for output in (source, ran.run_dir / "journal.sqlite", bulkreset.home / "none" / "x.csv"):
        with bulkreset.start("report", ran.run_dir, "-o", output) as process:
            assert finish(process, ran.run_dir).code == 2
    assert source.read_bytes() == before
    assert sim.stats().users_applied_more_than_once == 0


def test_a_password_that_is_a_part_of_a_code_does_not_hide_the_code(bulkreset: Command, sim: Simulator) -> None:
    sim.configure(faults={"users": {"user.001": [{"throttle": 1}], "user.002": [{"error": "AccessDeniedException"}]}})
    source = write_csv(bulkreset.home / "users.csv", [("user.001", "TooManyRequests"), ("user.002", "Exception")])
    ran = bulkreset.reset(source, "--workers", "1", "--rate", "50")
    assert ran.code == 3
    row = ran.of("user.001")
    assert (row["status"], row["throttled"]) == ("set", "1")
    assert "AccessDeniedException" in ran.stderr


IGNORED = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)"


def test_nohup_is_kept(bulkreset: Command, sim: Simulator) -> None:
    """A signal that the shell ignores for a process stays ignored."""
    source = write_csv(bulkreset.home / "users.csv", people(30))
    run_dir = bulkreset.home / "run"
    hold(sim, 3)
    with bulkreset.start(
        *bulkreset.against(source), "--yes", "--rate", "none", "--run-dir", run_dir, first=IGNORED
    ) as process:
        sent(sim, 3)
        os.kill(process.pid, signal.SIGHUP)
        let_go(sim)
        assert finish(process, run_dir).code == 0


def test_stop_waits_for_a_hanging_answer_until_its_time_out_at_most(bulkreset: Command, sim: Simulator) -> None:
    """The answer never comes, however many signals arrive: the row still gets a result."""
    hold(sim, 1, username="user.002")
    write_csv(bulkreset.home / "users.csv", people(5))
    pace = "[pace]\nrate = 50\nmax_attempts = 100\n"
    job = write_job(bulkreset.home, sim.url, 'path = "users.csv"', pace, read_timeout=1.0)
    run_dir = bulkreset.home / "run"
    with bulkreset.start("run", job, "--yes", "--run-dir", run_dir) as process:
        sent(sim, 5)
        process.terminate()
        ran = finish(process, run_dir)
    assert ran.code == 143
    row = ran.of("user.002")
    assert row["status"] == "in_doubt"
    assert int(row["attempts"]) > 0


# Like an interpreter whose shell has closed a stream: neither the descriptor nor the stream exists.
CLOSED = """
import os, sys
for number, name in enumerate(("stdin", "stdout", "stderr")):
    if number in {}:
        os.close(number)
        setattr(sys, name, None)
"""


@pytest.mark.parametrize("closed", [{1}, {2}, {0}])
def test_a_closed_stream_changes_nothing(bulkreset: Command, sim: Simulator, closed: set[int]) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(2))
    run_dir = bulkreset.home / "run"
    with bulkreset.start(
        *bulkreset.against(source), "--yes", "--run-dir", run_dir, first=CLOSED.format(closed)
    ) as process:
        ran = finish(process, run_dir)
    assert ran.code == 0
    assert_they_agree(ran, sim)


def test_all_streams_closed_by_a_shell_change_nothing(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(2))
    run_dir = bulkreset.home / "run"
    words = [sys.executable, "-m", "bulkreset.cli.main", *bulkreset.against(source), "--yes", "--run-dir", run_dir]
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {shlex.join(map(str, words))} >&- 2>&- <&-"],
        env=bulkreset.environment,
        check=False,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0
    assert b"Traceback" not in ended.stdout + ended.stderr
    assert_they_agree(CommandResult(0, "", "", run_dir), sim)
