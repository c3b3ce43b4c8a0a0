"""List a pool at the pace of its quota with pages of any duration: users per second, compared with the pace."""

import os
import tempfile
from pathlib import Path
from typing import Final

from tests.bench.bench_setup import measured, say, users
from tests.e2e.command import POOL, REGION
from tests.sim import Simulator

USERS: Final = int(os.environ.get("LISTING_USERS", "100000"))
ANSWERS: Final = (0.02, 0.06, 0.2, 0.4)  # seconds
PACE: Final = 24  # pages per second: 80 % of the quota
PAGE: Final = 60


def bench_listing() -> None:
    """Measure a dry run that lists the pool, per answer time; a million users (LISTING_USERS) take 12 minutes each."""
    for seconds in ANSWERS:
        with Simulator() as sim, tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            sim.configure(keep_calls=False, latency=seconds, jitter=0.3)
            sim.configure(pools={POOL: {"generate": {"count": USERS, "suffix": "@example.com"}}})
            source = users(folder / "users.csv", USERS // 10)
            where = ("--user-pool-id", POOL, "--region", REGION, "--endpoint-url", sim.url, "--run-dir", folder / "run")
            command = ("-m", "bulkreset.cli.main", "run", "--input", source, *where, "--dry-run", "--no-progress")
            took, cpu, memory = measured(sim, *command)
            pages = sim.stats().operations["ListUsers"]["ok"]
            say(
                f"list {USERS:,} users, {seconds * 1000:.0f} ms a page",
                share_of_pace=f"{USERS / PAGE / PACE / took:.1%}",
                pages=pages,
                cpu_ms_per_page=round(cpu / pages * 1000, 1),
                peak_mb=memory,
            )
