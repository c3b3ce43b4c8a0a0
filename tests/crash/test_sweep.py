"""An interrupted check of the directory continues from its page, in a dry run and in a real one."""

import os
import signal
from pathlib import Path

import pytest

from tests.crash.test_resume import hold, let_go
from tests.e2e.command import LAX, POOL, SET, Argument, Command, CommandResult, finish, people, write_csv
from tests.e2e.populated import FAST, LISTS, LOOKED_UP, PASSWORD, interrupted_run, resumed
from tests.sim import Simulator
from tests.waiting import wait_until

PAGES = 40
NAMED = 60


@pytest.fixture
def input_(tmp_path: Path, sim: Simulator) -> Path:
    """Write an input of users. The pool has forty pages, and the first sixty of these users."""
    sim.add_pool(POOL, policy=LAX, generate={"count": PAGES * 60, "prefix": "user.", "digits": 3, "first": 1})
    return write_csv(tmp_path / "in.csv", [*people(NAMED), ("nobody", PASSWORD)])


def assert_whole(ran: CommandResult, status: str) -> None:
    assert ran.column("status") == [status] * NAMED + ["rejected"]
    assert ran.of("nobody")["code"] == "user_not_found"
    assert not (ran.run_dir / "users.sqlite").exists()


def ended_after(
    bulkreset: Command, sim: Simulator, args: tuple[Argument, ...], pages: int, number: int
) -> CommandResult:
    """Start a run, and end it by a signal while the answer after so many pages or look-ups is held."""
    argv, run_dir = bulkreset.with_run_dir(args)
    hold(sim, pages, operation=LISTS)
    with bulkreset.start(*argv) as process:
        wait_until(lambda: sim.stats().count(LISTS) >= pages)
        os.kill(process.pid, number)
        let_go(sim)
        return finish(process, run_dir)


@pytest.mark.parametrize(
    ("number", "mode"),
    [
        (signal.SIGINT, "--dry-run"),
        (signal.SIGKILL, "--yes"),
        pytest.param(signal.SIGKILL, "--dry-run", marks=pytest.mark.soak),
        pytest.param(signal.SIGINT, "--yes", marks=pytest.mark.soak),
    ],
)
def test_sweep_continues_from_its_page(
    number: int, mode: str, input_: Path, bulkreset: Command, sim: Simulator
) -> None:
    args = (*bulkreset.checked(input_), *FAST, mode)
    broken = ended_after(bulkreset, sim, args, 12, number)
    assert broken.code == (-9 if number == signal.SIGKILL else 130)
    made = sim.stats().count(LISTS)
    assert made < PAGES
    if number == signal.SIGINT:
        assert f"Resume with: bulkreset resume {broken.run_dir}" in broken.stderr
        assert broken.summary["state"] == "interrupted"
    again = resumed(bulkreset, broken)
    assert again.code == 1
    assert_whole(again, "ready" if mode == "--dry-run" else "set")
    assert PAGES <= sim.stats().count(LISTS) <= PAGES + 2
    assert len(sim.calls(SET)) == (0 if mode == "--dry-run" else NAMED)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.soak), signal.SIGKILL])
def test_look_ups_continue_with_names_that_were_not_looked_up(
    number: int, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    names = 250
    sim.add_pool(
        POOL,
        policy=LAX,
        estimated_users=LOOKED_UP,
        generate={"count": names, "prefix": "user.", "digits": 3, "first": 1},
    )
    args = (*bulkreset.checked(write_csv(tmp_path / "in.csv", people(names))), *FAST, "--dry-run")
    broken = ended_after(bulkreset, sim, args, 120, number)
    again = resumed(bulkreset, broken)
    assert again.code == 0
    assert again.summary["counts"] == {"ready": names}
    # A killed process may lose the answers that were not stored yet (at most sixty) and the calls in flight.
    assert names <= sim.stats().count(LISTS) <= names + (70 if number == signal.SIGKILL else 10)


@pytest.mark.soak
def test_sweep_that_is_killed_again_and_again_gets_to_its_end(input_: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(latency=0.03)
    broken = interrupted_run(bulkreset, sim, (*bulkreset.checked(input_), *FAST, "--yes"), 8, signal.SIGKILL)
    for pages in (16, 24):
        with bulkreset.start("resume", broken.run_dir) as process:
            wait_until(lambda: sim.stats().count(LISTS) >= pages or process.poll() is not None)  # noqa: B023
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
    again = resumed(bulkreset, broken)
    assert_whole(again, "set")
    assert sim.stats().count(LISTS) <= PAGES + 2 * 3
    assert sim.stats().users_applied_more_than_once == 0


@pytest.mark.soak
def test_resumed_dry_run_has_the_same_output_as_another(input_: Path, bulkreset: Command, sim: Simulator) -> None:
    broken = ended_after(bulkreset, sim, (*bulkreset.checked(input_), *FAST, "--dry-run"), 10, signal.SIGINT)
    again = resumed(bulkreset, broken)
    whole = bulkreset(*bulkreset.checked(input_), *FAST, "--dry-run")
    assert again.report == whole.report
    assert again.summary["mode"] == "dry_run"
