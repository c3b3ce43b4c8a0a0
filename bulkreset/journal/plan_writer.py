"""The plan in the journal: rows as they were read and screened, compared with the directory, each other and another plan."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from bulkreset.journal import schema
from bulkreset.journal.connection import read_uri
from bulkreset.journal.queries import JournalQueries
from bulkreset.journal.records import JournalFile


class PlanWriter(JournalQueries):
    """What is written while nothing has been sent: the disk is not waited for."""

    def add_rows(self, rows: Iterable[tuple[int, str, str, bool | None, str, str, str]]) -> None:
        """Add screened rows: (row, pool, username, permanent, status, code, message)."""
        with self._transaction():
            numbers: dict[str, int] = dict(self._db.execute("SELECT user_pool_id, id FROM pools"))
            # Exact ints and strs: SQLite's binding takes everything else through an adapter, row by row.
            self._db.executemany(
                schema.PLAN_ROW,
                (
                    (
                        row,
                        numbers.get(pool, pool),
                        username,
                        None if permanent is None else int(permanent),
                        status,
                        code,
                        message,
                    )
                    for row, pool, username, permanent, status, code, message in rows
                ),
            )

    def files(self) -> list[JournalFile]:
        """The files of the input, in order."""
        with self._read():
            return [JournalFile._make(found) for found in self._db.execute(schema.FILES)]

    def begin_file(self, number: int, row: int) -> None:
        """Note with which row a file begins."""
        with self._transaction():
            self._db.execute(schema.BEGIN_FILE, (row, number))

    def rows_to_check(self) -> Iterator[tuple[int, str, str]]:
        """The rows that are ready, by pool and username: (row, user pool, username)."""
        with self._read():
            yield from self._db.execute(schema.ROWS_TO_CHECK)

    def store_findings(self, findings: Iterable[tuple[int, str, str, str, str, str]], **facts: object) -> None:
        """Take in what the directory said of ready rows, and facts that go with it, in one commit.

        (row, status, code, message, the user's status before, the user's own name)
        """
        with self._transaction():
            self._db.executemany(schema.CHECKED, findings)
            self._store(facts)

    def reject_duplicates(self, keep: str, folding: Iterable[str] = (), fold: Callable[[str], str] = str.lower) -> None:
        """Reject the ready rows that name one user: all of them ("refuse"), or all but the "first" or "last".

        In the pools of `folding`, names that fold to one name a single user.
        """
        with self._transaction():
            self._db.create_function("fold", 1, fold, deterministic=True)
            self._db.execute("CREATE TEMP TABLE folding (id INTEGER PRIMARY KEY)")
            self._db.executemany(
                "INSERT INTO folding SELECT id FROM pools WHERE user_pool_id = ?", [(pool,) for pool in folding]
            )
            self._db.execute(schema.DUPLICATES)
            if self._db.execute("SELECT EXISTS (SELECT 1 FROM twins)").fetchone()[0]:
                self._db.execute("CREATE INDEX temp.twin ON twins (who, pool)")
                self._db.execute(schema.REJECT_DUPLICATES, {"keep": keep})
            self._db.execute("DROP TABLE twins")
            self._db.execute("DROP TABLE folding")

    def differences(self, reviewed: Path) -> tuple[int, tuple[int, str, str, str, str] | None]:
        """How many rows are not what another journal has of them, and the first: (row, status and code there, and here)."""
        with self._read():
            self._db.execute("ATTACH ? AS reviewed", (read_uri(reviewed),))
            try:
                (number,) = self._db.execute(f"SELECT count(*) {schema.DIFFERENT_ROWS}").fetchone()
                columns = "row, was.status, was.code, now.status, now.code"
                first = self._db.execute(f"SELECT {columns} {schema.DIFFERENT_ROWS} ORDER BY row LIMIT 1").fetchone()
            finally:
                self._db.execute("DETACH reviewed")
        return number, first

    def forget_plan(self) -> None:
        """Throw away an unfinished plan, of which nothing has been sent."""
        with self._transaction():
            self._db.execute("DELETE FROM rows")
            self._db.execute("UPDATE files SET first_row = NULL")

    def _store(self, facts: Mapping[str, object]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
            [(key, json.dumps(value)) for key, value in facts.items()],
        )
