"""The one store of pool users, in a temporary file: the listed users, the names to look up, and the findings."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from bulkreset.files import create_file
from bulkreset.journal.database import transaction, translate_sqlite_errors
from bulkreset.plan.similar_names import found_cause, near_key, written_cause

if TYPE_CHECKING:  # loads botocore, which `status` does not need
    from bulkreset.cognito.list_users import PoolUser

# name: folded as its pool compares names. spelled: the spelling in the row, if it differs.
# left_out and listed are the pool's own users as rows; the other tables are the lookup of the rows' users.
# near: the names whose near_key differs from them; hints: why a row that is not found may be so.
# sweeps: how far each part of a pool's listing is; see pool_sweep. list_begun: Unix seconds.
# rank: how certain it is that the name means the user; 0 is the most certain.
_TABLES = """
CREATE TABLE IF NOT EXISTS left_out (
  pool TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (pool, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS listed (
  pool TEXT NOT NULL, username TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, kind TEXT NOT NULL,
  modified INTEGER, recovery TEXT NOT NULL, PRIMARY KEY (pool, username)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sought (
  pool TEXT NOT NULL, name TEXT NOT NULL, row INTEGER NOT NULL, spelled TEXT, PRIMARY KEY (pool, name, row)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS found (
  row INTEGER PRIMARY KEY, username TEXT NOT NULL, status TEXT NOT NULL, kind TEXT NOT NULL, rank INTEGER NOT NULL,
  modified INTEGER, recovery TEXT
);
CREATE TABLE IF NOT EXISTS sweeps (
  pool TEXT NOT NULL, part TEXT NOT NULL, token TEXT, pages INTEGER NOT NULL DEFAULT 0,
  users INTEGER NOT NULL DEFAULT 0, swept INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (pool, part)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS near (
  pool TEXT NOT NULL, key TEXT NOT NULL, row INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (pool, key, row)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hints (row INTEGER PRIMARY KEY, cause TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS list_begun (at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS filled (is_whole INTEGER NOT NULL);
"""

_MATCH = """
INSERT INTO found (row, username, status, kind, rank, modified, recovery)
SELECT row, :username, :status, :kind, :rank, :modified, :recovery FROM sought WHERE pool = :pool AND name = :name
ON CONFLICT (row) DO UPDATE SET username = excluded.username, status = excluded.status, kind = excluded.kind,
  rank = excluded.rank, modified = excluded.modified, recovery = excluded.recovery
WHERE excluded.rank < found.rank
"""

# A user of the pool whose name has this key: rows whose name is similar to this user's, but names no user.
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
INSERT OR IGNORE INTO found (row, username, status, kind, rank, modified, recovery)
SELECT row, username, status, kind, 0, modified, recovery FROM listed
CROSS JOIN sought ON sought.pool = listed.pool AND sought.name = listed.name
ORDER BY listed.pool, listed.username
"""

ABSENT = "absent"
_FILLED_AT_ONCE = 10_000  # rows
UNLISTED = "unlisted"
LIST_LIFE = 24 * 3600  # seconds; an interrupted list that was begun earlier starts again


class UserMatch(NamedTuple):
    """A user that a sweep or a lookup found. `names` identify the user; the most certain name comes first.

    `modified` is Unix milliseconds, None if the service does not return it. `recovery`: how the pool can send the user
    a code, "" if there is no such user.
    """

    names: Sequence[str]
    username: str
    status: str
    kind: str
    modified: int | None = None
    recovery: str = ""

    @classmethod
    def of(cls, user: "PoolUser", kind: str) -> Self:
        """Return the match for a user of a pool; `kind` is the reason to skip the user, or ""."""
        return cls(user.names, user.username, user.status, kind, user.modified, user.recovery.value)


NOBODY = UserMatch((), "", "", ABSENT)
UNKNOWN = UserMatch((), "", "", "unknown")  # whether the user exists could not be determined
NOT_LISTED = UserMatch((), "", "", UNLISTED)  # a listing does not have the user, and no lookup has confirmed that


class RowFinding(NamedTuple):
    """The finding for one row: the user's canonical name, status and kind.

    The kind is `absent` if there is no such user, `unlisted` if only a listing says so, `unknown` if that could not be
    determined. `cause` says why there is no such user, if known.
    """

    row: int
    username: str
    status: str
    kind: str
    modified: int | None = None
    recovery: str = ""
    cause: str = ""

    @property
    def is_absent(self) -> bool:
        """Return whether the pool does not have the user, as far as known."""
        return self.kind in {ABSENT, UNLISTED}


class LookupProgress(NamedTuple):
    """The progress in one part of a pool: next page token, pages and users so far, whether the part is complete."""

    token: str | None = None
    pages: int = 0
    users: int = 0
    swept: bool = False


class UserStore:
    """The users of one plan or verification. If the file is lost, only the time to ask again is lost.

    Leaving the context keeps the file if the names to look up are stored, or after an exception while users are listed,
    so that an interrupted lookup or list can continue. Otherwise it deletes the file.
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
            self._lists = False

    def _opened(self) -> sqlite3.Connection:
        with suppress(FileExistsError):
            os.close(create_file(self._path))
        connection = sqlite3.connect(self._path, isolation_level=None)
        with ExitStack() as on_error:
            on_error.callback(connection.close)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(_TABLES)
            connection.create_function("found_cause", 2, found_cause, deterministic=True)
            if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError
            on_error.pop_all()
        return connection

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_more: object) -> None:
        if self.is_filled or (error and self._lists):
            self._db.close()
        elif not self._discarded:
            self.discard()

    def discard(self) -> None:
        """Close and delete the file, after the journal has stored the findings."""
        self._discarded = True
        self._db.close()
        with self._broken():
            self._remove()

    def resume_list(self, now: float) -> bool:
        """Return whether a list that an interrupted execution began can continue; otherwise delete it.

        `now` is Unix seconds.
        """
        with self._transaction():
            began = self._db.execute("SELECT max(at) FROM list_begun").fetchone()[0]
            self._lists = began is not None and 0 <= now - began < LIST_LIFE
            if not self._lists:
                for table in ("left_out", "listed", "sweeps", "list_begun"):
                    self._db.execute(f"DELETE FROM {table}")  # noqa: S608  (constant table names)
        return self._lists

    def begin_list(self, now: float) -> None:
        """Begin the list, after the users who must not be listed are stored. `now` is Unix seconds."""
        with self._transaction():
            self._db.execute("INSERT INTO list_begun VALUES (?)", (int(now),))
        self._lists = True

    def listed_rows(self) -> int:
        """Return how many users are listed."""
        with self._broken():
            return int(self._db.execute("SELECT count(*) FROM listed").fetchone()[0])

    def exclude(self, names: Iterable[tuple[str, str]]) -> None:
        """Store the users who must not be listed, as (user pool, folded name)."""
        with self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO left_out VALUES (?, ?)", names)

    def add_page(self, pool: str, part: str, users: Iterable[UserMatch], listed: int, token: str | None) -> int:
        """List the chosen users of a page, except those excluded by any of their names, and store the progress.

        `listed` is how many users the page has. Returns how many were not listed before.
        """
        added = 0
        with self._transaction():
            self._advance(pool, part, listed, token)
            for user in users:
                if any(self._db.execute(_LEFT_OUT, (pool, name)).fetchone()[0] for name in user.names):
                    continue
                row = (pool, user.username, user.names[0], user.status, user.kind, user.modified, user.recovery)
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
                "INSERT OR REPLACE INTO sweeps (pool, part, users, swept) SELECT pool, '*', count(*), 1 FROM listed GROUP BY pool"
            )

    def fill(self, rows: Iterable[tuple[int, str, str]], fold: Callable[[str, str], str]) -> None:
        """Store the names to look up: (row, user pool, username), in any order.

        `fold` takes (pool, name) and returns the folded name.
        """
        with self._transaction():
            for table in ("sought", "near", "hints"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  (constant table names)
            if not self.is_filled:
                self._db.execute("DELETE FROM sweeps")  # the parts of the list
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
            found = self._db.execute("SELECT count(DISTINCT name) FROM sought WHERE pool = ?", (pool,)).fetchone()
        return int(found[0])

    def progress(self, pool: str) -> dict[str, LookupProgress]:
        """Return the progress of each part of the sweep in a pool, by part."""
        with self._broken():
            found = self._db.execute("SELECT part, token, pages, users, swept FROM sweeps WHERE pool = ?", (pool,))
            return {
                part: LookupProgress(token, pages, users, bool(swept)) for part, token, pages, users, swept in found
            }

    def begin_sweep(self, pool: str, parts: Iterable[str]) -> None:
        """Begin the sweep of a pool, which has these parts. It replaces an earlier one; its findings stay."""
        with self._transaction():
            self._db.execute("DELETE FROM sweeps WHERE pool = ?", (pool,))
            self._db.executemany("INSERT INTO sweeps (pool, part) VALUES (?, ?)", ((pool, part) for part in parts))

    def store_page(self, pool: str, part: str, matches: Sequence[UserMatch], token: str | None) -> None:
        """Store one page of a part and the token of its next page, None after the last."""
        with self._transaction():
            self._match(pool, matches)
            self._hint(pool, matches)
            self._advance(pool, part, len(matches), token)

    def restart_sweep(self, pool: str, part: str) -> None:
        """Reset a part to its first page, because its token has expired."""
        with self._transaction():
            self._db.execute(
                "UPDATE sweeps SET token = NULL, pages = 0, users = 0 WHERE pool = ? AND part = ?", (pool, part)
            )

    def _advance(self, pool: str, part: str, users: int, token: str | None) -> None:
        self._db.execute(
            "UPDATE sweeps SET token = ?, pages = pages + 1, users = users + ?, swept = ? WHERE pool = ? AND part = ?",
            (token, users, int(token is None), pool, part),
        )

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

    def mark_unlisted(self, pool: str) -> None:
        """Mark every row of the pool without a finding as unlisted."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO found (row, username, status, kind, rank) SELECT row, '', '', ?, 99 FROM sought"
                " WHERE pool = ? ON CONFLICT (row) DO NOTHING",
                (UNLISTED, pool),
            )
            self._db.execute("DELETE FROM near WHERE pool = ?", (pool,))

    def findings(self) -> Iterator[RowFinding]:
        """Yield the finding of every row that has one, in input order."""
        with self._broken():
            columns = "row, username, status, kind, modified, coalesce(recovery, ''), iif(kind IN (?, ?), coalesce(cause, ''), '')"
            for found in self._db.execute(
                f"SELECT {columns} FROM found LEFT JOIN hints USING (row) ORDER BY row",  # noqa: S608  (constant column names)
                (ABSENT, UNLISTED),
            ):
                yield RowFinding._make(found)

    def _hint(self, pool: str, matches: Iterable[UserMatch]) -> None:
        """Record the rows whose names are similar to one of these users'."""
        has_near = self._db.execute("SELECT EXISTS (SELECT 1 FROM near WHERE pool = ?)", (pool,)).fetchone()[0]
        names = ((name, near_key(name)) for match in matches for name in match.names)
        self._db.executemany(
            _HINT, ({"pool": pool, "name": name, "key": key} for name, key in names if has_near or key != name)
        )

    def _match(self, pool: str, matches: Iterable[UserMatch], rank: int | None = None) -> None:
        self._db.executemany(
            _MATCH,
            (
                match._asdict() | {"pool": pool, "name": name, "rank": place if rank is None else rank}
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
