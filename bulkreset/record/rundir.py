"""The run directory: where everything that one run writes lives, locked by the process that runs it."""

import fcntl
import os
from pathlib import Path
from typing import IO, Self

from bulkreset.errors import Busy, RunDirError


class RunDir:
    """A run directory and its lock, which dies with the process. Directories are 0700, files 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal.sqlite"
        self.report = path / "report.csv"
        self.summary = path / "summary.json"
        self.log = path / "log.jsonl"
        self._lock: int | None = None

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new directory, locked. Raises RunDirError where it exists or cannot be made."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
        except FileExistsError:
            raise RunDirError(
                f"The run directory {path} exists already.",
                f"To go on with that run: bulkreset resume {path}. For a new run name a new --run-dir.",
            ) from None
        except OSError as error:
            raise RunDirError(
                f"The run directory {path} cannot be made: {error.strerror}.", "Name another --run-dir."
            ) from None
        made = cls(path)
        made.lock()
        return made

    def lock(self) -> None:
        """Hold the directory until this process ends. Raises Busy where another process holds it."""
        # The lock is on the directory itself: no lock file to be left behind, copied or deleted.
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            raise Busy(
                f"Another process holds the run in {self.path}.",
                f"Wait for it, or look at it: bulkreset status {self.path}.",
            ) from None

    def open_log(self) -> IO[str]:
        """The log, to be added to."""
        return os.fdopen(os.open(self.log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "a", encoding="utf-8")

    def release(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Remove a directory in which nothing came about that is worth keeping."""
        for file in sorted(self.path.iterdir()):
            file.unlink()
        self.path.rmdir()
