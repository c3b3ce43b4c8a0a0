"""The fixtures of the end-to-end tests, and one TLS cluster for tests that do not change it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.dasked import ClusterCommand, Dasked
from tests.e2e.conftest import sim
from tests.sim import Simulator

__all__ = ["sim"]


@pytest.fixture(scope="session")
def dasked(tmp_path_factory: pytest.TempPathFactory, running: Simulator) -> Iterator[Dasked]:
    with Dasked(tmp_path_factory.mktemp("dasked"), running, workers=1) as cluster:
        cluster.joined(1)
        yield cluster


@pytest.fixture
def bulkreset(tmp_path: Path, sim: Simulator, dasked: Dasked) -> ClusterCommand:
    return ClusterCommand(tmp_path, sim, dasked.url, dasked.environment)
