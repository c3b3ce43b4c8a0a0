"""The journal of one run in SQLite: its state, plan, claims and outcomes. It never contains a password."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from bulkreset.errors import RecordError, RunDirError
from bulkreset.files import create_file
from bulkreset.journal import schema
from bulkreset.journal.commit_mark import Mark, read_mark, require_complete
from bulkreset.journal.database import BROKEN, Database, connect, damaged_journal_error, file_kind
from bulkreset.journal.journal_writer import JournalWriter
from bulkreset.journal.reader import JournalReader
from bulkreset.journal.records import JournalFile
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import RunState
from bulkreset.journal.state_table import StateTable
from bulkreset.models import Status

_OURS = (schema.APPLICATION_ID, schema.VERSION)


class Journal:
    """One run's journal, used by one thread (the coordinator's). Other processes may read it at the same time.

    With the write-ahead log, a reader (`status`, `report`) never blocks the run and the run never blocks a reader.
    Every commit of events is synced to disk, so a killed process or a power loss does not lose the record of sent
    rows. Commits do not wait for the disk during planning, when nothing has been sent.
    """

    def __init__(self, db: Database, state: RunState | None = None) -> None:
        self._db = db
        self._state = StateTable(db, state)
        self.path = db.path
        self.stoppable = db.stoppable
        self.require_in_place = db.require_in_place
        self.write = JournalWriter(db, self._state)
        self.read = JournalReader(db)

    @property
    def state(self) -> RunState:
        """Return the run state as this process read or wrote it last."""
        return self._state.value

    @classmethod
    def create(cls, path: Path, pools: Sequence[str], state: RunState, files: Iterable[JournalFile] = ()) -> Self:
        """Create a new journal for an input of these files. Raises RecordError if it cannot be written."""
        try:
            os.close(create_file(path))
            db = Database(connect(path, "rw"), path)
        except (OSError, sqlite3.Error) as error:
            raise RecordError(
                f"The journal {path} cannot be made: {error}.", "Check the disk's space and rights."
            ) from None
        journal = cls(db, state)
        try:
            with journal._state.writing(dict(state)):
                for statement in schema.TABLES.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {schema.VERSION}")
                db.executemany(schema.ADD_POOL, [(pool,) for pool in pools])
                db.executemany(schema.FILE, ((number, *file) for number, file in enumerate(files)))
        except BaseException:
            db.close()
            raise
        return journal

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False, is_copy: bool = False) -> Self:
        """Open an existing journal. A copy (`is_copy`) has no mark beside it.

        Raises RunDirError if it is missing, unreadable, not a journal or of an unknown version;
        RecordError if it is damaged, has lost commits, or a fact of the run state is missing, unknown or malformed.
        """
        mark = read_mark(path)  # before the journal: a run that sends may advance both
        if not path.is_file():
            raise RunDirError(f"There is no journal at {path}.", "Name a run directory that bulkreset made.")
        try:
            kind = file_kind(path)
            connection = connect(path, "ro" if read_only else "rw") if kind == _OURS else None
        except sqlite3.OperationalError as error:
            raise RunDirError(
                f"The journal {path} cannot be read: {error}.", "Check its rights, or restore it from a backup."
            ) from None
        except BROKEN:
            raise damaged_journal_error(path) from None
        if not any(kind) and not path.stat().st_size:
            raise damaged_journal_error(path)
        if connection is None:
            raise RunDirError(
                f"The journal {path} has version {kind[1]}; this bulkreset knows version {schema.VERSION}.",
                "Use the bulkreset that wrote it.",
            )
        try:
            journal = cls(Database(connection, path))
            if not is_copy:
                journal._require_complete(mark)
        except BaseException:
            connection.close()
            raise
        return journal

    def _require_complete(self, mark: Mark | None) -> None:
        """Raise RecordError if the journal has lost commits. The mark must have been read before the state."""
        for is_last in (False, True):
            try:
                require_complete(self.path, self.state, mark)
            except RecordError:
                if is_last:
                    raise
            else:
                return
            # The run may have written its first mark after the first read, or its next one during it: read again, in
            # this order.
            mark = read_mark(self.path)
            self._state.read()

    def close(self) -> None:
        """Merge the write-ahead log into the file and close it."""
        self.write.close()
        self._db.close()

    @classmethod
    def state_in(cls, path: Path, *, is_copy: bool = False) -> RunState:
        """Return a journal's run state. Raises the errors of `open`."""
        journal = cls.open(path, read_only=True, is_copy=is_copy)
        journal.close()
        return journal.state

    def copy(self, to: Path) -> RunState:
        """Copy the file in one consistent state to `to` and return the copy's run state. Raises RecordError."""
        to.unlink(missing_ok=True)
        os.close(create_file(to))
        with self._db.reading():
            self._db.execute(schema.COPY, (str(to),))
        return self.state_in(to, is_copy=True)

    def check(self) -> None:
        """Raise RecordError if the file is damaged, or a complete plan does not have each of its rows once."""
        with self._db.reading():
            (found,) = self._db.execute(schema.FIRST_DAMAGE).fetchone()
            held = self._db.execute(schema.HELD).fetchone()
            unknown = set(self.read.counts()) - {status.value for status in Status}
            (strange,) = self._db.execute(schema.HAS_INVALID_CELLS).fetchone()
        rows = self.state.rows
        complete = held == (rows, 1, rows) or not self.state.is_planned
        if found != "ok" or unknown or strange or not complete:
            raise damaged_journal_error(self.path)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Make all reads in the block, and `state`, show one point in time, even if the run continues to write."""
        with self._db.reading():
            self._db.execute("BEGIN")
        try:
            self._state.read()  # the first read fixes the point in time that SQLite shows
            yield
        finally:
            with self._db.reading():
                self._db.execute("ROLLBACK")


@contextmanager
def locked_run(path: Path, *, moved: bool = False, read_only: bool = False) -> Iterator[tuple[RunDir, Journal]]:
    """Yield the directory and the journal of a run, which no other process works on during the block.

    Raises Busy if one does (see `RunDir.lock`, with `moved`), and the errors of `RunDir.open` and `Journal.open`.
    """
    home = RunDir.open(path)
    home.lock(moved=moved)
    try:
        with closing(Journal.open(home.journal, read_only=read_only)) as journal:
            yield home, journal
    finally:
        home.release()
