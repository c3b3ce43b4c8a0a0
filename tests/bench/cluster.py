"""Lanes on Dask's own processes over TLS: rate, fairness, and the processor time of each kind of process."""

import csv
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from sqlite3 import connect
from typing import Final

from tests.cluster.dask_processes import PATIENCE, ClusterCommand, DaskProcesses
from tests.e2e.command import LAX, REGION
from tests.sim import Simulator

RATE: Final = 30
LANES: Final = 64
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PRELOAD: Final = Path(__file__).with_name("waiting.py")


def cpu_of(pid: int) -> float:
    """Return the processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def write_job(sim: Simulator, folder: Path, lanes: int, rows: int) -> dict[str, str | None]:
    """Write a job with an account for each lane, and interleaved rows; return the environment with the profiles."""
    accounts = [f"{number:012d}" for number in range(1, lanes + 1)]
    sim.configure(accounts={f"AKID{account}": account for account in accounts})
    pools = {account: f"{REGION}_Lane{account[-5:]}" for account in accounts}
    for account, pool in pools.items():
        sim.add_pool(pool, policy=LAX, auto_users=True, account=account)
    keys = "[profile p{0}]\naws_access_key_id = AKID{0}\naws_secret_access_key = simulated\n"
    (folder / "aws").write_text("".join(keys.format(account) for account in accounts))
    with (folder / "users.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("username", "password", "user_pool_id"))
        writer.writerows((f"u{row:06d}", f"Quiet-Pw.{row:07d}", pool) for row in range(rows) for pool in pools.values())
    target = '[[targets]]\nuser_pool_id = "{1}"\nregion = "{2}"\nprofile = "p{0}"\nendpoint_url = "{3}"\n'
    targets = "".join(target.format(account, pool, REGION, sim.url) for account, pool in pools.items())
    (folder / "job.toml").write_text(f'[input]\npath = "users.csv"\n[plan]\ncheck_users = false\n{targets}')
    return {"AWS_CONFIG_FILE": str(folder / "aws"), "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


def one(say: Callable[..., None], workers: int, rate: str, lanes: int, rows: int, wait: float) -> None:
    """Make one run with so many workers."""
    with Simulator() as sim, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = write_job(sim, folder, lanes, rows)
        with DaskProcesses(folder / "cluster", sim, workers=0) as dask_processes:
            preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str(_PRELOAD), "BENCH_WAIT": str(wait)}
            hands = [dask_processes.join(preload | {"PYTHONPATH": str(Path.cwd())}) for _ in range(workers)]
            dask_processes.joined(workers)
            bulkreset = ClusterCommand(folder, sim, dask_processes.url, dask_processes.environment)
            argv = ("run", folder / "job.toml", "--yes", "--no-progress", "--rate", rate, "--run-dir", folder / "run")
            with bulkreset.start(*argv, env=env) as process:
                while process.poll() is None and not _is_sending(folder / "run"):
                    time.sleep(0.05)  # reads the run, which is another process
                before = after = _figures(process, dask_processes, hands)
                while process.poll() is None:
                    after = _figures(process, dask_processes, hands) or after
                    time.sleep(0.1)  # often enough for the figures, and seldom enough to cost nothing
                if process.returncode:
                    raise RuntimeError((process.communicate(timeout=PATIENCE)[1] or "")[-600:])
        summary = json.loads((folder / "run" / "summary.json").read_text())
        spent = [(then - now) / (lanes * rows) * 1000 for now, then in zip(before, after, strict=True)]
        shares = _shares(folder / "run", rate)
        say(
            f"{lanes} lanes, {rate}, {workers} workers",
            rows_per_second=summary["rows_per_second"],
            slowest=shares,
            cpu_per_1000_coordinator=round(spent[0], 2),
            scheduler=round(spent[1], 2),
            workers=round(spent[2], 2),
            load=os.getloadavg()[0],
        )


def _figures(
    process: "subprocess.Popen[str]", dask_processes: DaskProcesses, hands: "list[subprocess.Popen[bytes]]"
) -> list[float]:
    try:
        return [cpu_of(process.pid), cpu_of(dask_processes.scheduler.pid), sum(cpu_of(hand.pid) for hand in hands)]
    except (OSError, ValueError, IndexError):
        return []


def _is_sending(run_dir: Path) -> bool:
    log = run_dir / "log.jsonl"
    return log.exists() and "sending_started" in log.read_text()


def _shares(run_dir: Path, rate: str) -> str:
    """Return the slowest lane's rows per second while it sends, as a share of its rate."""
    if rate == "none":
        return "-"
    with closing(connect(run_dir / "journal.sqlite")) as journal:
        lanes = journal.execute(
            "SELECT (count(*) - 1) * 1000.0 / (max(started_at) - min(started_at)) FROM rows GROUP BY pool"
        ).fetchall()
    return f"{min(found for (found,) in lanes) / float(rate):.1%}"


def bench_cluster(say: Callable[..., None]) -> None:
    """Measure 64 lanes of 30/s with 1, 2 and 4 workers; then one coordinator's maximum, with instant calls."""
    for workers in (1, 2, 4):
        one(say, workers, str(RATE), LANES, 450, 0.06)
    for workers in (1, 2):
        one(say, workers, "none", 8, 5000, 0.0)
