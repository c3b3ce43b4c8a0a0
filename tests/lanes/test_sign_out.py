"""Sign-outs: only for set users, without a second password, and resumable."""

import contextlib
import os
import signal
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from tests.crash.test_resume import resume
from tests.e2e.command import POOL, SET, Command, CommandResult, assert_they_agree, finish, people, seed, write_csv
from tests.e2e.live import rows_set, signed_out
from tests.lanes.lane_targets import ALL, B, create_pools, mixed, users, write_input, write_job
from tests.sim import Simulator
from tests.waiting import wait_until

OUT = "AdminUserGlobalSignOut"
PATIENT = ("--read-timeout", "90")  # a held call must not time out


def assert_signed_out(ran: CommandResult, sim: Simulator) -> None:
    """Check that users who are signed out were set before, once, and that the report agrees with the simulator."""
    assert_they_agree(ran, sim)
    set_at: dict[tuple[str, str], float] = {}
    for call in sim.calls():
        if call.operation == SET and call.applied:
            assert (call.pool, call.username) not in set_at
            set_at[call.pool, call.username] = call.time
        elif call.operation == OUT:
            assert (call.pool, call.username) in set_at
    signed_out_users = {(call.pool, call.username) for call in sim.calls(OUT) if call.applied}
    reported = {(row["user_pool_id"], row["username"]) for row in ran.report if row["signed_out"] == "true"}
    assert reported <= signed_out_users
    figures = ran.summary["signed_out"]
    assert figures["done"] == len(reported)
    assert figures["failed"] == sum(row["signed_out"] == "false" for row in ran.report)
    assert figures["pending"] == sum(row["status"] == "set" and not row["signed_out"] for row in ran.report)


def test_everybody_who_was_set_is_signed_out(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, [name for name, _ in people(30)][1:])
    source = write_csv(bulkreset.home / "users.csv", people(30))
    ran = bulkreset.reset(source, "--rate", "none", "--sign-out")
    assert ran.code == 1  # because of the missing user
    assert ran.summary["signed_out"] == {"done": 29, "failed": 0, "pending": 0}
    assert ran.of("user.001")["signed_out"] == ""
    assert "user.001" not in {call.username for call in sim.calls(OUT)}
    assert "Sign-outs: 29 done, 0 failed, 0 pending." in ran.stdout
    assert_signed_out(ran, sim)
    assert {user["sign_outs"] for user in sim.users(POOL).values()} == {1}


@pytest.mark.soak
def test_sign_outs_have_a_pace_of_their_own(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(80))
    # Half of the passwords are set only after the first sign-outs: both happen in parallel.
    sim.configure(faults={"every": {"hold": True, "operation": SET, "from_call": 41}})
    paced = ("--rate", "100", "--share", "0.8", "--workers", "2")
    argv, run_dir = bulkreset.with_run_dir((*bulkreset.against(source), "--yes", *paced, "--sign-out", *PATIENT))
    with bulkreset.start(*argv) as process:
        wait_until(lambda: sim.calls(OUT))
        sim.configure(faults={"every": None})
        ran = finish(process, run_dir)
    assert ran.code == 0
    calls = sim.calls(OUT)
    # At 20 per second they take at least 4 seconds, and at the passwords' rate less than one.
    assert calls[-1].time - calls[0].time >= 2
    assert "Duration    about 4 s" in ran.stderr
    assert_signed_out(ran, sim)


def test_sign_outs_are_retried_and_failed_ones_leave_the_row_set(bulkreset: Command, sim: Simulator) -> None:
    scripts = {
        "user.001": [{"throttle": 2}],
        "user.002": [{"cut": "after"}],
        "user.003": [{"error": "InternalErrorException"}, {"cut": "before"}],
        "user.004": [{"error": "UserNotFoundException"}],
        "user.005": [{"throttle": 9}],
        "user.006": [{"garbage": True}],
    }
    sim.configure(faults={"scripts": {OUT: scripts}})
    source = write_csv(bulkreset.home / "users.csv", people(20))
    job = bulkreset.home / "job.toml"
    job.write_text(
        f'[input]\npath = "{source}"\n[[targets]]\nuser_pool_id = "{POOL}"\nregion = "us-east-1"\n'
        f'endpoint_url = "{sim.url}"\n[plan]\ncheck_users = false\n'
        '[pace]\nrate = "none"\nmax_attempts = 3\nmax_wait = 0.3\n[after]\nsign_out = true\n'
    )
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 1
    assert ran.summary["counts"] == {"set": 20}
    assert ran.summary["signed_out"] == {"done": 18, "failed": 2, "pending": 0}
    for name, code in (("user.004", "UserNotFoundException"), ("user.005", "TooManyRequestsException")):
        row = ran.of(name)
        assert (row["status"], row["signed_out"], row["code"], row["attempts"]) == ("set", "false", code, "1")
        assert "the password was set; only the sign-out failed" in row["message"]
    assert_signed_out(ran, sim)
    before = len(sim.calls())
    plain = resume(bulkreset, ran.run_dir)
    assert (plain.code, [call for call in sim.calls()[before:] if call.operation in {SET, OUT}]) == (1, [])
    assert plain.stdout.startswith("Nothing to do: all 20 rows were already set.\nSign-outs: 18 done, 2 failed")
    sim.configure(faults={"scripts": {OUT: {name: [] for name in scripts}}})
    again = resume(bulkreset, ran.run_dir, "--failed")
    assert again.code == 0
    assert again.stdout.startswith("Run finished: 20 rows: 20 set.\nSign-outs: 20 done")
    assert sorted(call.username for call in sim.calls()[before:] if call.operation == OUT) == ["user.004", "user.005"]
    assert again.summary["codes"] == {}
    assert_signed_out(again, sim)


def test_a_sign_out_that_is_denied_stops_the_lane_and_names_the_right(bulkreset: Command, sim: Simulator) -> None:
    denied = {"error": "AccessDeniedException", "operation": OUT}
    # From then on nobody is set: the run cannot end before the denial.
    sim.configure(faults={"every": [denied, {"hold": True, "operation": SET, "from_call": 6}]})
    source = write_csv(bulkreset.home / "users.csv", people(100))
    args = (*bulkreset.against(source), "--yes", "--rate", "40", "--workers", "2", "--sign-out", *PATIENT)
    argv, run_dir = bulkreset.with_run_dir(args)
    with bulkreset.start(*argv) as process:
        wait_until(lambda: sim.calls(OUT))
        sim.configure(faults={"every": denied})
        ran = finish(process, run_dir)
    assert ran.code == 3
    assert "cognito-idp:AdminUserGlobalSignOut" in ran.stderr
    assert ran.summary["counts"]["unprocessed"] > 0
    assert ran.summary["signed_out"]["pending"] == ran.summary["counts"]["set"]
    assert len(sim.calls(OUT)) <= ran.summary["counts"]["set"]
    assert_signed_out(ran, sim)
    sim.configure(faults={"every": None})
    again = resume(bulkreset, ran.run_dir, "--rate", "none")
    assert again.code == 0
    assert again.summary["signed_out"] == {"done": 100, "failed": 0, "pending": 0}
    assert_signed_out(again, sim)


def test_stopped_run_says_how_many_sign_outs_remain_and_resume_makes_them(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(60))
    run_dir = bulkreset.home / "run"
    sim.configure(faults={"every": {"hold": True, "operation": OUT, "from_call": 9}})
    args = (*bulkreset.against(source), "--yes", "--rate", "300", "--workers", "2", "--sign-out", *PATIENT)
    with bulkreset.start(*args, "--run-dir", run_dir) as process:
        wait_until(lambda: rows_set(run_dir) == 60 and len(sim.calls(OUT)) > 8)
        process.send_signal(signal.SIGTERM)
        sim.configure(faults={"every": None})
        ran = finish(process, run_dir)
    assert ran.code == 143
    assert ran.summary["counts"] == {"set": 60}
    pending = ran.summary["signed_out"]["pending"]
    assert 0 < pending < 60
    assert ran.stderr.splitlines()[-1] == f"Resume with: bulkreset resume {run_dir}"
    with bulkreset.start("status", run_dir) as process:
        reported = process.communicate()[0]
    assert f"{pending:,} pending" in reported
    assert "next: bulkreset resume" in reported
    again = resume(bulkreset, run_dir, "--rate", "none")
    assert again.code == 0
    assert again.summary["signed_out"]["done"] == 60
    assert len(sim.calls(SET)) == 60
    assert_signed_out(again, sim)


def has_signed_out(run_dir: Path, users: int) -> bool:
    """Return whether so many sign-outs are committed."""
    return len(signed_out(run_dir)) == users


def test_kill_in_the_middle_loses_no_user_and_sets_no_password_again(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(60))
    run_dir = bulkreset.home / "run"
    paced = ("--rate", "200", "--workers", "2", "--sign-out", *PATIENT)
    begin = (*bulkreset.against(source), "--yes", *paced, "--run-dir", run_dir)
    known: set[str] = set()
    for commands, answered in ((begin, 5), (("resume", run_dir), 12)):
        sim.configure(faults={"every": {"hold": True, "operation": OUT, "from_call": answered + 1}})
        with bulkreset.start(*commands) as process:
            # What was answered is committed, although no further answer comes: a crash loses only calls in flight.
            wait_until(partial(has_signed_out, run_dir, len(known) + answered))
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        assert known < signed_out(run_dir)
        known = signed_out(run_dir)
        assert len(known) < 60
    sim.configure(faults={"every": None})
    before = len(sim.calls(OUT))
    again = resume(bulkreset, run_dir, "--rate", "none")
    assert again.code == 0
    assert {call.username for call in sim.calls(OUT)[before:]}.isdisjoint(known)
    assert again.summary["signed_out"] == {"done": 60, "failed": 0, "pending": 0}
    settled_once = {row["username"] for row in again.report if row["in_doubt"] == "false"}
    times = [call.username for call in sim.calls(SET)]
    assert all(times.count(name) == 1 for name in settled_once)


@pytest.mark.soak
def test_every_lane_signs_out_its_own_users(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim)
    lines = mixed([line for place in ALL for line in users(place, 50)], "interleaved")
    sim.configure(faults={"every": {"error": "AccessDeniedException", "operation": OUT, "pool": B.pool}})
    more = '[pace]\nrate = "none"\n[after]\nsign_out = true\n'
    job = write_job(bulkreset, sim, ALL, write_input(bulkreset.home, lines), more)
    ran = bulkreset("run", job, "--yes", env=env)
    assert ran.code == 3
    assert f"Account {B.account}" in ran.stderr
    assert "AdminUserGlobalSignOut" in ran.stderr
    assert ran.summary["signed_out"]["done"] == 150
    assert_signed_out(ran, sim)
    sim.configure(faults={"every": None})
    again = resume(bulkreset, ran.run_dir, env=env)
    assert again.code == 0
    assert again.summary["signed_out"] == {"done": 200, "failed": 0, "pending": 0}
    assert_signed_out(again, sim)


def test_the_flag_beats_the_job(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim, (B,))
    job = write_job(bulkreset, sim, (B,), write_input(bulkreset.home, users(B, 2)), "[after]\nsign_out = true\n")
    ran = bulkreset("run", job, "--yes", "--rate", "none", "--no-sign-out", env=env)
    assert ran.code == 0
    assert sim.calls(OUT) == []
    assert set(ran.column("signed_out")) == {""}
    assert "signed_out" not in ran.summary


def test_users_can_be_signed_out_after_the_passwords_are_deleted(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, [name for name, _ in people(30)])
    source = write_csv(bulkreset.home / "users.csv", people(30))
    ran = bulkreset.reset(source, "--rate", "none", "--sign-out")
    assert ran.code == 0
    with contextlib.closing(sqlite3.connect(ran.run_dir / "journal.sqlite")) as journal, journal:
        journal.execute("UPDATE rows SET signed_out = NULL WHERE row > 10")
    source.unlink()
    last = resume(bulkreset, ran.run_dir)
    assert last.code == 0, last.stderr
    assert last.summary["signed_out"] == {"done": 30, "failed": 0, "pending": 0}
    assert sim.stats().users_applied_more_than_once == 0
