"""One simulator for the whole session, and an environment that reaches nothing else."""

import os
from collections.abc import Iterator

import pytest

from tests.sim.handle import ACCESS_KEY, SIGNING_KEY, Simulator

POOL = "us-east-1_Simulated"


@pytest.fixture(scope="session")
def running() -> Iterator[Simulator]:
    """Run one simulator: a process is slow to start."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    """Give a simulator with one pool and two users."""
    running.reset()
    running.add_pool(POOL, ["ann", "bob"])
    return running


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No AWS configuration of the machine's reaches a test."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "http_", "https_", "HTTP_", "HTTPS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SIGNING_KEY)
