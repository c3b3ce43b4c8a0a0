"""What the tests' own command line promises to the tests."""

import signal
import sys

import pytest

from tests.e2e.preloaded_command import Started


def test_process_ends_with_the_test_that_fails() -> None:
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(AssertionError), Started(argv, start_new_session=True, encoding="utf-8") as process:
        raise AssertionError
    assert process.returncode == -signal.SIGKILL
