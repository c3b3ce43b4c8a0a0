"""Whole runs through either transport agree with what the simulator received."""

from pathlib import Path

import pytest

from tests.e2e.command import POOL, SET, Command, assert_they_agree, people, seed, write_csv, write_job
from tests.sim import Simulator
from tests.sim.handle import ACCESS_KEY, SIGNING_KEY

pytestmark = pytest.mark.fresh
TRANSPORTS = ["boto3", "crt"]


def _job(tmp_path: Path, sim: Simulator, transport: str, rate: str = '"none"') -> Path:
    return write_job(
        tmp_path, sim.url, 'path = "in.csv"', f'[pace]\nrate = {rate}\ntransport = "{transport}"\nmax_wait = 0.2\n'
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_run_through_every_kind_of_answer(transport: str, tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    rows = people(300)
    write_csv(tmp_path / "in.csv", [*rows, ("nobody", "Quiet-Garden.0")])
    seed(sim, [name for name, _ in rows], history=3)
    steps = {
        "user.001": [{"throttle": 2}],
        "user.002": [{"cut": "after"}],
        "user.003": [{"cut": "before"}],
        "user.004": [{"garbage": True, "apply": True}],
        "user.005": [{"http": 503}, {"error": "InternalErrorException"}],
        "user.006": [{"hang": 3.0, "apply": True}],  # longer than the job's read_timeout
    }
    sim.configure(faults={"users": steps}, secret_keys={ACCESS_KEY: SIGNING_KEY})
    ran = bulkreset("run", _job(tmp_path, sim, transport), "--yes", "-vv")
    assert ran.code == 1  # nobody
    assert_they_agree(ran, sim)
    assert ran.summary["counts"] == {"set": 300, "failed": 1}
    assert {name for name, password in sim.passwords(POOL).items() if password} == {name for name, _ in rows}
    assert {row["username"] for row in ran.report if row["in_doubt"] == "true"} == {f"user.00{n}" for n in range(2, 7)}
    (started,) = (event for event in ran.log if event["event"] == "sending_started")
    assert started["transport"] == transport


@pytest.mark.parametrize(("rate", "transport"), [('"none"', "crt"), ("401", "crt"), ("24", "boto3")])
def test_transport_is_chosen_by_the_rate(
    rate: str, transport: str, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    write_csv(tmp_path / "in.csv", people(3))
    ran = bulkreset("run", _job(tmp_path, sim, "auto", rate), "--yes")
    assert (ran.code, len(sim.calls(SET))) == (0, 3)
    (started,) = (event for event in ran.log if event["event"] == "sending_started")
    assert started["transport"] == transport
