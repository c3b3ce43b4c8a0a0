"""Kill a run and continue it on another machine from S3: no row lost, no finished row sent again."""

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from bulkreset.journal.journal import Journal
from bulkreset.report.run_status import read_status
from tests.bucket import BUCKET, Storage
from tests.crash.test_resume import hold, let_go, sent
from tests.e2e.command import POOL, SET, Command, CommandResult, finish, people, write_csv, write_job
from tests.mirror.mirrored import end_lease, settled_in
from tests.sim import Simulator
from tests.waiting import wait_until

TO = f"s3://{BUCKET}/runs/"
LEASE = 60


def mirrored(
    bulkreset: Command, sim: Simulator, storage: Storage, rows: int, more: str = "", lease: int = LEASE
) -> Path:
    """Write a job whose input and mirror are in S3."""
    storage.put("in.csv", write_csv(bulkreset.home / "x.csv", people(rows)))
    (bulkreset.home / "x.csv").unlink()
    mirror = f'[mirror]\nto = "{TO}"\nlease = {lease}\n[pace]\nrate = 60\n'
    return write_job(bulkreset.home, sim.url, f'path = "s3://{BUCKET}/in.csv"', mirror + more)


def killed_after(
    bulkreset: Command, sim: Simulator, argv: tuple[str | Path, ...], calls: int, after: float = 0.0
) -> int:
    """Kill a run some time after the simulator has had so many calls. Return the exit code if it had ended before."""
    before = sim.stats().count(SET)
    with bulkreset.start(*argv) as process:
        wait_until(lambda: process.poll() is not None or sim.stats().count(SET) - before >= calls)
        time.sleep(after)  # at a random time after that call
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    return process.returncode


def resume_elsewhere(bulkreset: Command, name: str, *more: str) -> CommandResult:
    """Continue the run on another machine: a new directory, and only S3."""
    return finish(
        bulkreset.start("resume", f"{TO}run", "--run-dir", bulkreset.home / name, *more), bulkreset.home / name
    )


def end_old_lease(storage: Storage, at: str = "runs/run/lease.json") -> None:
    """End the dead machine's lease, if it had one."""
    if at in storage.keys("runs/"):
        end_lease(storage, at)


def test_run_killed_on_one_machine_continues_on_another(bulkreset: Command, sim: Simulator, storage: Storage) -> None:
    """At the kill some calls are answered and in the mirror, and others are not."""
    job = mirrored(bulkreset, sim, storage, 60, "workers = 4\n")
    first = bulkreset.home / "run"
    hold(sim, 15)
    with bulkreset.start("run", job, "--yes", "--run-dir", first) as process:
        sent(sim, 18)
        wait_until(lambda: read_status(first).counts.get("set") == 14)
        wait_until(lambda: settled_in(storage, "runs/run/")[0])
        process.kill()
        process.communicate()
    let_go(sim)
    before = [call.username for call in sim.calls(SET)]
    settled, claimed = settled_in(storage, "runs/run/")
    assert settled
    assert set(before) <= settled | claimed
    lease = json.loads(storage.client.get_object(Bucket=BUCKET, Key="runs/run/lease.json")["Body"].read())
    storage.put("runs/run/lease.json", json.dumps(lease | {"until": time.time() + 3600}).encode())
    refused = resume_elsewhere(bulkreset, "second")
    assert (refused.code, "is held by another process" in refused.error_lines[0]) == (4, True)
    assert not (bulkreset.home / "second").exists()
    end_old_lease(storage)
    ran = resume_elsewhere(bulkreset, "second", "--rate", "none")
    assert (ran.code, ran.error_lines) == (0, [])
    again = [call.username for call in sim.calls(SET)][len(before) :]
    assert not settled & set(again)
    assert {user for user in again if user in before} <= claimed
    assert [row["row"] for row in ran.report] == [str(number) for number in range(1, 61)]
    assert set(ran.column("status")) == {"set"}
    assert {row["username"] for row in ran.report if row["in_doubt"] == "true"} <= claimed
    assert sim.passwords(POOL) == dict(people(60))
    late = finish(bulkreset.start("resume", first), first)
    assert (late.code, "another process has continued it" in late.error_lines[0]) == (2, True)
    assert len(sim.calls(SET)) == len(before) + len(again)
    assert {"runs/run/report.csv", "runs/run/summary.json", "runs/run/log.jsonl"} < set(storage.keys())
    assert not any(b"Quiet-Garden" in path.read_bytes() for path in bulkreset.home.rglob("*") if path.is_file())


def test_missing_bucket_is_refused_first_and_on_resume_leaves_the_report(
    bulkreset: Command, sim: Simulator, storage: Storage
) -> None:
    job = mirrored(bulkreset, sim, storage, 3)
    text = job.read_text(encoding="utf-8")
    job.write_text(text.replace(TO, "s3://no-such-bucket/runs/"), encoding="utf-8")
    ran = bulkreset("run", job, "--yes")
    assert (ran.code, ran.run_dir.exists(), sim.calls(SET)) == (2, False, [])
    assert ran.error_lines == [
        (
            "bulkreset: mirror.to: there is no bucket no-such-bucket, so no run can be mirrored to"
            f" s3://no-such-bucket/runs/{ran.run_dir.name}/. Make the bucket, or correct mirror.to."
        )
    ]
    job.write_text(text, encoding="utf-8")
    limited = bulkreset("run", job, "--yes", "--limit", "1")
    (limited.run_dir / "report.csv").unlink()
    storage.configure(faults=[["^(GET|PUT) /nightly/runs/", 404, "NoSuchBucket", 999]])
    again = finish(bulkreset.start("resume", limited.run_dir), limited.run_dir)
    assert (again.code, len(sim.calls(SET)), again.summary["state"]) == (3, 1, "stopped")
    assert "cannot be written: s3:GetObject failed with NoSuchBucket" in again.error_lines[0]
    assert again.stderr.splitlines()[-1] == f"Resume with: bulkreset resume {limited.run_dir}"
    assert sorted(again.column("status")) == ["set", "unprocessed", "unprocessed"]
    facts = Journal.state_in(limited.run_dir / "journal.sqlite")
    assert [(one.end.state, one.end.exit_code) for one in facts.executions if one.end] == [
        ("row_limit", 5),
        ("stopped", 3),
    ]


def test_failed_upload_of_the_end_is_reported_everywhere_and_fixed_by_resume(
    bulkreset: Command, sim: Simulator, storage: Storage
) -> None:
    job = mirrored(bulkreset, sim, storage, 3)
    storage.configure(faults=[["^PUT .*report", 403, "AccessDenied", 99]])
    ran = bulkreset("run", job, "--yes")
    with contextlib.closing(Journal.open(ran.run_dir / "journal.sqlite", read_only=True)) as journal:
        facts = journal.state
    assert [ran.code, *(ran.summary[key] for key in ("exit_code", "state", "resumable"))] == [3, 3, "stopped", True]
    assert facts.end
    assert facts.stopped_by
    assert (facts.end.exit_code, facts.state) == (3, "stopped")
    assert asdict(facts.stopped_by) == ran.summary["stopped_by"]
    assert facts.stopped_by.message in ran.error_lines[0]
    assert ran.stderr.splitlines()[-1] == f"Resume with: bulkreset resume {ran.run_dir}"
    assert read_status(ran.run_dir).resumable
    assert ran.column("status") == ["set"] * 3
    assert [line["exit_code"] for line in ran.log if line["event"] == "run_finished"] == [3]
    storage.configure(faults=[])
    again = finish(bulkreset.start("resume", ran.run_dir), ran.run_dir)
    assert [again.code, *(again.summary[key] for key in ("exit_code", "state", "resumable"))] == [
        0,
        0,
        "finished",
        False,
    ]
    assert (len(sim.calls(SET)), again.error_lines) == (3, [])
    assert f"runs/{ran.run_dir.name}/report.csv" in storage.keys("runs/")


def test_resume_repairs_a_death_while_the_end_is_uploaded(bulkreset: Command, sim: Simulator, storage: Storage) -> None:
    """The end is in the journal, but not yet in the mirror."""
    job = mirrored(bulkreset, sim, storage, 3)
    ran = bulkreset("run", job, "--yes")
    assert not read_status(ran.run_dir).resumable
    assert f"runs/{ran.run_dir.name}/log.jsonl" in storage.keys("runs/")
    with contextlib.closing(Journal.open(ran.run_dir / "journal.sqlite")) as journal:
        assert not journal.state.mirror_pending
        journal.write.change(mirror_pending=True)
    report = f"runs/{ran.run_dir.name}/report.csv"
    storage.client.delete_object(Bucket=BUCKET, Key=report)
    status = read_status(ran.run_dir)
    assert (status.state, status.resumable) == ("finished", True)
    again = finish(bulkreset.start("resume", ran.run_dir), ran.run_dir)
    assert (again.code, len(sim.calls(SET)), report in storage.keys("runs/")) == (0, 3, True)
    assert not read_status(ran.run_dir).resumable


def test_missing_mirror_can_be_given_up(bulkreset: Command, sim: Simulator, storage: Storage) -> None:
    job = mirrored(bulkreset, sim, storage, 3)
    limited = bulkreset("run", job, "--yes", "--limit", "1")
    at = f"runs/{limited.run_dir.name}/lease.json"
    storage.put(at, json.dumps({"holder": "x", "host": "y", "seconds": 60, "until": time.time() + 3600}).encode())
    held = finish(bulkreset.start("resume", limited.run_dir, "--mirror", "none"), limited.run_dir)
    assert (held.code, "is held by another process, on y" in held.error_lines[0]) == (4, True)
    storage.client.delete_object(Bucket=BUCKET, Key=at)
    storage.configure(faults=[["^(GET|PUT) /nightly/runs/", 404, "NoSuchBucket", 999]])
    refused = finish(bulkreset.start("resume", limited.run_dir), limited.run_dir)
    advice = f"If the mirror is permanently gone: bulkreset resume {limited.run_dir} --mirror none."
    assert (refused.code, advice in refused.error_lines[0]) == (3, True)
    wrong = finish(bulkreset.start("resume", limited.run_dir, "--mirror", "s3://x/"), limited.run_dir)
    assert (wrong.code, "--mirror 's3://x/' is not possible" in wrong.error_lines[0]) == (2, True)
    left = finish(bulkreset.start("resume", limited.run_dir, "--mirror", "none"), limited.run_dir)
    assert (left.code, left.summary["state"], len(sim.calls(SET))) == (0, "finished", 3)
    again = finish(bulkreset.start("resume", limited.run_dir), limited.run_dir)
    assert (again.code, len(sim.calls(SET))) == (0, 3)


def test_dry_run_uploads_nothing_unless_the_job_says_so(bulkreset: Command, sim: Simulator, storage: Storage) -> None:
    job = mirrored(bulkreset, sim, storage, 3)
    before = storage.keys()
    storage.configure()
    puts = len(storage.requests("PUT"))
    ran = bulkreset("run", job, "--dry-run")
    assert (ran.code, storage.keys(), len(storage.requests("PUT"))) == (0, before, puts)
    assert not [request for request in storage.requests() if request.startswith(("POST", "DELETE"))]
    job.write_text(
        job.read_text(encoding="utf-8").replace("[mirror]\n", "[mirror]\ndry_run = true\n"), encoding="utf-8"
    )
    ran = bulkreset("run", job, "--dry-run")
    assert (ran.code, f"runs/{ran.run_dir.name}/report.csv" in storage.keys("runs/")) == (0, True)
    assert sim.calls(SET) == []


def test_new_run_whose_mirror_another_process_holds_leaves_nothing(
    bulkreset: Command, sim: Simulator, storage: Storage
) -> None:
    job = mirrored(bulkreset, sim, storage, 3)
    held = {"holder": "x", "host": "y", "seconds": 60, "until": time.time() + 3600}
    storage.put("runs/run/lease.json", json.dumps(held).encode())
    ran = finish(bulkreset.start("run", job, "--yes", "--run-dir", bulkreset.home / "run"), bulkreset.home / "run")
    assert (ran.code, ran.run_dir.exists(), sim.calls(SET)) == (4, False, [])


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_s3_without_conditional_writes_is_refused_by_name(
    bulkreset: Command, sim: Simulator, storage: Storage, header: str
) -> None:
    job = mirrored(bulkreset, sim, storage, 3)
    limited = bulkreset("run", job, "--yes", "--limit", "1")
    storage.configure(ignored=[header])
    try:
        ran = bulkreset("run", job, "--yes")
        assert (ran.code, ran.run_dir.exists(), len(sim.calls(SET))) == (2, False, 1)
        assert f"S3 at {storage.url} ignores {header}, so two processes could hold " in ran.error_lines[0]
        again = finish(bulkreset.start("resume", limited.run_dir), limited.run_dir)
        assert (again.code, f"ignores {header}" in again.error_lines[0], len(sim.calls(SET))) == (2, True, 1)
        left = finish(bulkreset.start("resume", limited.run_dir, "--mirror", "none"), limited.run_dir)
        assert (left.code, len(sim.calls(SET))) == (0, 3)
    finally:
        storage.configure(ignored=[])


def test_copy_of_a_live_run_is_not_resumed_beside_it(bulkreset: Command, sim: Simulator, storage: Storage) -> None:
    job = mirrored(bulkreset, sim, storage, 30)
    job.write_text(job.read_text(encoding="utf-8").partition("[mirror]")[0], encoding="utf-8")
    live, copy = bulkreset.home / "live", bulkreset.home / "copy"
    hold(sim, 5)
    with bulkreset.start("run", job, "--yes", "--run-dir", live) as process:
        sent(sim, 5)
        shutil.copytree(live, copy)
        refused = finish(bulkreset.start("resume", copy), copy)
        let_go(sim)
        ended = finish(process, live)
    assert refused.code == 4
    assert f"{copy} is a copy of a run that may still be sending on" in refused.error_lines[0]
    assert (ended.code, len(sim.calls(SET))) == (0, 30)
    assert not (live / ".holder.json").exists()


@pytest.mark.soak
def test_lost_lease_stops_the_run_and_a_mirror_that_cannot_be_written_does(
    bulkreset: Command, sim: Simulator, storage: Storage
) -> None:
    """The lease is renewed every five seconds, so that its loss is noticed."""
    job = mirrored(bulkreset, sim, storage, 600, lease=20)
    hold(sim, 10)
    argv, run_dir = bulkreset.with_run_dir(("run", job, "--yes", "--no-progress"))
    with bulkreset.start(*argv) as process:
        sent(sim, 10)
        storage.put(f"runs/{run_dir.name}/lease.json", b'{"holder": "x", "host": "y", "seconds": 60, "until": 9e9}')
        asked = f"GET /{BUCKET}/runs/{run_dir.name}/lease.json"  # reads the owner, after the renewal was refused
        before = storage.requests("GET").count(asked)
        wait_until(lambda: storage.requests("GET").count(asked) > before)
        let_go(sim)
        ran = finish(process, run_dir)
    assert (ran.code, ran.summary["state"]) == (4, "stopped")
    assert "is lost: another process has taken it" in ran.error_lines[0]
    made = len(sim.calls(SET))
    assert made < 600
    storage.client.delete_object(Bucket=BUCKET, Key=f"runs/{run_dir.name}/lease.json")
    storage.configure(faults=[["^PUT /nightly/runs/.*delta", 403, "AccessDenied", 999]])
    ran = finish(bulkreset.start("resume", run_dir, "--no-progress"), run_dir)
    assert (ran.code, len(sim.calls(SET))) == (3, made)
    assert (
        "The mirror s3://nightly/runs/run-1/ cannot be written: s3:PutObject failed with AccessDenied."
        in ran.error_lines[0]
    )
    storage.configure(faults=[["^PUT /nightly/runs/.*delta", 503, "SlowDown", 3]])
    ran = finish(bulkreset.start("resume", run_dir, "--no-progress"), run_dir)
    assert (ran.code, sim.passwords(POOL)) == (0, dict(people(600)))
    storage.configure(faults=[["^(GET|PUT) /nightly/runs/", 404, "NoSuchBucket", 99]])
    ran = finish(bulkreset.start("resume", run_dir, "--no-progress"), run_dir)
    assert (ran.code, ran.summary["state"]) == (3, "finished")


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(8))
def test_run_killed_at_random_continues_on_another_machine_each_time(
    bulkreset: Command, sim: Simulator, storage: Storage, seed: int
) -> None:
    chance = random.Random(seed)
    storage.configure(latency=chance.choice([0.0, 0.03, 0.1]))
    job = mirrored(bulkreset, sim, storage, 400, more="" if seed % 2 else "workers = 4")
    sim.configure(latency=0.03, jitter=0.5)
    settled: set[str] = set()
    claimed: set[str] = set()
    known = 0
    argv: tuple[str | Path, ...] = ("run", job, "--yes", "--run-dir", bulkreset.home / "run")
    for number in range(5):
        killed_after(bulkreset, sim, argv, calls=chance.randrange(0, 90), after=chance.random())
        calls = [call.username for call in sim.calls(SET)]
        assert not settled & set(calls[known:])
        known = len(calls)
        if any("-base-" in key for key in storage.keys("runs/run/g")):
            now, open_ = settled_in(storage, "runs/run/")
            assert settled <= now
            settled, claimed = now, claimed | open_
            assert set(calls) <= settled | claimed
            argv = ("resume", f"{TO}run", "--run-dir", bulkreset.home / f"m{number}")
        elif (bulkreset.home / "run").exists():
            argv = ("resume", bulkreset.home / "run")
        end_old_lease(storage)
    ran = (
        resume_elsewhere(bulkreset, "last")
        if argv[1] == f"{TO}run"
        else finish(bulkreset.start(*argv), bulkreset.home / "run")
    )
    assert ran.code == 0
    calls = [call.username for call in sim.calls(SET)]
    assert not settled & set(calls[known:])
    assert {user for user in calls if calls.count(user) > 1} <= claimed
    assert [row["row"] for row in ran.report] == [str(row) for row in range(1, 401)]
    assert {row["username"] for row in ran.report if row["in_doubt"] == "true"} <= claimed
    with contextlib.closing(sqlite3.connect(ran.run_dir / "journal.sqlite")) as journal:
        assert journal.execute("SELECT DISTINCT status FROM rows").fetchall() == [("set",)]
