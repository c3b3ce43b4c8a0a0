"""`python -m tests.bench [NAME …]`: figures, one line each; without a name, all of BENCHES in turn."""

import contextlib
import csv
import itertools
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow.csv
import pyarrow.parquet

from tests.bench.answers import bench_answers
from tests.bench.bench_setup import measured, run, say, stage, timed, unpaced, users
from tests.bench.callers import CALLERS, Missing
from tests.bench.cluster import bench_cluster
from tests.bench.listing import bench_listing
from tests.bench.scale import bench_scale
from tests.bench.yielding import bench_yielding
from tests.e2e.command import LAX, POOL, REGION, SET
from tests.sim import Simulator

MILLION: Final = 1_000_000
TURNS: Final = 5
FAST_ROWS: Final = 20_000
LANES: Final = 40
LANE_RATE: Final = 30
LANE_ROWS: Final = 900


def bench_plan() -> None:
    """Measure a dry run of a million rows with its report; in turn, a probe that only reads and writes as many rows."""
    with stage() as (sim, folder):
        source = users(folder / "users.csv", MILLION)
        cpus: dict[str, list[float]] = {"plan": [], "probe": []}
        for turn in range(TURNS):
            for kind, seconds in cpus.items():
                run_dir = folder / f"{kind}-{turn}"
                command: tuple[object, ...] = ("-m", "tests.bench.probe", source, run_dir)
                if kind == "plan":
                    command = run(source, sim, run_dir, "--dry-run")
                seconds.append(measured(sim, *command)[1])
                shutil.rmtree(run_dir)
        middle = {kind: statistics.median(took) for kind, took in cpus.items()}
        spread = {f"{kind}_from_to": f"{min(took):.1f}-{max(took):.1f}" for kind, took in cpus.items()}
        say("plan 1,000,000 beside the probe", times=f"{middle['plan'] / middle['probe']:.2f}", **middle, **spread)
        parquet = folder / "users.parquet"
        pyarrow.parquet.write_table(pyarrow.csv.read_csv(source), parquet)
        for name in (source, parquet):
            took, cpu, memory = measured(sim, *run(name, sim, folder / f"run-{name.suffix}", "--dry-run"))
            say(f"plan 1,000,000 {name.suffix[1:]}", seconds=round(took, 1), cpu=round(cpu, 1), peak_mb=memory)


def bench_resume() -> None:
    """Measure the time from `resume` to the first call, with 999,000 of a million rows set."""
    with stage() as (sim, folder):
        source = users(folder / "users.csv", MILLION)
        run_dir = folder / "run"
        with contextlib.suppress(RuntimeError):  # its guard stops it after the plan
            measured(sim, *run(source, sim, run_dir, "--max-rows", "1"))
        with contextlib.closing(sqlite3.connect(run_dir / "journal.sqlite", isolation_level=None)) as journal:
            journal.execute("UPDATE rows SET status = 'set', attempts = 1 WHERE row <= 999000")
            journal.execute("UPDATE meta SET value = json_set(value, '$.guards.max_rows', NULL) WHERE key = 'job'")
        began = time.monotonic()
        took, _, memory = measured(
            sim, "-m", "bulkreset.cli.main", "resume", run_dir, "--rate", "none", "--no-progress"
        )
        first = min(call.time for call in sim.calls(SET)) - began
        say("resume, 1,000 rows left", first_call_after=round(first, 2), seconds=round(took, 2), peak_mb=memory)


def bench_speed() -> None:
    """Measure unpaced runs against a fast endpoint: each transport, and a plain boto3 thread pool, in turn."""
    with stage(keep_calls=False) as (sim, folder):
        source = users(folder / "users.csv", FAST_ROWS)
        totals: dict[str, list[float]] = {}
        for turn, name in itertools.product(range(3), ("boto3", "crt", "plain")):
            run_dir = folder / f"run-{name}-{turn}"
            if name == "plain":
                # As without the extra: with it, botocore would leave the signatures to the runtime, and be a little
                # slower.
                command: tuple[object, ...] = ("-m", "tests.bench.plain_pool", source, POOL, sim.url, 16)
                if script := os.environ.get("BASELINE"):  # your own script, with these options
                    options = ("--input", source, "--user-pool-id", POOL, "--endpoint-url", sim.url, "--threads", 16)
                    command = (script, *options)
                took, cpu, memory = measured(sim, *command, BOTO_DISABLE_CRT="true")
            else:
                took, cpu, memory = measured(sim, *unpaced(source, sim, run_dir, name))
            figures = {"whole": round(FAST_ROWS / took), "cpu_per_1000": round(cpu / FAST_ROWS * 1000, 3)}
            if name != "plain":
                figures["sending"] = round(json.loads((run_dir / "summary.json").read_text())["rows_per_second"])
            say("plain boto3, 16 threads" if name == "plain" else f"bulkreset, {name}", **figures, peak_mb=memory)
            sums = totals.setdefault(name, [0.0, 0.0])
            sums[0], sums[1] = sums[0] + took, sums[1] + cpu
        for name in ("boto3", "crt"):
            faster, cheaper = (of_plain / own for of_plain, own in zip(totals["plain"], totals[name], strict=True))
            say(f"{name} beside plain boto3", rows_per_second=f"x {faster:.2f}", cpu=f"/ {cheaper:.2f}")


def bench_callers() -> None:
    """Measure all callers with the same rows, in turn, start-up included: CPU per 1,000 calls.

    ONLY selects the callers with this word in their name.
    """
    with stage(keep_calls=False) as (sim, folder):
        ours: dict[str, float] = {}
        for name in ("boto3", "crt"):
            source = users(folder / "users.csv", FAST_ROWS)
            took, cpu, memory = measured(sim, *unpaced(source, sim, folder / f"run-{name}", name))
            ours[name] = cpu / FAST_ROWS * 1000
            say(
                f"bulkreset, {name}",
                per_second=round(FAST_ROWS / took),
                cpu_per_1000=round(ours[name], 3),
                peak_mb=memory,
            )
        for name, rows, command_for in CALLERS:
            if os.environ.get("ONLY", "") not in name:
                continue
            source = users(folder / "users.csv", rows)
            try:
                command = command_for(folder, source, POOL, sim.url)
            except Missing as why:
                say(name, left_out=why)
                continue
            took, cpu, memory = timed(sim, command, BOTO_DISABLE_CRT="true", AWS_REGION=REGION)
            each = cpu / rows * 1000
            beside = {f"{own}_takes": f"/ {each / mine:.2f}" for own, mine in ours.items()}
            say(name, per_second=round(rows / took), cpu_per_1000=round(each, 3), **beside, peak_mb=memory)


def bench_pace() -> None:
    """Measure the used share of the quota, with a known and an unknown quota."""
    for quota, bucket, rate, rows in ((30, 3, 30, 900), (100, 10, 100, 2000), (50, 5, 100, 2000)):
        limits = {"rate": quota, "bucket": bucket, "operation": SET}
        with stage(latency=0.06, jitter=0.3, quota=limits) as (sim, folder):
            measured(sim, *run(users(folder / "users.csv", rows), sim, folder / "run", "--rate", rate))
            summary = json.loads((folder / "run" / "summary.json").read_text())
            say(
                f"quota {quota}/s, rate {rate}/s",
                share=f"{summary['rows_per_second'] / quota:.1%}",
                sending_seconds=summary["sending_seconds"],
                throttled=f"{summary['throttled'] / summary['attempts']:.2%}",
                most_in_a_second=sim.stats().max_per_second[SET],
            )


def bench_check() -> None:
    """Measure a dry run that looks up 100,000 users in a pool of a million, unpaced: cost of a page, and memory."""
    with Simulator() as sim, tempfile.TemporaryDirectory() as folder:
        sim.configure(keep_calls=False)
        sim.configure(pools={POOL: {"generate": {"count": MILLION, "suffix": "@example.com"}}})
        source = users(Path(folder) / "users.csv", MILLION // 10)
        where = (
            "--user-pool-id",
            POOL,
            "--region",
            REGION,
            "--endpoint-url",
            sim.url,
            "--run-dir",
            Path(folder) / "run",
        )
        quiet = ("--dry-run", "--no-progress", "--rate", "none")
        took, cpu, memory = measured(sim, "-m", "bulkreset.cli.main", "run", "--input", source, *where, *quiet)
        pages = sim.stats().operations["ListUsers"]["ok"]
        say("check, a million users", pages=pages, per_second=round(pages / took), cpu=round(cpu, 1), peak_mb=memory)


def bench_lanes(count: int = LANES, rows: int = LANE_ROWS) -> None:
    """Measure many accounts at the rate of their quota, in one process: each lane's rows per second while it sends."""
    limits = {"rate": LANE_RATE, "bucket": 3, "operation": SET}
    for order in ("interleaved", "sorted"):
        with stage(latency=0.06, jitter=0.3, quota=limits) as (sim, folder):
            accounts = [f"{number:012d}" for number in range(1, count + 1)]
            pools = {account: f"{REGION}_Lane{account[-5:]}" for account in accounts}
            sim.configure(accounts={f"AKID{account}": account for account in accounts})
            for account, pool in pools.items():
                sim.add_pool(pool, policy=LAX, auto_users=True, account=account)
            sections = (
                f"[profile p{account}]\naws_access_key_id = AKID{account}\naws_secret_access_key = simulated\n"
                for account in accounts
            )
            (folder / "aws").write_text("".join(sections))
            lines = [(f"u{row:06d}", f"Quiet-Pw.{row:07d}", pool) for pool in pools.values() for row in range(rows)]
            if order == "interleaved":
                lines.sort()
            with (folder / "users.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("username", "password", "user_pool_id"), *lines])
            targets = (
                f'[[targets]]\nuser_pool_id = "{pool}"\nregion = "{REGION}"\nprofile = "p{account}"\n'
                f'endpoint_url = "{sim.url}"\n'
                for account, pool in pools.items()
            )
            job = f'[input]\npath = "users.csv"\n{"".join(targets)}[pace]\nrate = {LANE_RATE}\n'
            (folder / "job.toml").write_text(job)
            profiles_only: dict[str, str | None] = dict.fromkeys(
                ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
            )
            profiles_only |= {"AWS_CONFIG_FILE": str(folder / "aws"), "AWS_ENDPOINT_URL_SERVICE_QUOTAS": sim.url}
            command = (
                "-m",
                "bulkreset.cli.main",
                "run",
                folder / "job.toml",
                "--no-check-users",
                "--yes",
                "--no-progress",
            )
            _, cpu, memory = measured(sim, *command, "--run-dir", folder / "run", **profiles_only)
            spans: dict[str, list[float]] = {}
            for call in sim.calls(SET):
                if call.applied:
                    spans.setdefault(call.pool, []).append(call.time)
            shares = [(len(times) - 1) / (max(times) - min(times)) / LANE_RATE for times in spans.values()]
            summary = json.loads((folder / "run" / "summary.json").read_text())
            say(
                f"{count} lanes of {LANE_RATE}/s, {order}",
                slowest=f"{min(shares):.1%}",
                mean=f"{sum(shares) / len(shares):.1%}",
                rows_per_second=summary["rows_per_second"],
                throttled=f"{summary['throttled'] / summary['attempts']:.2%}",
                cpu_per_1000=round(cpu / len(lines) * 1000, 2),
                peak_mb=memory,
            )


def bench_machinery() -> None:
    """Measure the same lanes with calls that only wait: bulkreset's own cost, without boto3 and the simulator."""
    command = [sys.executable, "-m", "tests.bench.lanes_only", str(LANES), str(LANE_ROWS)]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    shown = {"slowest": f"{figures['slowest']:.1%}", "mean": f"{figures['mean']:.1%}"}
    say(f"{LANES} lanes, calls that wait", **shown, cpu_per_1000=round(figures["cpu_per_1000"], 2))


def bench_quota() -> None:
    """Measure an unknown quota of 50/s: bulkreset with a rate of 100/s, and botocore's own retries."""
    limits = {"rate": 50, "bucket": 50, "operation": SET}
    for name in ("bulkreset", "boto3 as it is", "standard", "adaptive"):
        with stage(latency=0.05, quota=limits) as (sim, folder):
            source = users(folder / "users.csv", 2000)
            if name == "bulkreset":
                measured(sim, *run(source, sim, folder / "run", "--rate", 100))
            else:
                mode = () if name == "boto3 as it is" else (name,)
                measured(sim, "-m", "tests.bench.plain_pool", source, POOL, sim.url, 16, *mode)
            calls = sim.calls(SET)
            done = [call.time for call in calls if call.applied]
            say(
                f"quota 50/s, {name}",
                rows_set=len(done),
                share=f"{len(done) / (max(done) - min(done)) / 50:.1%}",
                throttled=f"{1 - len(done) / len(calls):.2%}",
            )


def bench_moving() -> None:
    """Measure a quota that drops from 50 to 20 for half a minute: throttled calls, and the time to recover."""
    with stage(latency=0.06, jitter=0.3, quota={"rate": 50, "bucket": 5, "operation": SET}) as (sim, folder):
        source = users(folder / "users.csv", 3600)
        command = run(source, sim, folder / "run", "--rate", 50)
        began: list[float] = []
        moves = ((15.0, 20), (45.0, 50))

        def move() -> None:
            while not sim.stats().operations.get(SET):
                time.sleep(0.05)  # reads the simulator, which is another process
            began.append(time.monotonic())
            for at, rate in moves:
                time.sleep(max(0.0, began[0] + at - time.monotonic()))  # real time is what is measured
                sim.configure(quota={"rate": rate, "bucket": rate / 10, "operation": SET})

        mover = threading.Thread(target=move)
        mover.start()
        measured(sim, *command)
        mover.join()
        calls = sim.calls(SET)
        done = [call.time for call in calls if call.applied]
        back = began[0] + moves[1][0]
        # The start of the first whole second with 45 rows.
        again = next(at for at in done if at >= back and sum(at <= other < at + 1 for other in done) >= 45)
        summary = json.loads((folder / "run" / "summary.json").read_text())
        say(
            "quota 50, 20, 50/s",
            rows_set=summary["counts"]["set"],
            throttled=f"{summary['throttled'] / summary['attempts']:.2%}",
            above_45_after=f"{again - back:.1f} s",
        )


BENCHES: Final[dict[str, Callable[[], None]]] = {
    "plan": bench_plan,
    "check": bench_check,
    "listing": bench_listing,
    "resume": bench_resume,
    "scale": bench_scale,
    "speed": bench_speed,
    "callers": bench_callers,
    "pace": bench_pace,
    "quota": bench_quota,
    "moving": bench_moving,
    "lanes": bench_lanes,
    "machinery": bench_machinery,
    "yielding": bench_yielding,
    "cluster": lambda: bench_cluster(say),
    "answers": lambda: bench_answers(say),
}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or BENCHES:
        BENCHES[wanted]()
