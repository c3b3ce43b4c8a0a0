"""Stores which pool users are excluded and which become rows, in a file that exists while the plan is made."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

from bulkreset.journal.database import transaction, translate_sqlite_errors
from bulkreset.plan.user_lookup import UserMatch

# The name columns are folded as their pool compares names.
_TABLES = """
CREATE TABLE left_out (pool TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (pool, name)) WITHOUT ROWID;
CREATE TABLE listed (
  pool TEXT NOT NULL, username TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, kind TEXT NOT NULL,
  modified INTEGER, reachable INTEGER NOT NULL, PRIMARY KEY (pool, username)
) WITHOUT ROWID;
"""
_LEFT_OUT = "SELECT EXISTS (SELECT 1 FROM left_out WHERE pool = ? AND name = ?)"
_LISTED = "SELECT name, username, status, kind, modified, reachable FROM listed WHERE pool = ? ORDER BY username"


class UserStore:
    """The list of users in a temporary file.

    Each instance starts empty, because an interrupted list starts again. Leaving the context deletes the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._broken():
            self._remove()
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = OFF")
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.executescript(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._db.close()
        with self._broken():
            self._remove()

    def exclude(self, names: Iterable[tuple[str, str]]) -> None:
        """Store the users who must not be listed, as (user pool, folded name)."""
        with self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO left_out VALUES (?, ?)", names)

    def add(self, pool: str, users: Iterable[UserMatch]) -> int:
        """Add users, except those excluded by any of their names. Return how many were not listed before."""
        added = 0
        with self._transaction():
            for user in users:
                if any(self._db.execute(_LEFT_OUT, (pool, name)).fetchone()[0] for name in user.names):
                    continue
                row = (pool, user.username, user.names[0], user.status, user.kind, user.modified, int(user.reachable))
                added += self._db.execute("INSERT OR IGNORE INTO listed VALUES (?, ?, ?, ?, ?, ?, ?)", row).rowcount
        return added

    def users(self, pool: str) -> Iterator[UserMatch]:
        """Yield the listed users, sorted by username. Each has the folded username as its only name."""
        with self._broken():
            for name, username, status, kind, modified, reachable in self._db.execute(_LISTED, (pool,)):
                yield UserMatch((name,), username, status, kind, modified, bool(reachable))

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._broken(), transaction(self._db):
            yield

    def _broken(self) -> AbstractContextManager[None]:
        return translate_sqlite_errors(f"The list of users cannot be written to {self._path}", (sqlite3.Error, OSError))
