"""Any history of a run: broken off, starved, refused, and gone on with."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.e2e.command import Command
from tests.histories.fork_server import House
from tests.histories.machine import History, World
from tests.sim import Simulator

SOAK_SECONDS = 600
SHRUNK = [Phase.generate, Phase.shrink]  # which takes longer than a short test may
BASE = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
    print_blob=True,
)


@pytest.fixture
def world(tmp_path: Path, running: Simulator) -> Iterator[World]:
    running.reset()
    with House(tmp_path, Command(tmp_path, running).environment) as house:
        yield World(running, house, tmp_path)


def live(world: World, how: settings) -> None:
    class Here(History):
        pass

    Here.world = world
    run_state_machine_as_test(Here, settings=how)


def test_short_histories(world: World) -> None:
    live(world, settings(BASE, max_examples=4, stateful_step_count=5, derandomize=True))
    assert world.steps > world.histories


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS + 300)
def test_histories_for_ten_minutes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    until = time.monotonic() + SOAK_SECONDS
    while time.monotonic() < until:
        live(world, settings(BASE, phases=SHRUNK, max_examples=10, stateful_step_count=12))
    with capsys.disabled():
        print(f"\n{world.histories} histories, {world.steps} steps")  # noqa: T201  (what a soak is asked for)
