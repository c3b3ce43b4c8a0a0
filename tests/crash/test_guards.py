"""Stops of a run that can be resumed: guards, time limits, expired credentials."""

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path

from tests.crash.test_resume import hold, let_go, resume, sent
from tests.e2e.command import SET, Command, assert_they_agree, finish, people, seed, write_csv, write_job
from tests.sim import Simulator
from tests.sim.handle import ACCESS_KEY

# When a guard stops a run, at most the calls of half a second are claimed and may leave: twenty, and one per worker.
PACE = "[pace]\nrate = 40\nworkers = 2\n"


def with_guards(bulkreset: Command, sim: Simulator, guards: str, rows: int = 100) -> Path:
    write_csv(bulkreset.home / "users.csv", people(rows))
    return write_job(bulkreset.home, sim.url, 'path = "users.csv"', f"{PACE}[guards]\n{guards}\n")


def test_too_many_failures_stop_the_run(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, [name for number, (name, _) in enumerate(people(300)) if number % 3])
    job = with_guards(bulkreset, sim, "max_failures = 4", rows=300)
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 3
    assert ran.summary["state"] == "stopped"
    assert "max_failures = 4" in ran.stderr
    assert 5 <= ran.summary["counts"]["failed"] <= 40  # of two batches, if the lane is on a cluster
    assert ran.summary["counts"]["unprocessed"] > 150
    assert_they_agree(ran, sim)


def test_guard_that_trips_when_all_the_rest_is_on_its_way_stops_nothing(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, ["user.002", "user.003"])
    sim.configure(faults={"users": {"user.002": [{"slow": 0.5}], "user.003": [{"slow": 0.5}]}})
    hold(sim, 1, username="user.001")
    source = write_csv(bulkreset.home / "users.csv", people(3))
    run_dir = bulkreset.home / "run"
    argv = (*bulkreset.against(source), "--max-failures", "0", "--rate", "none", "--workers", "3", "--run-dir", run_dir)
    with bulkreset.start(*argv, "--yes") as process:
        sent(sim, 3)
        let_go(sim)
        ran = finish(process, run_dir)
    assert (ran.code, ran.summary["state"], ran.summary["resumable"]) == (1, "finished", False)
    assert ran.summary["counts"] == {"failed": 1, "set": 2}


def test_refusals_in_a_row_are_not_missed_among_many_answers(bulkreset: Command, sim: Simulator) -> None:
    """The refusals come back faster than they are committed."""
    names = [name for name, _ in people(300)]
    seed(sim, [*names[:100], *names[112:]])
    write_csv(bulkreset.home / "users.csv", people(300))
    guards = '[pace]\nrate = "none"\nworkers = 1\n[guards]\nmax_refused_in_a_row = 10\n'
    ran = bulkreset("run", write_job(bulkreset.home, sim.url, 'path = "users.csv"', guards), "--yes")
    assert (ran.code, ran.summary["stopped_by"]["code"]) == (3, "GuardTripped")
    assert ran.summary["counts"]["set"] >= 100
    assert ran.summary["counts"]["unprocessed"] > 0
    assert "10 rows in a row failed" in ran.stderr


def test_a_share_of_failures_stops_the_run(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, [name for number, (name, _) in enumerate(people(100)) if number % 4])
    job = with_guards(bulkreset, sim, 'max_failures = "20%"\nfailures_sample = 40')
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 3
    settled = ran.summary["counts"]["failed"] + ran.summary["counts"]["set"]
    assert 40 <= settled < 100


def test_many_refusals_in_a_row_mean_that_the_pool_is_wrong(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, ["somebody.else"])
    job = with_guards(bulkreset, sim, "max_refused_in_a_row = 10")
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 3
    assert "UserNotFoundException" in ran.stderr
    assert 10 <= len(sim.calls(SET)) <= 40
    seed(sim, [name for name, _ in people(100)])
    again = resume(bulkreset, ran.run_dir, "--failed", "--rate", "none")
    assert again.code == 0
    assert again.summary["counts"] == {"set": 100}


def test_time_limit_ends_a_run_and_resume_continues(bulkreset: Command, sim: Simulator) -> None:
    job = with_guards(bulkreset, sim, 'max_duration = "1s"', rows=300)
    ran = bulkreset("run", job, "--yes", "--rate", "200")
    assert ran.code == 5
    assert ran.summary["state"] == "time_limit"
    assert "Resume with" in ran.stderr
    assert_they_agree(ran, sim)
    again = resume(bulkreset, ran.run_dir, "--rate", "none", "--max-duration", "10m")
    assert again.code == 0
    assert sim.stats().users_applied_more_than_once == 0


def test_stop_at_is_a_time_of_day(bulkreset: Command, sim: Simulator) -> None:
    later = datetime.now().astimezone() + timedelta(hours=2)
    job = with_guards(bulkreset, sim, f'stop_at = "{later:%H:%M}"', rows=5)
    assert bulkreset("run", job, "--yes").code == 0


def test_protected_users_are_skipped(bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool("us-east-1_Test00001", [name for name, _ in people(6)], groups={"admins": ["user.002", "user.003"]})
    job = with_guards(bulkreset, sim, '[guards.protected]\nusernames = ["USER.001"]\ngroups = ["admins"]', rows=6)
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 0
    assert ran.column("status") == ["skipped", "skipped", "skipped", "set", "set", "set"]
    assert ran.column("code")[:3] == ["protected"] * 3
    assert {call.username for call in sim.calls(SET)} == {"user.004", "user.005", "user.006"}


def test_a_protected_group_that_cannot_be_read_refuses_the_run(bulkreset: Command, sim: Simulator) -> None:
    job = with_guards(bulkreset, sim, '[guards.protected]\ngroups = ["no-such-group"]', rows=2)
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 2
    assert "no-such-group" in ran.stderr
    assert not ran.run_dir.exists()
    assert sim.calls(SET) == []


def credential_process(bulkreset: Command, keys: list[str]) -> dict[str, str | None]:
    """Write a profile whose process returns these access keys in turn, and then repeats the last one."""
    script = bulkreset.home / "keys.py"
    counter = bulkreset.home / "count"
    script.write_text(
        "import json, pathlib\n"
        f"keys, counter = {keys!r}, pathlib.Path({str(counter)!r})\n"
        "n = int(counter.read_text()) if counter.exists() else 0\n"
        "counter.write_text(str(n + 1))\n"
        'print(json.dumps({"Version": 1, "AccessKeyId": keys[min(n, len(keys) - 1)], "SecretAccessKey": "simulated"}))\n'
    )
    config = bulkreset.home / "config"
    config.write_text(f"[profile rotating]\ncredential_process = {sys.executable} {script}\n")
    return {"AWS_CONFIG_FILE": str(config), "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


def test_credentials_that_expire_in_the_middle_are_renewed(bulkreset: Command, sim: Simulator) -> None:
    env = credential_process(bulkreset, ["AKIDFIRST", "AKIDSECOND", "AKIDTHIRD"])
    sim.configure(faults={"expire": {"AKIDFIRST": {"calls": 20}, "AKIDSECOND": {"calls": 30}}})
    source = write_csv(bulkreset.home / "users.csv", people(80))
    ran = bulkreset.reset(source, "--profile", "rotating", "--rate", "200", env=env)
    assert ran.code == 0
    assert ran.summary["counts"] == {"set": 80}
    assert {call.access_key for call in sim.calls(SET) if call.applied} == {"AKIDFIRST", "AKIDSECOND", "AKIDTHIRD"}
    assert_they_agree(ran, sim)


def test_sign_outs_use_the_renewed_credentials_too(bulkreset: Command, sim: Simulator) -> None:
    env = credential_process(bulkreset, ["AKIDFIRST", "AKIDSECOND"])
    sim.configure(faults={"expire": {"AKIDFIRST": {"calls": 40}}})
    write_csv(bulkreset.home / "users.csv", people(60))
    more = "[pace]\nrate = 100\n[after]\nsign_out = true\n"
    job = write_job(bulkreset.home, sim.url, 'path = "users.csv"', more)
    ran = bulkreset("run", job, "--yes", "--profile", "rotating", env=env)
    assert ran.code == 0, ran.stderr
    assert ran.summary["counts"] == {"set": 60}
    assert ran.summary["signed_out"] == {"done": 60, "failed": 0, "pending": 0}


def test_credentials_that_cannot_be_renewed_stop_the_run_and_lose_nothing(bulkreset: Command, sim: Simulator) -> None:
    sim.configure(faults={"expire": {ACCESS_KEY: {"calls": 20}}})
    source = write_csv(bulkreset.home / "users.csv", people(60))
    ran = bulkreset.reset(source, "--rate", "200", "--workers", "3")
    assert ran.code == 3
    assert "ExpiredToken" in ran.stderr
    assert set(ran.summary["counts"]) == {"set", "unprocessed"}
    assert_they_agree(ran, sim)
    sim.configure(faults={"expire": {ACCESS_KEY: None}})
    again = resume(bulkreset, ran.run_dir)
    assert again.code == 0
    assert sim.stats().users_applied_more_than_once == 0


def test_status_shows_a_stopped_run(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, ["somebody.else"])
    ran = bulkreset("run", with_guards(bulkreset, sim, "max_refused_in_a_row = 10"), "--yes")
    outputs = []
    for args in (("--json",), ()):
        with bulkreset.start("status", ran.run_dir, *args) as process:
            outputs.append(finish(process, ran.run_dir).stdout)
        assert process.returncode == 0
    status = json.loads(outputs[0])
    assert status["state"] == "stopped"
    assert status["counts"] == ran.summary["counts"]
    assert status["rows_left"] == ran.summary["counts"]["unprocessed"]
    assert (status["alive"], status["resumable"]) == (False, True)
    assert f"next: bulkreset resume {ran.run_dir}" in outputs[1]


def test_failed_rows_that_were_to_be_sent_again_and_were_not_have_failed_as_before(
    bulkreset: Command, sim: Simulator
) -> None:
    """A guard stops the first retry before anything is sent; the first answer stops the second one."""
    seed(sim, ["user.001"])
    sim.configure(faults={"users": {"user.002": [{"garbage": True}], "user.009": [{"garbage": True}]}})
    ran = bulkreset("run", with_guards(bulkreset, sim, "max_refused_in_a_row = 0", rows=10), "--yes")
    assert [row["username"] for row in ran.report if row["in_doubt"] == "true"] == ["user.002", "user.009"]
    before = [(row["username"], row["status"], row["code"], row["message"]) for row in ran.report]
    assert sum(status == "failed" for _, status, _, _ in before) == 9
    denied = {"operation": SET, "error": "AccessDeniedException"}
    for guard, met, calls in (("1", None, 0), ("10", denied, 1)):
        made = len(sim.calls(SET))
        sim.configure(faults={"every": met})
        stopped = resume(bulkreset, ran.run_dir, "--failed", "--workers", "1", "--max-rows", guard)
        assert stopped.code == 3
        assert len(sim.calls(SET)) - made == calls
        assert [(row["username"], row["status"], row["code"], row["message"]) for row in stopped.report] == before
        assert stopped.summary["counts"] == ran.summary["counts"]
    sim.configure(faults={"every": None})
    seed(sim, [name for name, _ in people(10)])
    plain = resume(bulkreset, ran.run_dir)
    assert (plain.code, plain.summary["counts"]) == (1, ran.summary["counts"])
    assert resume(bulkreset, ran.run_dir, "--failed").summary["counts"] == {"set": 10}
