"""Writes to the journal the plan of a run, and what it does: claims, outcomes, steps, rates and its state."""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from bulkreset.journal import schema
from bulkreset.journal.commit_mark import CommitMark
from bulkreset.journal.database import Database
from bulkreset.journal.records import JournalFile
from bulkreset.journal.state_table import StateTable
from bulkreset.models import Claimed, Event, Outcome, RateChange, StateChanged, StepOutcome
from bulkreset.steps import STEPS

ROWS_AT_ONCE = 200  # of a plan


class JournalWriter:
    """Writes the journal. Commits do not wait for the disk until the run sends."""

    def __init__(self, db: Database, state: StateTable) -> None:
        self._db = db
        self._state = state
        self._mark: CommitMark | None = None  # while the run sends

    def add_rows(self, rows: Iterable[tuple[int, str, str, bool | None, str, str, str]]) -> None:
        """Add screened rows, in input order: (row, pool, username, permanent, status, code, message)."""
        rows = iter(rows)
        with self._db.writing():
            numbers: dict[str, int] = dict(self._db.execute(schema.POOL_IDS))
            while some := list(islice(rows, ROWS_AT_ONCE)):
                row, pool, names, *rest = zip(*some, strict=True)
                alike = row[-1] - row[0] == len(row) - 1 and all(it.count(it[0]) == len(it) for it in (pool, *rest))
                # SQLite would end a text at a NUL.
                if alike and "\\u0000" not in (texts := json.dumps(names, ensure_ascii=False)):
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
            self._db.execute(schema.MAKE_CARRIED)
            self._db.executemany(
                schema.ADD_CARRIED,
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
            self._db.create_function("fold", 1, fold)
            values = {"keep": keep, "folding": json.dumps(list(folding))}
            if not self._db.execute(schema.HAS_DUPLICATES, values).fetchone():
                return
            self._db.execute(schema.DUPLICATES, values)
            self._db.execute(schema.INDEX_TWINS)
            self._db.execute(schema.REJECT_DUPLICATES, values)
            self._db.execute(schema.FORGET_TWINS)

    def forget_plan(self) -> None:
        """Delete an unfinished plan. None of its rows has been sent."""
        with self._db.writing():
            for statement in schema.FORGET_PLAN.split(";"):
                self._db.execute(statement)

    def commit(self, events: Sequence[Event]) -> None:
        """Commit all events in one transaction, which is synced to disk while the run sends.

        Outcomes are written before claims: a row that was given back may be claimed again. Raises RecordError.
        """
        by_type: dict[type, list[Any]] = {}
        for event in events:
            by_type.setdefault(type(event), []).append(event)
        changes = {key: value for change in by_type.get(StateChanged, ()) for key, value in change.changes.items()}
        claimed: list[Claimed] = by_type.get(Claimed, [])
        with self._state.writing(changes, counted=self._mark is not None):
            self._db.executemany(schema.SETTLE, map(_settlement, by_type.get(Outcome, ())))
            self._db.executemany(schema.CLAIM, ((claim.at_ms, claim.row) for claim in claimed))
            for out in by_type.get(StepOutcome, ()):
                if out.done is not None:
                    statement = schema.STEP_DONE if out.done else schema.STEP_FAILED
                    values = {"row": out.row, "code": out.code, "message": out.message}
                    self._db.executemany(statement.format(column=STEPS[out.step].column), [values])
            rates: list[RateChange] = by_type.get(RateChange, [])
            self._db.executemany(schema.RATE, ((it.at_ms, it.account, it.region, it.rate, it.reason) for it in rates))
        if self._mark:
            self._mark.advance(self._state.value.commits, max((claim.row for claim in claimed), default=0))

    def change(self, **changes: object) -> None:
        """Set fields of the run state."""
        self.commit([StateChanged(changes)])

    def mark_claimed_in_doubt(self, **facts: object) -> None:
        """Mark the rows that a dead process claimed as in doubt, and store these facts of the run state with it.

        Failed rows that it did not retry are failed again.
        """
        with self._state.writing(facts):
            self._db.execute(schema.MARK_CLAIMED_IN_DOUBT)
            self._db.execute(schema.RESTORE_FAILED)

    def restore_failed(self) -> None:
        """Mark failed rows that were to be retried but were not sent as failed again, at the end of the run."""
        with self._db.writing():
            self._db.execute(schema.RESTORE_FAILED)

    def retry_failed(self) -> dict[str, int]:
        """Make failed rows ready and failed steps pending; return the number of failed rows by code.

        `restore_failed` reverts the rows that are not sent.
        """
        with self._db.writing():
            codes = dict(self._db.execute(schema.FAILED_CODES))
            self._db.execute(schema.RETRY_FAILED)
            self._db.execute(schema.RETRY_STEPS)
        return codes

    def begin_sending(self) -> None:
        """Make every commit wait for the disk from now on, and count it in the mark beside the journal.

        Raises RecordError.
        """
        with self._db.reading():
            self._db.execute(schema.WAIT_FOR_DISK)
        self._mark = self._mark or CommitMark.create(self._db.path, self._state.value)

    def move_log_to_file(self) -> None:
        """Move the write-ahead log into the file, so that the file alone says that sending has begun.

        From now on the files must stay in place. Raises RecordError.
        """
        with self._db.reading():
            self._db.execute(schema.MOVE_LOG).fetchall()
        self._db.remember_files()

    def close(self) -> None:
        """Close the mark."""
        if self._mark:
            self._mark.close()
            self._mark = None

    def begin_steps(self, order: str) -> None:
        """Create the index that finds the users of a step without scanning every row; `order` is from `step_order`."""
        with self._db.writing():
            self._db.execute(schema.FORGET_STEP_ORDER)
            self._db.execute(schema.INDEX_STEPS.format(order=order))


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
