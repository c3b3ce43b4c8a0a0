"""Set-up of a benchmark: a simulator that accepts everything, inputs of any size, and timed commands."""

import contextlib
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.e2e.command import LAX, POOL, REGION
from tests.sim import Simulator


def say(name: str, **figures: object) -> None:
    """Print one line of figures."""
    sys.stdout.write(f"{name:<36}" + "  ".join(f"{key} {value}" for key, value in figures.items()) + "\n")
    sys.stdout.flush()


def users(path: Path, rows: int) -> Path:
    """Write an input of so many users, with e-mail-like names and 16-character passwords."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("username", "password"))
        writer.writerows((f"user{row:07d}@example.com", f"Quiet-Pw.{row:07d}") for row in range(rows))
    return path


def measured(sim: Simulator, *args: object, **environ: str | None) -> tuple[float, float, int]:
    """Run Python with these arguments, as `timed` does."""
    return timed(sim, [sys.executable, *args], **environ)


def timed(
    sim: Simulator, command: Sequence[object], ends: int = 0, /, **environ: str | None
) -> tuple[float, float, int]:
    """Run a command; return its seconds, its CPU seconds, its peak memory in MB. A variable that is None is not set.

    Raises RuntimeError if it does not end with the exit code `ends`.
    """
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **sim.environment()}
    environment |= {"AWS_ENDPOINT_URL_STS": sim.url, "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": REGION}
    environment = {name: value for name, value in (environment | environ).items() if value is not None}
    began = time.monotonic()
    peak = 0
    # The peak is read while it runs, because wait4 never returns less than this process's own at the start.
    nobody = subprocess.DEVNULL
    with subprocess.Popen([str(word) for word in command], env=environment, stdout=nobody, stderr=nobody) as process:
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.02)  # reads the command, which is another process
        took = time.monotonic() - began
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != ends:
        message = f"{command} ended with {process.returncode}"
        raise RuntimeError(message)
    return took, usage.ru_utime + usage.ru_stime, peak


def peak_of(pid: int) -> int:
    """Return a process's peak resident memory in MB since its start, as the system counts it."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    return 0


def run(source: Path, sim: Simulator, run_dir: Path, *args: object) -> tuple[object, ...]:
    """Return the command line of a run of ours against the simulator."""
    where = ("--user-pool-id", POOL, "--region", REGION, "--endpoint-url", sim.url, "--run-dir", run_dir)
    # The pool has every user that is asked for, and lists none; the check has its own benchmark.
    return (
        "-m",
        "bulkreset.cli.main",
        "run",
        "--input",
        source,
        *where,
        "--no-check-users",
        "--yes",
        "--no-progress",
        *args,
    )


@contextlib.contextmanager
def stage(**config: object) -> Iterator[tuple[Simulator, Path]]:
    """Make a simulator whose pool accepts everything, and a folder."""
    with Simulator() as sim, tempfile.TemporaryDirectory() as folder:
        sim.configure(**config)
        sim.add_pool(POOL, policy=LAX, auto_users=True)
        yield sim, Path(folder)


def unpaced(source: Path, sim: Simulator, run_dir: Path, transport: str) -> tuple[object, ...]:
    """Return the command line of an unpaced run through one transport, which only a job file can select."""
    job = source.with_name(f"{transport}.toml")
    job.write_text(
        f'permanent = true\n[input]\npath = "{source}"\n[pace]\nrate = "none"\ntransport = "{transport}"\n'
        f'[[targets]]\nuser_pool_id = "{POOL}"\nregion = "{REGION}"\nendpoint_url = "{sim.url}"\n',
        encoding="utf-8",
    )
    return ("-m", "bulkreset.cli.main", "run", job, "--run-dir", run_dir, "--no-check-users", "--yes", "--no-progress")
