"""The mark beside the journal: a small file with its number of commits. A journal with fewer has lost some."""

import json
import os
import time
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Self

from bulkreset.errors import RecordError
from bulkreset.files import atomic_file, sync_directory
from bulkreset.journal.run_state import RunState

NAME = "journal.mark"
_SIZE = 512  # bytes, one sector: it is written completely or not at all
_SYNC_SECONDS = 1.0  # an old mark may miss a loss, but never refuses a complete journal
_ADVICE = (
    "Restore the run directory with all its files, journal.sqlite-wal included, or resume from its mirror."
    " Without them, start a new run of the rows that are not set."
)


@dataclass(frozen=True, slots=True)
class Mark:
    """What the mark says. `row` is the highest row that was claimed, 0 if none was."""

    run_id: str
    job: str
    started_at: str
    commits: int
    row: int


class CommitMark:
    """The mark of a run that sends. It is written after each commit of the journal, and before its rows are sent."""

    def __init__(self, path: Path, mark: Mark, opened: int) -> None:
        self._path = path
        self._mark = mark
        self._opened = opened
        self._synced_at: float | None = None  # None: this execution has not claimed yet

    @classmethod
    def create(cls, journal: Path, state: RunState) -> Self:
        """Write a new mark beside the journal, on disk, and return it. Raises RecordError."""
        path = journal.with_name(NAME)
        before = read_mark(journal)
        row = before.row if before and before.run_id == state.run_id else 0
        mark = Mark(state.run_id, state.job_name, state.started_at, state.commits, row)
        try:
            with atomic_file(path) as file:
                file.write(_packed(mark))
            sync_directory(path.parent)
            return cls(path, mark, os.open(path, os.O_WRONLY | os.O_NOFOLLOW))
        except OSError as error:
            raise _unwritable(path, error) from None

    def advance(self, commits: int, row: int) -> None:
        """Write the number of commits, and the highest row claimed in the last one (0 if none). Raises RecordError."""
        self._mark = replace(self._mark, commits=commits, row=max(self._mark.row, row))
        now = time.monotonic()
        try:
            os.pwrite(self._opened, _packed(self._mark), 0)
            if (row and self._synced_at is None) or (self._synced_at and now - self._synced_at >= _SYNC_SECONDS):
                os.fsync(self._opened)
                self._synced_at = now
        except OSError as error:
            raise _unwritable(self._path, error) from None

    def close(self) -> None:
        """Close the file, which stays."""
        os.close(self._opened)


def read_mark(journal: Path) -> Mark | None:
    """Return the mark beside a journal; None if there is none that can be read."""
    try:
        with journal.with_name(NAME).open("rb") as file:
            mark = Mark(**json.loads(file.read(_SIZE)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return mark if [*map(type, astuple(mark))] == [str, str, str, int, int] else None


def require_complete(journal: Path, state: RunState, mark: Mark | None) -> None:
    """Raise RecordError if a journal in this state has lost commits. The mark must have been read before the state.

    A journal that was restored from an older copy, or has lost its write-ahead log, would show rows as not sent
    although they were. Without a mark, only a journal that says how its run ended is known to be complete.
    """
    if mark and mark.run_id == state.run_id and mark.commits > state.commits:
        rows = f"Rows up to {mark.row:,} may have been set." if mark.row else "No row was claimed yet."
        raise RecordError(
            f"The journal {journal} has lost what the run did last: it has {state.commits:,} of {mark.commits:,} commits. {rows}",
            _ADVICE,
        )
    if (mark is None or mark.run_id != state.run_id) and state.commits and not state.end:
        raise RecordError(
            f"The journal {journal} has no {NAME} of this run beside it, so it is not known whether the journal is complete.",
            _ADVICE,
        )


def _packed(mark: Mark) -> bytes:
    return json.dumps(asdict(mark), ensure_ascii=False).encode().ljust(_SIZE - 1) + b"\n"


def _unwritable(path: Path, error: OSError) -> RecordError:
    return RecordError(
        f"{path} cannot be written: {error.strerror}.", "Check the disk's space and rights, then resume."
    )
