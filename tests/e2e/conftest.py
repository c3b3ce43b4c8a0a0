"""Fixtures: one simulator process per test worker, reset for each test; the command line in its own directory."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bucket import Storage
from tests.e2e.command import LAX, POOL, Command
from tests.e2e.program import Program, environment, without_aws
from tests.e2e.tls_front import Front, certify
from tests.sim import Simulator
from tests.waiting import let_questions_end


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    """A simulator with one pool that knows every user and accepts every password."""
    running.reset()
    running.add_pool(POOL, policy=LAX, auto_users=True)
    return running


@pytest.fixture
def bulkreset(tmp_path: Path, sim: Simulator, request: pytest.FixtureRequest) -> Command:
    return Command(tmp_path, sim, fresh=request.node.get_closest_marker("fresh") is not None)


@pytest.fixture
def program(bulkreset: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """The Python interface in the test's own process, with the directory and environment of the command line."""
    for name in without_aws():
        monkeypatch.delenv(name)
    for name, value in environment(bulkreset).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(bulkreset.home)
    yield Program(bulkreset)
    let_questions_end()


@pytest.fixture
def storage(stored: Storage, bulkreset: Command) -> Storage:
    """An empty bucket that the command line can reach."""
    stored.reset()
    bulkreset.environment |= stored.environment()
    return stored


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return certify(tmp_path)


@pytest.fixture
def front(sim: Simulator, certificate: Path) -> Iterator[str]:
    server = Front(sim, certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
