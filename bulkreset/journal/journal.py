"""The journal of one run in SQLite: plan, claims and outcomes. It never contains a password."""

import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from bulkreset.errors import RecordError, RunDirError
from bulkreset.files import create_file
from bulkreset.journal import schema
from bulkreset.journal.connection import BROKEN, connect, damaged_journal_error, file_kind
from bulkreset.journal.plan_writer import PlanWriter
from bulkreset.journal.records import JournalFile, ReportRow, SendableRow, SetRow
from bulkreset.journal.shape import is_whole
from bulkreset.models import Outcome, RateChange, SignOutOutcome, SignOutTask, Status


class Journal(PlanWriter):
    """One run's journal, used by one thread (the coordinator's). Other processes may read it at the same time.

    With the write-ahead log, a reader (`status`, `report`) never blocks the run and the run never blocks a reader.
    Every claim and every group of outcomes is a commit synced to disk, so a killed process or a power loss does not
    lose the record of sent rows. Commits do not wait for the disk during planning, when nothing has been sent.
    """

    @classmethod
    def create(
        cls, path: Path, pools: Sequence[str], meta: Mapping[str, Any], files: Iterable[JournalFile] = ()
    ) -> Self:
        """Create a new journal for an input of these files. Raises RecordError if it cannot be written."""
        try:
            os.close(create_file(path))
            journal = cls(connect(path, "rw"), path)
        except (OSError, sqlite3.Error) as error:
            raise RecordError(
                f"The journal {path} cannot be made: {error}.", "Check the disk's space and rights."
            ) from None
        with journal._transaction():
            for statement in schema.TABLES.split(";"):
                journal._db.execute(statement)
            journal._db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            journal._db.execute(f"PRAGMA user_version = {schema.VERSION}")
            journal._db.executemany("INSERT INTO pools (user_pool_id) VALUES (?)", [(pool,) for pool in pools])
            journal._db.executemany(schema.FILE, ((number, *file) for number, file in enumerate(files)))
            journal._store(meta)
        return journal

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open an existing journal.

        Raises RunDirError if it is missing, unreadable, not a journal or of an unknown version;
        RecordError if it is damaged.
        """
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
        return cls(connection, path)

    @classmethod
    def facts_in(cls, path: Path, *, read_only: bool = False) -> dict[str, Any]:
        """Return a journal's facts about its run as a whole. Raises the errors of `open` and `facts`."""
        journal = cls.open(path, read_only=read_only)
        try:
            return journal.facts()
        finally:
            journal.close()

    @classmethod
    def counts_in(cls, path: Path) -> dict[str, int]:
        """Return a journal's number of rows by status. Raises the errors of `open`."""
        journal = cls.open(path)
        try:
            return journal.counts()
        finally:
            journal.close()

    def copy(self, to: Path) -> dict[str, Any]:
        """Copy the file in one consistent state to `to` and return the copy's facts. Raises RecordError."""
        to.unlink(missing_ok=True)
        os.close(create_file(to))
        with self._read():
            self._db.execute("VACUUM INTO ?", (str(to),))
        return self.facts_in(to, read_only=True)

    def meta(self) -> dict[str, Any]:
        """Return all facts about the run as a whole. Raises RecordError if a value is not JSON."""
        with self._read():
            found = self._db.execute("SELECT key, value FROM meta").fetchall()
        try:
            return {key: json.loads(value) for key, value in found}
        except (ValueError, TypeError, RecursionError):
            raise self.damaged_error() from None

    def facts(self) -> dict[str, Any]:
        """Return `meta`. Raises RecordError if a fact that every run has is missing or any fact is malformed."""
        found = self.meta()
        if is_whole(found):
            return found
        raise self.damaged_error()

    def note(self, **facts: object) -> None:
        """Set facts about the run as a whole."""
        with self._transaction():
            self._store(facts)

    def check(self, rows: int | None) -> None:
        """Raise RecordError if the file is damaged or does not contain each of the `rows` planned rows once."""
        with self._read():
            (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            held, first, last = self._db.execute("SELECT count(*), min(row), max(row) FROM rows").fetchone()
            unknown = set(self.counts()) - {status.value for status in Status}
            (strange,) = self._db.execute(schema.HAS_INVALID_CELLS).fetchone()
        if found == "ok" and not unknown and not strange and (rows is None or (held, first, last) == (rows, 1, rows)):
            return
        raise self.damaged_error()

    def mark_claimed_in_doubt(self) -> None:
        """Mark the rows that a dead process claimed as in doubt; failed rows that it did not retry are failed again."""
        with self._transaction():
            self._db.execute(schema.MARK_CLAIMED_IN_DOUBT)
            self._db.execute(schema.RESTORE_FAILED)

    def restore_failed(self) -> None:
        """Mark failed rows that were to be retried but were not sent as failed again, at the end of the run."""
        with self._transaction():
            self._db.execute(schema.RESTORE_FAILED)

    def retry_failed(self) -> dict[str, int]:
        """Make failed rows ready and failed sign-outs pending; return the number of failed rows by code.

        `restore_failed` reverts the rows that are not sent.
        """
        with self._transaction():
            codes = dict(self._db.execute(schema.FAILED_CODES))
            self._db.execute(schema.RETRY_FAILED)
            self._db.execute(schema.RETRY_SIGN_OUTS)
        return codes

    def begin_sending(self) -> None:
        """Make every commit wait for the disk from now on."""
        with self._read():
            self._db.execute("PRAGMA synchronous = FULL")

    def sendable_pages(self, size: int) -> Iterator[tuple[int, str, int]]:
        """Yield the number of rows still to be sent by page of `size` rows and user pool, in order.

        An item is (page, user pool, rows); pages are counted from 0.
        """
        with self._read():
            pools = dict(self._db.execute("SELECT id, user_pool_id FROM pools"))
            first, last = self._db.execute(schema.SENDABLE_RANGE).fetchone()
            for piece in range((first - 1) // size, (last - 1) // size + 1):
                rows = (piece * size + 1, (piece + 1) * size)
                for pool, count in self._db.execute(schema.SENDABLE_PAGE, rows).fetchall():
                    yield piece, pools[pool], count

    def sendable(self, first: int, last: int) -> list[SendableRow]:
        """Return the rows from `first` to `last` that are still to be sent, in order."""
        with self._read():
            return [SendableRow._make(found) for found in self._db.execute(schema.SENDABLE, (first, last))]

    def sendable_after(self, row: int, pools: Collection[str], most: int) -> list[SendableRow]:
        """Return up to `most` rows of `pools` after `row` that are still to be sent, in order."""
        with self._read():
            asked = (row, json.dumps(sorted(pools)), most)
            return [SendableRow._make(found) for found in self._db.execute(schema.SENDABLE_AFTER, asked)]

    def commit(
        self,
        claims: Sequence[int],
        outcomes: Sequence[Outcome],
        signed_out: Sequence[SignOutOutcome] = (),
        rates: Sequence[RateChange] = (),
        facts: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Commit all arguments in one transaction that is synced to disk. Raises RecordError if that fails."""
        with self._transaction():
            self._store(facts)
            self._db.executemany(schema.SETTLE, map(_settlement, outcomes))
            self._db.executemany(schema.CLAIM, ((row,) for row in claims))
            self._db.executemany(schema.SIGN_OUT, ((out.row,) for out in signed_out if out.done))
            failed = ((out.code, out.message, out.row) for out in signed_out if out.done is False)
            self._db.executemany(schema.FAIL_SIGN_OUT, failed)
            self._db.executemany(schema.RATE, ((it.at_ms, it.account, it.region, it.rate, it.reason) for it in rates))

    def begin_signing_out(self) -> None:
        """Create the index that finds users to sign out without scanning every row."""
        with self._transaction():
            self._db.execute(schema.INDEX_TO_SIGN_OUT)

    def sign_out_tasks(self, pool: str, most: int) -> list[SignOutTask]:
        """Return up to `most` set users of a pool who are not yet signed out, in any order.

        Call `begin_signing_out` first.
        """
        with self._read():
            (number,) = self._db.execute("SELECT id FROM pools WHERE user_pool_id = ?", (pool,)).fetchone()
            found = self._db.execute(schema.TO_SIGN_OUT, (number, most)).fetchall()
        return [SignOutTask(row, username, pool) for row, username in found]

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Make all reads in the block see the state at its beginning, even if the run continues to write."""
        with self._read():
            self._db.execute("BEGIN")
            self._db.execute(
                "SELECT 1 FROM meta LIMIT 1"
            ).fetchone()  # the first read fixes the state that SQLite shows
        try:
            yield
        finally:
            with self._read():
                self._db.execute("ROLLBACK")

    def set_rows(self) -> Iterator[SetRow]:
        """Yield the rows that were set, in input order."""
        with self._read():
            for found in self._db.execute(schema.SET_ROWS):
                yield SetRow._make(found)

    def set_row(self, row: int) -> SetRow | None:
        """Return the row if it was set, else None."""
        with self._read():
            found = self._db.execute(schema.SET_ROW, (row,)).fetchone()
        return SetRow._make(found) if found else None

    def report_rows(self, unsent: str, only: Collection[str] = ()) -> Iterator[ReportRow]:
        """Yield all rows in input order; with `only`, the rows that have one of these report statuses.

        `unsent` is the report status of a row that was not sent.
        """
        dry_run = unsent == Status.READY
        wanted = json.dumps([one for one in Status if one.at_end(dry_run=dry_run) in only]) if only else None
        with self._read():
            yield from map(ReportRow._make, self._db.execute(schema.REPORT, {"unsent": unsent, "wanted": wanted}))


_OURS = (schema.APPLICATION_ID, schema.VERSION)


def _settlement(outcome: Outcome) -> dict[str, Any]:
    """Return the values of schema.SETTLE by name."""
    return {
        "status": outcome.status.value,
        "code": outcome.code,
        "message": outcome.message,
        "attempts": outcome.attempts,
        "throttled": outcome.throttled,
        "in_doubt": int(outcome.in_doubt),
        "latency_ms": outcome.latency_ms,
        "request_id": outcome.request_id,
        "started_at": outcome.started_at,
        "finished_at": outcome.finished_at,
        "row": outcome.row,
    }
