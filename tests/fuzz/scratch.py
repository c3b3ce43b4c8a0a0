"""The work folder of a target: one for each process, deleted with it."""

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

CANARY = "Zq7xKw9Vb2"  # stands in the corpus where a password would: no message may repeat it


@cache
def _folder(pid: int) -> Path:
    path = Path(tempfile.mkdtemp(prefix="bulkreset-fuzz-"))
    atexit.register(_remove, path, pid)
    return path


def _remove(path: Path, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(path, ignore_errors=True)


def folder() -> Path:
    """Where this process may write."""
    return _folder(os.getpid())


def written(name: str, content: bytes) -> Path:
    """A file in it."""
    path = folder() / name
    path.write_bytes(content)
    return path


def open_files() -> int:
    """How many files this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208


def comes_back(count: Callable[[], int], before: int) -> bool:
    """Whether a count is soon what it was: a thread that lets go of something may take a moment."""
    until = time.monotonic() + 90
    while count() != before and time.monotonic() < until:
        time.sleep(0.001)
    return count() == before


def must_not_tell(error: Exception) -> None:
    """No message repeats what may be a password, and each is one line of words."""
    assert CANARY not in str(error), error
    assert str(error).isprintable(), repr(str(error))
