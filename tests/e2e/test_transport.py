"""Whole runs with either transport agree with the simulator's log."""

from pathlib import Path

import pytest

from tests.e2e.command import POOL, Command, assert_they_agree, people, seed, write_csv, write_job
from tests.sim import Simulator
from tests.sim.handle import ACCESS_KEY, SIGNING_KEY


@pytest.mark.parametrize("transport", ["boto3", pytest.param("crt", marks=pytest.mark.fresh)])
def test_run_through_every_kind_of_answer(transport: str, tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    rows = people(100)
    write_csv(tmp_path / "in.csv", [*rows, ("nobody", "Quiet-Garden.0")])
    seed(sim, [name for name, _ in rows], history=3)
    steps = {
        "user.001": [{"throttle": 2}],
        "user.002": [{"cut": "after"}],
        "user.003": [{"cut": "before"}],
        "user.004": [{"garbage": True, "apply": True}],
        "user.005": [{"http": 503}, {"error": "InternalErrorException"}],
        "user.006": [{"http": 504, "apply": True}],
    }
    sim.configure(faults={"users": steps}, secret_keys={ACCESS_KEY: SIGNING_KEY})
    pace = f'[pace]\nrate = "none"\ntransport = "{transport}"\nmax_wait = 0.2\n'
    ran = bulkreset("run", write_job(tmp_path, sim.url, 'path = "in.csv"', pace), "--yes", "-vv")
    assert ran.code == 1  # no row was set
    assert_they_agree(ran, sim)
    assert ran.summary["counts"] == {"set": 100, "failed": 1}
    assert {name for name, password in sim.passwords(POOL).items() if password} == {name for name, _ in rows}
    assert {row["username"] for row in ran.report if row["in_doubt"] == "true"} == {f"user.00{n}" for n in range(2, 7)}
    (started,) = (event for event in ran.log if event["event"] == "sending_started")
    assert started["transport"] == transport
