"""A run that another process watches, and its page while it works."""

import signal

from tests.e2e.command import SET, Command, finish
from tests.e2e.test_control import command, limited_by, start_run
from tests.sim import Simulator
from tests.waiting import wait_until


def test_watching_ends_with_the_run_and_its_exit_code(bulkreset: Command, sim: Simulator) -> None:
    process, run_dir = start_run(bulkreset, sim, rate="5")
    with process, bulkreset.start("watch", run_dir) as watching:
        assert command(bulkreset, "control", run_dir, "--limit", "5").code == 0
        ran, watched = finish(process, run_dir), finish(watching, run_dir)
    assert (ran.code, watched.code) == (5, 5)
    assert f"{run_dir}: " in watched.stdout
    assert "exit code 5" in watched.stdout
    assert command(bulkreset, "watch", run_dir).stdout == watched.stdout


def test_ending_the_watching_does_not_end_the_run(bulkreset: Command, sim: Simulator) -> None:
    process, run_dir = start_run(bulkreset, sim, rate="5")
    with process:
        with bulkreset.start("watch", run_dir, first=READY) as watching:
            assert watching.stdout
            wait_until((bulkreset.home / "looked").exists)
            watching.send_signal(signal.SIGINT)
            assert finish(watching, run_dir).code == 130
        seen = len(sim.calls(SET))
        wait_until(lambda: len(sim.calls(SET)) > seen)
        process.kill()
    killed = command(bulkreset, "watch", run_dir)
    assert killed.code == 3
    assert "crashed" in killed.stdout
    assert not limited_by(run_dir, "control")


# Printed when the watching process has read the run for the first time: from then on its signals are handled.
READY = """
import pathlib
from bulkreset.report import run_status
_read = run_status.read_status
def read(path):
    pathlib.Path("looked").touch()
    return _read(path)
run_status.read_status = read
"""
