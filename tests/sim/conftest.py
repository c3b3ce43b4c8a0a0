"""Fixtures of the simulator's own tests: one process for all, reset for each."""

from collections.abc import Iterator

import pytest

from tests.sim import Simulator
from tests.sim.clients import POOL


@pytest.fixture(scope="session", autouse=True)
def _no_metadata() -> Iterator[None]:
    """Keep boto3 from asking the network for credentials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    """Return a simulator with one pool and two users, ann and bob."""
    running.reset()
    running.add_pool(POOL, ["ann", "bob"])
    return running
