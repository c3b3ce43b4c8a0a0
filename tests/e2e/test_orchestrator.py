"""The Python interface, for a program that plans, applies, stops and resumes without a command line."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from bulkreset import apply, load
from bulkreset.errors import Refused
from tests.e2e.api_program import NAMES, PASSWORD
from tests.e2e.command import LAX, POOL, ROOT, SET, Command
from tests.sim import Simulator


def test_program_plans_applies_stops_and_resumes_in_silence(bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool(POOL, NAMES, LAX)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.e2e.api_program", str(bulkreset.home), sim.url],
        cwd=ROOT,
        env=bulkreset.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    assert not ran.stderr
    assert sim.passwords(POOL) == dict.fromkeys(NAMES, PASSWORD)
    # Three runs of all users, one that its caller stopped, and one of two rows; no finished row is sent twice.
    assert 3 * 30 + 2 < len(sim.calls(SET)) < 4 * 30 + 2


def test_script_that_a_worker_loads_runs_nothing(
    bulkreset: Command, sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The name of the main module while multiprocessing imports the parent's script.
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    target = {"user_pool_id": POOL, "region": "us-east-1", "endpoint_url": sim.url}
    job = load({"input": {"path": str(bulkreset.home / "users.csv")}, "targets": [target]})
    with pytest.raises(Refused, match="still loading its script"):
        apply(job, run_dir=tmp_path / "run", confirm=True)
    assert not (tmp_path / "run").exists()
