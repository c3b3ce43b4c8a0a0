"""Atomic file writing: a file gets its name only when it is complete and on disk, so no half-written file is seen."""

import contextlib
import fcntl
import glob
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bulkreset.errors import RecordError, RunDirError


def require_new(path: Path) -> None:
    """Raise RunDirError if the file already exists or its directory does not exist."""
    if os.path.lexists(path) or not os.path.isdir(path.absolute().parent):  # noqa: PTH112  (Path's may raise)
        if os.path.lexists(path):
            raise RunDirError(f"{path} already exists.", "Choose another name.")
        raise RunDirError(f"The directory {path.parent} does not exist.", "Create it, or choose another one.")


@contextmanager
def atomic_writer(path: Path, advice: str, flag: int = os.O_TRUNC) -> Iterator[IO[str]]:
    """Yield a text file that gets its name only when it is complete and on disk. After any error, no file is left.

    Raises RecordError with `advice` if it cannot be written.
    """
    with _atomic(path, advice, flag, {"mode": "w", "encoding": "utf-8", "newline": ""}) as file:
        yield file


@contextmanager
def atomic_bytes_writer(path: Path, advice: str) -> Iterator[IO[bytes]]:
    """Yield a binary file, with the same rules as `atomic_writer`."""
    with _atomic(path, advice, os.O_TRUNC, {"mode": "wb"}) as file:
        yield file


@contextmanager
def _atomic(path: Path, advice: str, flag: int, how: Mapping[str, str]) -> Iterator[IO[Any]]:
    # One name per process, because `report` and the run may write the same file at once.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_CREAT | flag | os.O_WRONLY, 0o600), **how) as file:  # type: ignore[call-overload]
            with contextlib.suppress(OSError):  # without locks `remove_stale` deletes nothing either
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if not isinstance(error, OSError):
            raise
        raise RecordError(f"{path} cannot be written: {error.strerror or error}.", advice) from None


def remove_stale(path: Path) -> list[Path]:
    """Delete partial files of this name left behind by killed processes and return their paths.

    Files locked by a live writer are skipped.
    """
    left = []
    for partial in sorted(path.absolute().parent.glob(f".{glob.escape(path.name)}.*.partial")):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()
            left.append(partial)
    return left
