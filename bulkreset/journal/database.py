"""The journal's SQLite file: errors become RecordError, and each write is one transaction."""

import contextlib
import ctypes
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkreset.cancellation import check_current, stop_requested
from bulkreset.errors import RecordError

RESTORE = "Restore it from a backup. Without one, plan a new run of the rows that are not set."
_STEPS_BETWEEN_CHECKS = 1_000_000  # virtual machine steps of SQLite: some hundredths of a second
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BYTES_IN_A_CELL = "JSON cannot hold BLOB values"  # what SQLite says of it: no run writes bytes
BROKEN = (sqlite3.Error, UnicodeDecodeError)  # UnicodeDecodeError: SQLite's message can contain damaged bytes


class Database:
    """The open SQLite file of a journal, used by one thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self.execute = connection.execute
        self.executemany = connection.executemany
        self.create_function = connection.create_function
        self.state_changes = 0  # rows of the table `meta` that this connection has written
        self._connection = connection
        self._files: dict[Path, tuple[int, int]] = {}  # device and inode by path, while the run sends

    def remember_files(self) -> None:
        """Remember which files are the journal's, for `require_in_place`. Raises RecordError."""
        for path in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            if identity := _identity(path):
                self._files[path] = identity
            else:
                raise _gone_error(self.path)

    def require_in_place(self) -> None:
        """Raise RecordError if a file of a journal that sends is no longer at its path.

        SQLite would go on writing to the files, which nobody could find after the run.
        """
        if any(_identity(path) != known for path, known in self._files.items()):
            raise _gone_error(self.path)

    def close(self) -> None:
        """Merge the write-ahead log into the file and close it. If the files are not in place, leave all as it is."""
        try:
            self.require_in_place()
        except RecordError:
            # SQLite deletes the log by its path, where another run's may be now. A reference that is never released
            # keeps the connection open until the process ends.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
        else:
            self._connection.close()

    def version(self) -> tuple[int, int]:
        """Return a value that is another one after a change of anything but the run state by this connection."""
        (others,) = self.execute("PRAGMA data_version").fetchone()
        return self._connection.total_changes - self.state_changes, others

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Let a stop of the run end a statement in the block. Raises Interrupted."""
        self._connection.set_progress_handler(stop_requested, _STEPS_BETWEEN_CHECKS)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None, 0)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Commit all writes in the block, or none of them. Raises RecordError."""
        with self.reading(), transaction(self._connection, "BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Raise an error of SQLite in the block as RecordError."""
        with translate_sqlite_errors(f"The journal {self.path} cannot be used", restore=RESTORE):
            yield


@contextmanager
def transaction(db: sqlite3.Connection, begin: str = "BEGIN") -> Iterator[None]:
    """Commit all writes in the block, or roll all of them back if it raises."""
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def translate_sqlite_errors(
    what: str, broken: tuple[type[Exception], ...] = BROKEN, restore: str = ""
) -> Iterator[None]:
    """Raise SQLite and disk errors as RecordError with `what` and the reason.

    `restore` is the advice for a damaged file.
    """
    try:
        yield
    except broken as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            check_current()
        advice = restore if _is_damage(error) else ""
        raise RecordError(f"{what}: {error}.", advice or "Check the disk's space and rights, then resume.") from None


def _is_damage(error: Exception) -> bool:
    """Return whether the file's content is damaged. The lowest byte of an extended error code is the plain code."""
    return (
        isinstance(error, UnicodeDecodeError)
        or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
        or (str(error) == _BYTES_IN_A_CELL)
    )


def damaged_journal_error(path: Path) -> RecordError:
    """Return the RecordError for a file with content that no run writes."""
    return RecordError(f"The journal {path} is damaged.", RESTORE)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the device and the inode of a file; None if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _gone_error(path: Path) -> RecordError:
    return RecordError(
        f"The journal {path} was moved, deleted or replaced while the run was sending. Nothing more is sent.",
        "Restore the run directory, then resume; or resume from its mirror."
        " Without its journal, start a new run of the rows that are not set.",
    )


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open the file for reading ("ro") or writing ("rw")."""
    place = read_uri(path) if mode == "ro" else f"{path.absolute().as_uri()}?mode={mode}"
    with contextlib.ExitStack() as on_error:
        connection = sqlite3.connect(place, uri=True, isolation_level=None)
        on_error.callback(connection.close)
        if mode == "rw":
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        on_error.pop_all()
    return connection


def read_uri(path: Path) -> str:
    """Return the URI for reading a journal.

    If there is no write-ahead log beside it, no process has it open. Then reading creates no files
    and needs no write access.
    """
    settled = not path.with_name(f"{path.name}-wal").exists()
    return f"{path.absolute().as_uri()}?mode=ro" + ("&immutable=1" if settled else "")


def file_kind(path: Path) -> tuple[int, int]:
    """Return the SQLite file's (application ID, version) without changing the file, which may not be a journal."""
    with contextlib.closing(sqlite3.connect(read_uri(path), uri=True)) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return application, version
