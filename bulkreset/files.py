"""The fair copy: a file that takes its name only when it is whole and on disk, so that it is never there by half."""

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
    """Raise RunDirError where there is such a file already, or no directory for it."""
    if os.path.lexists(path) or not os.path.isdir(path.absolute().parent):  # noqa: PTH112  (Path's may raise)
        what = "exists already" if os.path.lexists(path) else "has no directory to be in"
        raise RunDirError(f"{path} {what}.", "Name a new file in a directory that exists.")


@contextmanager
def atomic_writer(path: Path, advice: str, flag: int = os.O_TRUNC) -> Iterator[IO[str]]:
    """A text file that takes its name only when it is whole and on disk; whatever goes wrong before, nothing is left of it.

    Raises RecordError with that advice where it cannot be written.
    """
    with _atomic(path, advice, flag, {"mode": "w", "encoding": "utf-8", "newline": ""}) as file:
        yield file


@contextmanager
def atomic_bytes_writer(path: Path, advice: str) -> Iterator[IO[bytes]]:
    """The same for bytes."""
    with _atomic(path, advice, os.O_TRUNC, {"mode": "wb"}) as file:
        yield file


@contextmanager
def _atomic(path: Path, advice: str, flag: int, how: Mapping[str, str]) -> Iterator[IO[Any]]:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # `report` may draw it while the run does
    try:
        with os.fdopen(os.open(partial, os.O_CREAT | flag | os.O_WRONLY, 0o600), **how) as file:  # type: ignore[call-overload]
            with contextlib.suppress(OSError):  # where there are no locks, `swept` deletes nothing either
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
    """What killed processes have left of a file with this name, deleted; one that is being written has its process's lock."""
    left = []
    for partial in sorted(path.absolute().parent.glob(f".{glob.escape(path.name)}.*.partial")):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()
            left.append(partial)
    return left
