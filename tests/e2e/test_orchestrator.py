"""The Python interface: what a program gets that plans, applies, stops and resumes without a command line."""

import subprocess
import sys

from tests.e2e.command import LAX, POOL, ROOT, SET, Command
from tests.e2e.orchestrating import NAMES, PASSWORD
from tests.sim import Simulator


def test_program_plans_applies_stops_and_resumes_in_silence(bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool(POOL, NAMES, LAX)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.e2e.orchestrating", str(bulkreset.home), sim.url],
        cwd=ROOT,
        env=bulkreset.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert sim.passwords(POOL) == dict.fromkeys(NAMES, PASSWORD)
    # Three runs of all users, one that was broken off by its caller, and one of two rows; no settled row sent twice.
    assert 3 * 30 + 2 < len(sim.calls(SET)) < 4 * 30 + 2
