"""The fixtures of the end-to-end tests, and one TLS cluster for tests that do not change it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.dask_processes import ClusterCommand, DaskProcesses
from tests.e2e.conftest import sim
from tests.sim import Simulator

__all__ = ["sim"]


@pytest.fixture(scope="session")
def dask_processes(tmp_path_factory: pytest.TempPathFactory, running: Simulator) -> Iterator[DaskProcesses]:
    with DaskProcesses(tmp_path_factory.mktemp("dask_processes"), running, workers=1) as cluster:
        cluster.joined(1)
        yield cluster


@pytest.fixture
def bulkreset(tmp_path: Path, sim: Simulator, dask_processes: DaskProcesses) -> ClusterCommand:
    return ClusterCommand(tmp_path, sim, dask_processes.url, dask_processes.environment)
