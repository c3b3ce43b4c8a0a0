"""The one store of pool users: the list that becomes rows, the names to look up, and the findings, in a temporary file."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from bulkreset.files import create_file
from bulkreset.journal.database import transaction, translate_sqlite_errors
from bulkreset.plan.near_miss import found_cause, near_key, written_cause

if TYPE_CHECKING:  # loads botocore, which `status` does not need
    from bulkreset.cognito.list_users import PoolUser

# name: folded as its pool compares names. spelled: the spelling in the row, if it differs.
# left_out and listed are the pool's own users as rows; the other tables are the lookup of the rows' users.
# near: the names whose near_key differs from them; hints: why a row that is not found may be so.
# rank: how certain it is that the name means the user; 0 is the most certain.
_TABLES = """
CREATE TABLE IF NOT EXISTS left_out (
  pool TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (pool, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS listed (
  pool TEXT NOT NULL, username TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, kind TEXT NOT NULL,
  modified INTEGER, reachable INTEGER NOT NULL, PRIMARY KEY (pool, username)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sought (
  pool TEXT NOT NULL, name TEXT NOT NULL, row INTEGER NOT NULL, spelled TEXT, PRIMARY KEY (pool, name, row)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS found (
  row INTEGER PRIMARY KEY, username TEXT NOT NULL, status TEXT NOT NULL, kind TEXT NOT NULL, rank INTEGER NOT NULL,
  modified INTEGER, reachable INTEGER
);
CREATE TABLE IF NOT EXISTS searches (
  pool TEXT PRIMARY KEY, token TEXT, pages INTEGER NOT NULL DEFAULT 0, users INTEGER NOT NULL DEFAULT 0,
  swept INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS near (
  pool TEXT NOT NULL, key TEXT NOT NULL, row INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (pool, key, row)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hints (row INTEGER PRIMARY KEY, cause TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS filled (is_whole INTEGER NOT NULL);
"""

_MATCH = """
INSERT INTO found (row, username, status, kind, rank, modified, reachable)
SELECT row, :username, :status, :kind, :rank, :modified, :reachable FROM sought WHERE pool = :pool AND name = :name
ON CONFLICT (row) DO UPDATE SET username = excluded.username, status = excluded.status, kind = excluded.kind,
  rank = excluded.rank, modified = excluded.modified, reachable = excluded.reachable
WHERE excluded.rank < found.rank
"""

# A user of the pool whose name has this key: rows that nearly name this user, if none of its own names is theirs.
_HINT = """
INSERT INTO hints (row, cause)
SELECT row, found_cause(name, :name) FROM near WHERE pool = :pool AND key = :key AND name <> :name
UNION ALL
SELECT row, found_cause(coalesce(spelled, name), :name) FROM sought WHERE pool = :pool AND name = :key AND name <> :name
ON CONFLICT (row) DO UPDATE SET cause = excluded.cause
"""

_MISSING = """
SELECT name, coalesce(min(spelled), name) FROM sought WHERE pool = ? AND name > ? AND NOT EXISTS
  (SELECT 1 FROM found WHERE found.row = sought.row) GROUP BY name ORDER BY name LIMIT ?
"""

_LEFT_OUT = "SELECT EXISTS (SELECT 1 FROM left_out WHERE pool = ? AND name = ?)"

# CROSS JOIN: SQLite keeps this order, so that each name is found by the key of `sought`.
_MATCH_LISTED = """
INSERT OR IGNORE INTO found (row, username, status, kind, rank, modified, reachable)
SELECT row, username, status, kind, 0, modified, reachable FROM listed
CROSS JOIN sought ON sought.pool = listed.pool AND sought.name = listed.name
ORDER BY listed.pool, listed.username
"""

ABSENT = "absent"
_FILLED_AT_ONCE = 10_000  # rows


class UserMatch(NamedTuple):
    """A user that a sweep or a look-up found. `names` identify the user; the most certain name comes first.

    `modified` is Unix milliseconds, None if the service does not return it. `reachable` means that the user has a
    verified e-mail address or phone number.
    """

    names: Sequence[str]
    username: str
    status: str
    kind: str
    modified: int | None = None
    reachable: bool = True

    @classmethod
    def of(cls, user: "PoolUser", kind: str) -> Self:
        """Return the match for a user of a pool; `kind` is the reason to skip the user, or ""."""
        return cls(user.names, user.username, user.status, kind, user.modified, user.reachable)


NOBODY = UserMatch((), "", "", ABSENT)
UNKNOWN = UserMatch((), "", "", "unknown")  # whether the user exists could not be determined


class RowFinding(NamedTuple):
    """The finding for one row: the user's canonical name, status and kind.

    The kind is `absent` if there is no such user, `unknown` if that could not be determined. `cause` says why there is
    no such user, if it is known.
    """

    row: int
    username: str
    status: str
    kind: str
    modified: int | None = None
    reachable: bool = True
    cause: str = ""


class LookupProgress(NamedTuple):
    """The search progress in one pool: next page token, pages and users so far, whether the sweep is complete."""

    token: str | None
    pages: int
    users: int
    swept: bool


class UserStore:
    """The users of one plan or verification. If the file is lost, only the time to ask again is lost.

    Leaving the context keeps the file if the names to look up are stored, so that an interrupted lookup can continue.
    Otherwise it deletes the file, because an interrupted list starts again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._discarded = False
        with self._broken():
            try:
                self._db = self._opened()
            except sqlite3.DatabaseError:  # synchronous = OFF: a power loss can corrupt the file, so start again
                self._remove()
                self._db = self._opened()
            self.is_filled = bool(self._db.execute("SELECT count(*) FROM filled").fetchone()[0])

    def _opened(self) -> sqlite3.Connection:
        with suppress(FileExistsError):
            os.close(create_file(self._path))
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_TABLES)
        connection.create_function("found_cause", 2, found_cause, deterministic=True)
        if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            connection.close()
            raise sqlite3.DatabaseError
        return connection

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.is_filled:
            self._db.close()
        elif not self._discarded:
            self.discard()

    def discard(self) -> None:
        """Close and delete the file, after the journal has stored the findings."""
        self._discarded = True
        self._db.close()
        with self._broken():
            self._remove()

    def begin_list(self) -> None:
        """Delete the list of users that an interrupted execution left."""
        with self._transaction():
            self._db.execute("DELETE FROM left_out")
            self._db.execute("DELETE FROM listed")

    def exclude(self, names: Iterable[tuple[str, str]]) -> None:
        """Store the users who must not be listed, as (user pool, folded name)."""
        with self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO left_out VALUES (?, ?)", names)

    def add(self, pool: str, users: Iterable[UserMatch]) -> int:
        """List users, except those excluded by any of their names. Return how many were not listed before."""
        added = 0
        with self._transaction():
            for user in users:
                if any(self._db.execute(_LEFT_OUT, (pool, name)).fetchone()[0] for name in user.names):
                    continue
                row = (pool, user.username, user.names[0], user.status, user.kind, user.modified, int(user.reachable))
                added += self._db.execute("INSERT OR IGNORE INTO listed VALUES (?, ?, ?, ?, ?, ?, ?)", row).rowcount
        return added

    def usernames(self, pool: str) -> Iterator[str]:
        """Yield the username of each listed user, sorted."""
        with self._broken():
            listed = self._db.execute("SELECT username FROM listed WHERE pool = ? ORDER BY username", (pool,))
            for (username,) in listed:
                yield username

    def match_listed(self) -> None:
        """Store the listed users as findings, as if a sweep had just found them."""
        with self._transaction():
            self._db.execute(_MATCH_LISTED)
            self._db.execute(
                "INSERT OR REPLACE INTO searches (pool, users, swept) SELECT pool, count(*), 1 FROM listed GROUP BY pool"
            )

    def fill(self, rows: Iterable[tuple[int, str, str]], fold: Callable[[str, str], str]) -> None:
        """Store the names to look up: (row, user pool, username), in any order.

        `fold` takes (pool, name) and returns the folded name.
        """
        with self._transaction():
            for table in ("sought", "near", "hints"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  (our own names)
            named = ((row, pool, name, fold(pool, name)) for row, pool, name in rows)
            while some := list(islice(named, _FILLED_AT_ONCE)):
                self._db.executemany(
                    "INSERT INTO sought (pool, name, row, spelled) VALUES (?, ?, ?, ?)",
                    ((pool, folded, row, None if folded == name else name) for row, pool, name, folded in some),
                )
                keys = ((pool, near_key(folded), row, name) for row, pool, name, folded in some)
                self._db.executemany(
                    "INSERT INTO near (pool, key, row, name) VALUES (?, ?, ?, ?)",
                    (found for found, (*_, folded) in zip(keys, some, strict=True) if found[1] != folded),
                )
                causes = ((row, written_cause(name)) for row, _, name, _ in some)
                self._db.executemany("INSERT INTO hints (row, cause) VALUES (?, ?)", filter(itemgetter(1), causes))
            self._db.execute("INSERT INTO filled VALUES (1)")
        self.is_filled = True

    def names(self, pool: str) -> int:
        """Return how many names to look up a pool has."""
        with self._broken():
            return int(
                self._db.execute("SELECT count(DISTINCT name) FROM sought WHERE pool = ?", (pool,)).fetchone()[0]
            )

    def progress(self, pool: str) -> LookupProgress:
        """Return the progress of the search in a pool."""
        with self._broken():
            found = self._db.execute("SELECT token, pages, users, swept FROM searches WHERE pool = ?", (pool,))
            token, pages, users, swept = found.fetchone() or (None, 0, 0, 0)
        return LookupProgress(token, pages, users, bool(swept))

    def store_page(self, pool: str, matches: Sequence[UserMatch], token: str | None, *, swept: bool) -> None:
        """Store one page of a sweep and the token of the next page."""
        with self._transaction():
            self._match(pool, matches)
            self._hint(pool, matches)
            self._db.execute(
                "INSERT INTO searches (pool, token, pages, users, swept) VALUES (?, ?, 1, ?, ?) ON CONFLICT (pool) DO UPDATE SET"
                " token = excluded.token, pages = pages + 1, users = users + excluded.users, swept = excluded.swept",
                (pool, token, len(matches), int(swept)),
            )

    def restart_sweep(self, pool: str) -> None:
        """Reset a sweep to its first page, because its token has expired."""
        with self._transaction():
            self._db.execute("UPDATE searches SET token = NULL, pages = 0, users = 0 WHERE pool = ?", (pool,))

    def store_matches(self, pool: str, answers: Iterable[tuple[str, UserMatch]]) -> None:
        """Store the results for names that were looked up one by one: a user, NOBODY or UNKNOWN."""
        with self._transaction():
            for name, match in answers:
                rank = 0 if match.names else 99
                self._match(pool, [match._replace(names=(name,))], rank)

    def missing(self, pool: str, after: str, most: int) -> list[tuple[str, str]]:
        """Return up to `most` names after `after` without a finding, sorted, as (name, spelling in a row)."""
        with self._broken():
            return self._db.execute(_MISSING, (pool, after, most)).fetchall()

    def mark_absent(self, pool: str) -> None:
        """Mark every row of the pool without a finding as absent."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO found (row, username, status, kind, rank) SELECT row, '', '', ?, 99 FROM sought"
                " WHERE pool = ? ON CONFLICT (row) DO NOTHING",
                (ABSENT, pool),
            )
            self._db.execute("DELETE FROM near WHERE pool = ?", (pool,))

    def findings(self) -> Iterator[RowFinding]:
        """Yield the finding of every row that has one, in input order."""
        with self._broken():
            columns = (
                "row, username, status, kind, modified, coalesce(reachable, 1), iif(kind = ?, coalesce(cause, ''), '')"
            )
            for found in self._db.execute(
                f"SELECT {columns} FROM found LEFT JOIN hints USING (row) ORDER BY row",  # noqa: S608  (constant column names)
                (ABSENT,),
            ):
                yield RowFinding._make(found)

    def _hint(self, pool: str, matches: Iterable[UserMatch]) -> None:
        """Note the rows that nearly name one of these users."""
        has_near = self._db.execute("SELECT EXISTS (SELECT 1 FROM near WHERE pool = ?)", (pool,)).fetchone()[0]
        names = ((name, near_key(name)) for match in matches for name in match.names)
        self._db.executemany(
            _HINT, ({"pool": pool, "name": name, "key": key} for name, key in names if has_near or key != name)
        )

    def _match(self, pool: str, matches: Iterable[UserMatch], rank: int | None = None) -> None:
        self._db.executemany(
            _MATCH,
            (
                {
                    "pool": pool,
                    "name": name,
                    "username": match.username,
                    "status": match.status,
                    "kind": match.kind,
                    "rank": place if rank is None else rank,
                    "modified": match.modified,
                    "reachable": int(match.reachable),
                }
                for match in matches
                for place, name in enumerate(match.names)
            ),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._broken(), transaction(self._db):
            yield

    def _broken(self) -> AbstractContextManager[None]:
        return translate_sqlite_errors(f"The users cannot be stored in {self._path}", (sqlite3.Error, OSError))
