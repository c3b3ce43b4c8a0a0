"""The guarantees of the tests' own command runner."""

import signal
import sys

import pytest

from tests.e2e.command import PATIENCE, Command
from tests.e2e.preloaded_command import CommandProcess


def test_process_ends_with_the_test_that_fails() -> None:
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(AssertionError), CommandProcess(argv, start_new_session=True, encoding="utf-8") as process:
        raise AssertionError
    assert process.returncode == -signal.SIGKILL


@pytest.mark.fresh
def test_command_ends_as_usual_if_python_reports_crashes_of_c(bulkreset: Command) -> None:
    """Its handler of SIGABRT is not one that was set in Python."""
    with bulkreset.start("--version", env={"PYTHONFAULTHANDLER": "1"}) as process:
        _, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (0, "")
