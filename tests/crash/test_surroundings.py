"""What happens around a run: its input is changed, its report is drawn, its terminal goes, an answer hangs."""

import os
import shlex
import signal
import subprocess
import sys

import pytest

from tests.crash.test_resume import resume, sent
from tests.e2e.command import PATIENCE, POOL, SET, Command, Ran, assert_they_agree, finish, people, write_csv
from tests.sim import Simulator

PADDING = [(f"no.{row}", "") for row in range(25_000)]  # so that the last rows are in a chunk of their own


@pytest.mark.parametrize("change", ["other passwords", "cut off", "gone"])
def test_an_input_that_changes_during_the_run_stops_it(bulkreset: Command, sim: Simulator, change: str) -> None:
    rows = [*people(10), *PADDING, *((f"late.{row}", f"Late-Garden.{row}") for row in range(20))]
    source = write_csv(bulkreset.home / "users.csv", rows)
    before = source.read_bytes()
    run_dir = bulkreset.home / "run"
    with bulkreset.start(*bulkreset.against(source), "--yes", "--rate", "4", "--run-dir", run_dir) as process:
        sent(sim, 1)
        if change == "gone":
            source.unlink()
        elif change == "cut off":
            with source.open("r+b") as file:
                file.truncate(1000)
        else:
            with source.open("r+b") as file:
                file.write(before.replace(b"Late-Garden", b"Evil-Garden"))
        ran = finish(process, run_dir)
    assert ran.code == 3
    assert "changed" in ran.stderr
    assert ran.summary["state"] == "stopped"
    assert not any(call.username.startswith("late") for call in sim.calls(SET))
    source.write_bytes(before)
    again = resume(bulkreset, run_dir, "--rate", "none")
    assert again.summary["counts"] == {"rejected": len(PADDING), "set": 30}
    assert sim.passwords(POOL)["late.7"] == "Late-Garden.7"


def test_the_report_can_be_drawn_while_the_run_draws_it(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(30))
    run_dir = bulkreset.home / "run"
    with bulkreset.start(*bulkreset.against(source), "--yes", "--rate", "15", "--run-dir", run_dir) as process:
        sent(sim, 3)
        while process.poll() is None:
            with bulkreset.start("report", run_dir) as drawing:
                assert finish(drawing, run_dir).code == 0
        ran = finish(process, run_dir)
    assert ran.code == 0
    assert len(ran.report) == 30


def test_report_does_not_write_over_what_is_there(bulkreset: Command, sim: Simulator) -> None:
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


@pytest.mark.fresh  # which inherits what is ignored
def test_nohup_is_kept(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(30))
    run_dir = bulkreset.home / "run"
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = bulkreset.start(*bulkreset.against(source), "--yes", "--rate", "30", "--run-dir", run_dir)
    finally:
        signal.signal(signal.SIGHUP, kept)
    with process:
        sent(sim, 3)
        os.kill(process.pid, signal.SIGHUP)
        assert finish(process, run_dir).code == 0


def test_a_hanging_answer_keeps_a_stop_waiting_no_longer_than_its_time_out(bulkreset: Command, sim: Simulator) -> None:
    sim.configure(faults={"users": {"user.002": [{"hang": 60, "apply": True}]}})
    source = write_csv(bulkreset.home / "users.csv", people(5))
    run_dir = bulkreset.home / "run"
    with bulkreset.start(
        *bulkreset.against(source), "--yes", "--rate", "50", "--read-timeout", "2", "--run-dir", run_dir
    ) as process:
        sent(sim, 5)
        process.terminate()
        ran = finish(process, run_dir)
    assert ran.code == 143
    assert ran.of("user.002")["status"] == "in_doubt"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_change_nothing(bulkreset: Command, sim: Simulator, closed: str) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(2))
    run_dir = bulkreset.home / "run"
    words = [sys.executable, "-m", "bulkreset.cli", *bulkreset.against(source), "--yes", "--run-dir", run_dir]
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {shlex.join(map(str, words))} {closed}"],
        env=bulkreset.environment,
        check=False,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0
    assert b"Traceback" not in ended.stdout + ended.stderr
    assert_they_agree(Ran(0, "", "", run_dir), sim)
