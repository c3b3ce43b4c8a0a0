"""A process that sleeps while another one takes over its run sends nothing when it wakes."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkreset.send.pacer import LATEST_SLOTS, OPENING_SECONDS
from tests.bucket import BUCKET, Storage
from tests.crash.test_resume import sent
from tests.e2e.campaigns import make_key, names, write_campaign, write_names
from tests.e2e.command import POOL, SET, Command, finish, people, seed, write_csv, write_job
from tests.sim import Simulator

WAKES = int(os.environ.get("WAKES", "3"))  # of each kind of run
LEASE = 2  # seconds, the shortest lease that a job may have
ROWS = 3000
MIRROR = f'[mirror]\nto = "s3://{BUCKET}/runs/"\nlease = {LEASE}\n'
FAST = "[pace]\nrate = 200\nworkers = 24\n"


def job_of(kind: str, bulkreset: Command) -> Path:
    """Write a job of so many rows with a mirror; its passwords are given or generated."""
    more = MIRROR + FAST
    if kind == "given":
        source = write_csv(bulkreset.home / "in.csv", people(ROWS))
        return write_job(bulkreset.home, bulkreset.sim.url, f'path = "{source}"', more)
    return write_campaign(
        bulkreset, write_names(bulkreset.home, names(ROWS)), make_key(bulkreset.home), permanent=True, more=more
    )


@contextlib.contextmanager
def suspended(group: int) -> Iterator[None]:
    """Stop every process of the run inside the block, as if the machine slept."""
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("round_", range(WAKES))
@pytest.mark.parametrize("passwords", ["given", "generated"])
@pytest.mark.parametrize("where", ["threads", "crt", "cluster"])
def test_process_that_slept_while_its_lease_was_taken_sends_nothing_when_it_wakes(
    bulkreset: Command, sim: Simulator, storage: Storage, where: str, passwords: str, round_: int
) -> None:
    """It sleeps for three leases. Workers on other machines stop by themselves."""
    everybody = [name for name, _ in people(ROWS)] if passwords == "given" else names(ROWS)
    seed(sim, everybody)
    sim.configure(latency=0.08, jitter=0.5)
    job = job_of(passwords, bulkreset)
    if where == "crt":
        job.write_text(job.read_text().replace("[pace]\n", '[pace]\ntransport = "crt"\n'))
    run_dir = bulkreset.home / "run"
    more = ["--cluster", "local:2"] if where == "cluster" else []
    with bulkreset.start("run", job, "--yes", "--no-progress", "--run-dir", run_dir, *more) as process:
        sent(sim, 100 + 37 * round_ % 2000)
        with suspended(process.pid):
            time.sleep(LEASE)  # calls that had left arrive
            taken = {"holder": "x", "host": "y", "token": "z", "seconds": 60, "until": time.time() + 60}
            storage.put("runs/run/lease.json", json.dumps(taken).encode())
            time.sleep(2 * LEASE)
            before = len(sim.calls(SET))
            woken = time.monotonic()
        ran = finish(process, run_dir)
    assert [round(call.time - woken, 4) for call in sim.calls(SET)[before:]] == []  # seconds after it woke
    assert before < ROWS
    assert (ran.code, ran.summary["state"]) == (4, "stopped")
    calls = {call.username for call in sim.calls(SET)}
    reported = {
        status: {row["username"] for row in ran.report if row["status"] == status} for status in ("set", "in_doubt")
    }
    assert reported["set"] <= calls <= reported["set"] | reported["in_doubt"]
    if where != "cluster":  # a worker that is lost before it can say what it has sent leaves more rows in doubt
        assert reported["in_doubt"] <= calls
    assert {name for name, known in sim.passwords(POOL).items() if known} <= calls


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_run_that_slept_through_its_time_limit_sends_nothing_when_it_wakes(
    bulkreset: Command, sim: Simulator, where: str
) -> None:
    seed(sim, [name for name, _ in people(ROWS)])
    sim.configure(latency=0.08, jitter=0.5)
    source = write_csv(bulkreset.home / "in.csv", people(ROWS))
    job = write_job(bulkreset.home, sim.url, f'path = "{source}"', FAST)
    run_dir = bulkreset.home / "run"
    more = ["--cluster", "local:2"] if where == "cluster" else []
    argv: tuple[str | Path, ...] = (
        "run",
        job,
        "--yes",
        "--no-progress",
        "--max-duration",
        "12s",
        "--run-dir",
        run_dir,
        *more,
    )
    with bulkreset.start(*argv) as process:
        sent(sim, 100)
        with suspended(process.pid):
            time.sleep(15)
            before = len(sim.calls(SET))
        ran = finish(process, run_dir)
    assert len(sim.calls(SET)) == before
    assert (ran.code, ran.summary["state"]) == (5, "time_limit")


# Each call takes a while between its slot and its departure, and records the time of both.
NOTING = """
import functools, threading, time
from bulkreset import send_permit
require = send_permit.Departure.require
noted = open({!r}, "a", buffering=1)
def noting(self, *, connected):
    if threading.current_thread().name.startswith("worker"):
        time.sleep(0.1)
    outcome = "withheld"
    try:
        require(self, connected=connected)
        outcome = "left"
    finally:
        slot = self.is_late.args[0] if isinstance(self.is_late, functools.partial) else None
        noted.write(f"{{outcome}} {{time.monotonic()}} {{slot}}\\n")
send_permit.Departure.require = noting
"""
RATE = 30


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("transport", ["boto3", "crt"])
def test_resumed_run_keeps_its_rate(
    bulkreset: Command, sim: Simulator, transport: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calls that had their slots when the process was stopped take new ones. Some connections break, too."""
    seed(sim, [name for name, _ in people(900)])
    lost = {"p": 0.02, "step": {"cut": "before"}, "operation": SET}
    sim.configure(latency=0.05, jitter=0.5, faults={"random": {"seed": 1, "rules": [lost]}})
    source = write_csv(bulkreset.home / "in.csv", people(900))
    pace = f'[pace]\nrate = {RATE}\ntransport = "{transport}"\nmax_wait = 0.5\nworkers = 16\n'
    job = write_job(bulkreset.home, sim.url, f'path = "{source}"', pace)
    notes = bulkreset.home / "departures"
    argv: tuple[str | Path, ...] = ("run", job, "--yes", "--no-progress", "--run-dir", bulkreset.home / "run")
    with bulkreset.start(*argv, first=NOTING.format(str(notes))) as process:
        for stop in range(4):
            sent(sim, 90 + 150 * stop)
            with suspended(process.pid):
                time.sleep(3 + stop)
        ran = finish(process, bulkreset.home / "run")
    assert ran.code == 0
    lines = [line.split() for line in notes.read_text(encoding="utf-8").splitlines()]
    left = [(float(at), float(slot)) for outcome, at, slot in lines if outcome == "left" and slot != "None"]
    assert len(left) >= 900
    assert max(at - slot for at, slot in left) <= 2 * OPENING_SECONDS + LATEST_SLOTS / RATE
    withheld = sum(outcome == "withheld" for outcome, *_ in lines)
    times = [call.time for call in sim.calls(SET)]
    most = max(sum(at <= other < at + 1 for other in times) for at in times)
    with capsys.disabled():
        print(f"\n{transport}: {len(times)} calls, {withheld} withheld, at most {most} in a second at rate {RATE}")  # noqa: T201
