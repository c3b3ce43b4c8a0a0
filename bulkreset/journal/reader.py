"""Reads the rows, counts and rates of a journal."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bulkreset.journal import schema
from bulkreset.journal.database import Database, read_uri
from bulkreset.journal.records import (
    AttemptTotals,
    JournalFile,
    PageRow,
    PlanMessage,
    RateChangeRow,
    ReportRow,
    SendableRow,
    SetRow,
    StepCounts,
)
from bulkreset.models import Status, StepTask


class JournalReader:
    """Reads rows, and counts them. While a run writes, each answer is that of one moment."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def files(self) -> list[JournalFile]:
        """Return the files of the input, in order."""
        with self._db.reading():
            return [JournalFile._make(found) for found in self._db.execute(schema.FILES)]

    def rows_to_check(self) -> Iterator[tuple[int, str, str]]:
        """Yield the ready rows, sorted by pool and username: (row, user pool, username)."""
        with self._db.reading():
            yield from self._db.execute(schema.ROWS_TO_CHECK)

    def differences(self, reviewed: Path) -> tuple[int, tuple[int, str, str, str, str] | None]:
        """Return the number of rows that differ from the journal `reviewed`, and the first one or None.

        The row is (row, status there, code there, status here, code here).
        """
        with self._db.reading():
            self._db.execute("ATTACH ? AS reviewed", (read_uri(reviewed),))
            try:
                (number,) = self._db.execute(f"SELECT count(*) {schema.DIFFERENT_ROWS}").fetchone()
                columns = "row, was.status, was.code, now.status, now.code"
                first = self._db.execute(f"SELECT {columns} {schema.DIFFERENT_ROWS} ORDER BY row LIMIT 1").fetchone()
            finally:
                self._db.execute("DETACH reviewed")
        return number, first

    def already_set(self, others: Iterable[Path]) -> tuple[int, int]:
        """Count the ready rows whose users these journals have set, or may have set. Return (rows, first row)."""
        with self._db.reading():
            self._db.execute(
                "CREATE TEMP TABLE set_elsewhere (pool TEXT, username TEXT, PRIMARY KEY (pool, username)) WITHOUT ROWID"
            )
            try:
                for other in others:
                    self._db.execute("ATTACH ? AS other", (read_uri(other),))
                    try:
                        self._db.execute(schema.SET_ELSEWHERE)
                    finally:
                        self._db.execute("DETACH other")
                number, first = self._db.execute(schema.ALREADY_SET).fetchone()
            finally:
                self._db.execute("DROP TABLE set_elsewhere")
        return number, first

    def carried(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the carried cells of every row of the input, in input order: (row, cells)."""
        with self._db.reading():
            for row, cells in self._db.execute("SELECT row, cells FROM carried ORDER BY row"):
                yield row, json.loads(cells)

    def sendable_pages(self, size: int) -> Iterator[tuple[int, str, int]]:
        """Yield the number of rows still to be sent by page of `size` rows and user pool, in order.

        An item is (page, user pool, rows); pages are counted from 0.
        """
        with self._db.reading():
            pools = dict(self._db.execute("SELECT id, user_pool_id FROM pools"))
            first, last = self._db.execute(schema.SENDABLE_RANGE).fetchone()
            for piece in range((first - 1) // size, (last - 1) // size + 1):
                rows = (piece * size + 1, (piece + 1) * size)
                for pool, count in self._db.execute(schema.SENDABLE_PAGE, rows).fetchall():
                    yield piece, pools[pool], count

    def sendable(self, first: int, last: int) -> list[SendableRow]:
        """Return the rows from `first` to `last` that are still to be sent, in order."""
        with self._db.reading():
            return [SendableRow._make(found) for found in self._db.execute(schema.SENDABLE, (first, last))]

    def sendable_after(self, row: int, pools: Collection[str], most: int) -> list[SendableRow]:
        """Return up to `most` rows of `pools` after `row` that are still to be sent, in order."""
        with self._db.reading():
            asked = (row, json.dumps(sorted(pools)), most)
            return [SendableRow._make(found) for found in self._db.execute(schema.SENDABLE_AFTER, asked)]

    def step_order(self, steps: Mapping[str, Collection[str]]) -> str:
        """Return the SQL expression for a row's next step; `steps` maps each step to the pools in which it is taken."""
        with self._db.reading():
            ids = dict(self._db.execute("SELECT user_pool_id, id FROM pools"))
        return schema.step_order((name, [ids[pool] for pool in pools]) for name, pools in steps.items())

    def step_tasks(self, order: str, step: str, pool: str, most: int) -> list[StepTask]:
        """Return up to `most` set users of a pool whose next step is `step`, in any order.

        Call `begin_steps` with the same `order` first.
        """
        with self._db.reading():
            (number,) = self._db.execute("SELECT id FROM pools WHERE user_pool_id = ?", (pool,)).fetchone()
            found = self._db.execute(schema.TO_STEP.format(order=order), (number, step, most)).fetchall()
        return [StepTask(row, username, pool) for row, username in found]

    def failed_step_rows(self) -> int:
        """Return the number of rows with a failed step."""
        with self._db.reading():
            return int(self._db.execute(schema.FAILED_STEP_ROWS).fetchone()[0])

    def set_rows(self) -> Iterator[SetRow]:
        """Yield the rows that were set, in input order."""
        with self._db.reading():
            for found in self._db.execute(schema.SET_ROWS):
                yield SetRow._make(found)

    def set_row(self, row: int) -> SetRow | None:
        """Return the row if it was set, else None."""
        with self._db.reading():
            found = self._db.execute(schema.SET_ROW, (row,)).fetchone()
        return SetRow._make(found) if found else None

    def report_rows(self, unsent: str, only: Collection[str] = ()) -> Iterator[ReportRow]:
        """Yield all rows in input order; with `only`, the rows that have one of these report statuses.

        `unsent` is the report status of a row that was not sent.
        """
        dry_run = unsent == Status.READY
        wanted = json.dumps([one for one in Status if one.at_end(dry_run=dry_run) in only]) if only else None
        with self._db.reading():
            yield from map(ReportRow._make, self._db.execute(schema.REPORT, {"unsent": unsent, "wanted": wanted}))

    def step_counts(self, column: str) -> dict[str, StepCounts]:
        """Return the counts of the step with this column by user pool."""
        with self._db.reading():
            counted = self._db.execute(schema.STEP_COUNTS.format(column=column))
            return {pool: StepCounts(*map(int, found)) for pool, *found in counted}

    def counts(self, *, dead: bool = False) -> dict[str, int]:
        """Return the number of rows by journal status.

        If the process that sends is `dead`, failed rows that it was to send again but did not have failed: a resume
        treats them so.
        """
        with self._db.reading():
            return dict(self._db.execute(schema.COUNTS, {"dead": dead}))

    def perhaps_set(self) -> int:
        """Return the number of rows whose users have been set, or may have been: a call for them has no known answer."""
        with self._db.reading():
            (rows,) = self._db.execute(schema.PERHAPS_SET).fetchone()
        return int(rows)

    def pool_counts(self, *, dead: bool = False) -> list[tuple[str, str, int]]:
        """Return the number of rows by user pool and journal status, as `counts` does: (user pool, status, rows)."""
        with self._db.reading():
            return self._db.execute(schema.POOL_COUNTS, {"dead": dead}).fetchall()

    def sent_since(self, moment: int) -> tuple[int, int] | None:
        """Return when the first call began and the last one ended, of the calls answered since `moment`.

        All times are Unix milliseconds; a begin before `moment` is set to `moment`.
        Returns None if there were no such calls.
        """
        with self._db.reading():
            first, last = self._db.execute(schema.SENT_SINCE, (moment,)).fetchone()
        return None if last is None else (max(moment, first), last)

    def settled_since(self, moment: int) -> int:
        """Return the number of rows that have settled since `moment` (Unix milliseconds)."""
        with self._db.reading():
            return int(self._db.execute(schema.SETTLED_SINCE, (moment,)).fetchone()[0])

    def rate_changes(self) -> dict[tuple[str, str], int]:
        """Return the number of stored rate changes by lane (account, Region)."""
        with self._db.reading():
            return {(account, region): count for account, region, count in self._db.execute(schema.RATES)}

    def sendable_counts(self) -> list[tuple[str, int, int]]:
        """Return the number of rows still to be sent: (user pool, permanent, rows)."""
        with self._db.reading():
            return self._db.execute(schema.SENDABLE_COUNTS).fetchall()

    def status_before_counts(self) -> dict[str, int]:
        """Return the number of rows still to be sent by user status; users of unknown status are left out."""
        with self._db.reading():
            return dict(self._db.execute(schema.STATUS_BEFORE))

    def recovery_counts(self) -> list[tuple[str, int, str, int]]:
        """Return the number of rows still to be sent by the user's recovery: (user pool, permanent, recovery, rows)."""
        with self._db.reading():
            return self._db.execute(schema.RECOVERY_COUNTS).fetchall()

    def recovery_by_status(self) -> list[tuple[str, str, int]]:
        """Return the number of all rows by the user's recovery and journal status: (recovery, status, rows)."""
        with self._db.reading():
            return self._db.execute(schema.RECOVERY_BY_STATUS).fetchall()

    def plan_messages(self, beginning: str, most: int) -> list[PlanMessage]:
        """Return the messages with this beginning on ready and rejected rows, with up to `most` of their rows."""
        with self._db.reading():
            counted = self._db.execute(schema.PLAN_MESSAGES, (beginning,)).fetchall()
            return [
                PlanMessage(
                    message,
                    number,
                    tuple(row for (row,) in self._db.execute(schema.ROWS_WITH_MESSAGE, (message, most))),
                )
                for message, number in counted
            ]

    def codes(self) -> dict[str, int]:
        """Return the number of rows by code, the most frequent first."""
        with self._db.reading():
            return dict(
                self._db.execute("SELECT code, count(*) FROM rows WHERE code <> '' GROUP BY code ORDER BY 2 DESC, 1")
            )

    def totals(self) -> AttemptTotals:
        """Return the sums of attempts and throttled attempts over all rows."""
        with self._db.reading():
            return AttemptTotals._make(
                self._db.execute("SELECT coalesce(sum(attempts), 0), coalesce(sum(throttled), 0) FROM rows").fetchone()
            )

    def recent_rate(self, seconds: int) -> float:
        """Return the rows settled per second in the last `seconds` before the newest outcome.

        The time counts from the first of these rows. Returns 0.0 if there are fewer than two.
        """
        with self._db.reading():
            rows, first, last = self._db.execute(schema.RECENT_RATE, (seconds * 1000,)).fetchone()
        return (rows - 1) * 1000 / (last - first) if rows > 1 and last > first else 0.0

    def send_span(self) -> tuple[int, int] | None:
        """Return when the first call began and the last one ended, in Unix milliseconds; None without calls."""
        with self._db.reading():
            first, last = self._db.execute(schema.SEND_SPAN).fetchone()
        return None if first is None else (first, last)

    def settled_over_time(self, first: int, width: int) -> list[tuple[int, int, int]]:
        """Return settled rows and throttled calls by bucket of `width` ms from `first`: (bucket, rows, throttled)."""
        with self._db.reading():
            found = self._db.execute(schema.SETTLED_OVER_TIME, {"first": first, "width": width})
            return [(bucket, int(rows), int(throttled)) for bucket, rows, throttled in found]

    def rates_over_time(self, first: int, width: int) -> list[tuple[str, str, int, float, float]]:
        """Return each lane's rates by bucket of `width` ms from `first`: (account, Region, bucket, mean, last)."""
        with self._db.reading():
            found = self._db.execute(schema.RATES_OVER_TIME, {"first": first, "width": width})
            return [(account, region, bucket, mean, last) for account, region, bucket, mean, last, _ in found]

    def first_rate_changes(self, most: int) -> list[RateChangeRow]:
        """Return the first `most` rate changes."""
        with self._db.reading():
            return [RateChangeRow._make(found) for found in self._db.execute(schema.RATE_CHANGES, (most,))]

    def rate_reasons(self) -> list[tuple[str, str, str, int, float, float]]:
        """Return rate changes by lane and reason: (account, Region, reason, changes, lowest rate, highest rate)."""
        with self._db.reading():
            return self._db.execute(schema.RATE_REASONS).fetchall()

    def latencies(self) -> list[tuple[int, int]]:
        """Return the number of rows by the latency of their last call: (ms, rows), the fastest first."""
        with self._db.reading():
            return self._db.execute(schema.LATENCIES).fetchall()

    def codes_by_status(self, most: int) -> list[tuple[str, str, int]]:
        """Return the `most` most frequent pairs of status and code, the most frequent first: (status, code, rows)."""
        with self._db.reading():
            return self._db.execute(schema.CODES_BY_STATUS, (most,)).fetchall()

    def slowest_rows(self, most: int) -> list[PageRow]:
        """Return the `most` rows with the slowest last calls."""
        return self._page_rows(schema.SLOWEST, most)

    def rows_needing_attention(self, most: int) -> list[PageRow]:
        """Return up to `most` rows that are neither set nor ready, or with a failed step; most serious first."""
        return self._page_rows(schema.ROWS_NEEDING_ATTENTION, most)

    def _page_rows(self, statement: str, *values: Any) -> list[PageRow]:  # noqa: ANN401  (any value SQLite accepts)
        with self._db.reading():
            return [PageRow._make(found) for found in self._db.execute(statement, values)]
