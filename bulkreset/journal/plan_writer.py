"""Writes the plan to the journal: screened rows, directory findings, duplicates."""

import json
from collections.abc import Callable, Iterable
from itertools import islice

from bulkreset.journal import schema
from bulkreset.journal.database import Database
from bulkreset.journal.records import JournalFile
from bulkreset.journal.state_table import StateTable

ROWS_AT_ONCE = 200


class PlanWriter:
    """Writes the rows of a plan. Commits do not wait for the disk, because nothing has been sent."""

    def __init__(self, db: Database, state: StateTable) -> None:
        self._db = db
        self._state = state

    def add_rows(self, rows: Iterable[tuple[int, str, str, bool | None, str, str, str]]) -> None:
        """Add screened rows, in input order: (row, pool, username, permanent, status, code, message)."""
        rows = iter(rows)
        with self._db.writing():
            numbers: dict[str, int] = dict(self._db.execute("SELECT user_pool_id, id FROM pools"))
            while some := list(islice(rows, ROWS_AT_ONCE)):
                row, pool, names, *rest = zip(*some, strict=True)
                one_kind = row[-1] - row[0] == len(row) - 1 and all(it.count(it[0]) == len(it) for it in (pool, *rest))
                texts = json.dumps(names, ensure_ascii=False) if one_kind else ""
                if one_kind and "\\u0000" not in texts:  # at which SQLite would end a text
                    values = (row[0], numbers.get(pool[0], pool[0]), *(it[0] for it in rest), texts)
                    self._db.execute(schema.PLAN_ALIKE, values)
                else:
                    # Pass exact int and str values: SQLite's binding calls an adapter for every other type.
                    self._db.executemany(
                        schema.PLAN_ROW,
                        (
                            (row, numbers.get(pool, pool), name, None if permanent is None else int(permanent), *rest)
                            for row, pool, name, permanent, *rest in some
                        ),
                    )

    def add_carried(self, first: int, cells: Iterable[tuple[str, ...]]) -> None:
        """Add the carried columns of consecutive rows, from row `first` on."""
        with self._db.writing():
            self._db.execute(schema.CARRIED)
            self._db.executemany(
                "INSERT INTO carried VALUES (?, ?)",
                ((row, json.dumps(one, ensure_ascii=False)) for row, one in enumerate(cells, first)),
            )

    def begin_file(self, number: int, row: int) -> None:
        """Store the first row of a file."""
        with self._db.writing():
            self._db.execute(schema.BEGIN_FILE, (row, number))

    def store_fingerprints(self, files: Iterable[JournalFile], **facts: object) -> None:
        """Store the fingerprints of the files that were read, and these facts of the run state, in one commit."""
        with self._state.writing(facts):
            self._db.executemany(
                schema.FINGERPRINT, [(it.size, it.sha256, it.version, number) for number, it in enumerate(files)]
            )

    def store_findings(self, findings: Iterable[tuple[int, str, str, str, str, str, str]], **facts: object) -> None:
        """Store the directory's findings on ready rows, and these facts of the run state, in one commit.

        A finding is (row, status, code, message, the user's status before, recovery, the user's own name).
        """
        with self._state.writing(facts):
            self._db.executemany(schema.CHECKED, ((*finding, row) for row, *finding in findings))

    def reject_duplicates(self, keep: str, folding: Iterable[str] = (), fold: Callable[[str], str] = str.lower) -> None:
        """Reject ready rows that name the same user: all of them ("refuse"), or all but the "first" or "last".

        In the pools of `folding`, usernames with the same `fold` result are the same user.
        """
        with self._db.writing():
            self._db.create_function("fold", 1, fold, deterministic=True)
            values = {"keep": keep, "folding": json.dumps(list(folding))}
            self._db.execute(schema.DUPLICATES, values)
            if self._db.execute("SELECT 1 FROM twins").fetchone():
                self._db.execute("CREATE INDEX temp.twin ON twins (who, pool)")
                self._db.execute(schema.REJECT_DUPLICATES, values)
            self._db.execute("DROP TABLE twins")

    def forget_plan(self) -> None:
        """Delete an unfinished plan. None of its rows has been sent."""
        with self._db.writing():
            for statement in schema.FORGET_PLAN.split(";"):
                self._db.execute(statement)
