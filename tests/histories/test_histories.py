"""Random histories of a run: interrupted, throttled, refused, and resumed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.e2e.command import Command
from tests.histories.fork_server import ForkServer
from tests.histories.machine import History, SharedState
from tests.sim import Simulator

SOAK_SECONDS = 600
SHRUNK = [Phase.generate, Phase.shrink]  # takes longer than a short test may
BASE = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
    print_blob=True,
)


@pytest.fixture
def shared(tmp_path: Path, running: Simulator) -> Iterator[SharedState]:
    running.reset()
    with ForkServer(tmp_path, Command(tmp_path, running).environment) as fork_server:
        yield SharedState(running, fork_server, tmp_path)


def run_histories(shared: SharedState, how: settings) -> None:
    class Bound(History):
        pass

    Bound.shared = shared
    run_state_machine_as_test(Bound, settings=how)


def test_short_histories(shared: SharedState) -> None:
    run_histories(shared, settings(BASE, max_examples=4, stateful_step_count=5, derandomize=True))
    assert shared.steps > shared.histories


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS + 300)
def test_histories_for_ten_minutes(shared: SharedState, capsys: pytest.CaptureFixture[str]) -> None:
    until = time.monotonic() + SOAK_SECONDS
    while time.monotonic() < until:
        run_histories(shared, settings(BASE, phases=SHRUNK, max_examples=10, stateful_step_count=12))
    with capsys.disabled():
        print(f"\n{shared.histories} histories, {shared.steps} steps")  # noqa: T201  (the result of a soak test)
