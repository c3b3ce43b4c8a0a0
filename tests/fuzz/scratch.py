"""The work folder of a target: one for each process, deleted with it."""

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

CANARY = "Zq7xKw9Vb2"  # stands for a password in the corpus: no message may repeat it


@cache
def _folder(pid: int) -> Path:
    path = Path(tempfile.mkdtemp(prefix="bulkreset-fuzz-"))
    atexit.register(_remove, path, pid)
    return path


def _remove(path: Path, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(path, ignore_errors=True)


def folder() -> Path:
    """Return the folder that this process may write to."""
    return _folder(os.getpid())


def written(name: str, content: bytes) -> Path:
    """Write a file to it and return the path."""
    path = folder() / name
    path.write_bytes(content)
    return path


def open_files() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208


def returns_to(count: Callable[[], int], before: int) -> bool:
    """Return whether a count soon has its old value: a thread may take a moment to close a file."""
    until = time.monotonic() + 90
    while count() != before and time.monotonic() < until:
        time.sleep(0.001)
    return count() == before


def assert_hides_canary(error: Exception) -> None:
    """Check that no message repeats what may be a password, and that each is one line of text."""
    assert CANARY not in str(error), error
    assert str(error).isprintable(), repr(str(error))
