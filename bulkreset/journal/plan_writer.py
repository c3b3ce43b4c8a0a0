"""Writes the plan to the journal: screened rows, directory findings, duplicates; and compares it with another plan."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from bulkreset.journal import schema
from bulkreset.journal.connection import read_uri
from bulkreset.journal.queries import JournalQueries
from bulkreset.journal.records import JournalFile


class PlanWriter(JournalQueries):
    """The journal during planning. Commits do not wait for the disk, because nothing has been sent."""

    def add_rows(self, rows: Iterable[tuple[int, str, str, bool | None, str, str, str]]) -> None:
        """Add screened rows: (row, pool, username, permanent, status, code, message)."""
        with self._transaction():
            numbers: dict[str, int] = dict(self._db.execute("SELECT user_pool_id, id FROM pools"))
            # Pass exact int and str values: SQLite's binding calls an adapter for every other type, row by row.
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
        """Return the files of the input, in order."""
        with self._read():
            return [JournalFile._make(found) for found in self._db.execute(schema.FILES)]

    def begin_file(self, number: int, row: int) -> None:
        """Store the first row of a file."""
        with self._transaction():
            self._db.execute(schema.BEGIN_FILE, (row, number))

    def store_fingerprints(self, files: Iterable[JournalFile]) -> None:
        """Store what the files were when their rows were read."""
        with self._transaction():
            self._db.executemany(
                schema.FINGERPRINT, [(it.size, it.sha256, it.version, number) for number, it in enumerate(files)]
            )

    def rows_to_check(self) -> Iterator[tuple[int, str, str]]:
        """Yield the ready rows, sorted by pool and username: (row, user pool, username)."""
        with self._read():
            yield from self._db.execute(schema.ROWS_TO_CHECK)

    def store_findings(self, findings: Iterable[tuple[int, str, str, str, str, str, str]], **facts: object) -> None:
        """Store the directory's findings on ready rows, and related facts, in one commit.

        A finding is (row, status, code, message, the user's status before, recovery, the user's own name).
        """
        with self._transaction():
            self._db.executemany(schema.CHECKED, ((*finding, row) for row, *finding in findings))
            self._store(facts)

    def reject_duplicates(self, keep: str, folding: Iterable[str] = (), fold: Callable[[str], str] = str.lower) -> None:
        """Reject ready rows that name the same user: all of them ("refuse"), or all but the "first" or "last".

        In the pools of `folding`, usernames with the same `fold` result are the same user.
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
        """Return the number of rows that differ from the journal `reviewed`, and the first one or None.

        The row is (row, status there, code there, status here, code here).
        """
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
        """Delete an unfinished plan. None of its rows has been sent."""
        with self._transaction():
            self._db.execute("DELETE FROM rows")
            self._db.execute("UPDATE files SET first_row = NULL")

    def _store(self, facts: Mapping[str, object]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
            [(key, json.dumps(value)) for key, value in facts.items()],
        )
