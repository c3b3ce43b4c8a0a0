"""Reads the rows, counts and rates of a journal."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from bulkreset.journal import schema
from bulkreset.journal.database import Database, read_uri
from bulkreset.journal.records import Alike, AttemptTotals, JournalFile, PlanMessage, SetRow, StepCounts
from bulkreset.models import RateChange, ReportRow, Row, Secret, Status, StepTask
from bulkreset.statuses import PLAN_REMARKS, SENDABLE, UNCERTAIN

# Returns the password of a row: its number, username, pool, and whether it is permanent.
PasswordOf = Callable[[int, str, str, bool], Secret]

REPORTED_AT_ONCE = 200  # rows

_facts_of: Callable[[str], list[Any]] = lru_cache(maxsize=256)(json.loads)

_Single = tuple[int, str, str, str]  # a row of report_facts with its username


def report_row(row: int, username: str, facts: str, own: str) -> ReportRow:
    """Return a row of `JournalReader.report_facts` with its columns."""
    pool, *others, before, recovery, file, canonical = _facts_of(facts)
    last = (before, recovery, file, username if canonical is None else canonical)
    return ReportRow._make((row, pool, username, *others, *json.loads(own), *last))


def _merged(
    first: int, usernames: list[str], facts: str, own: str, others: Iterable[_Single]
) -> Iterator[tuple[int, list[str], str, str]]:
    """Yield rows in order: those that are alike, of which `first` is the first row, and the others between them."""
    for row, username, its_facts, its_own in others:
        if usernames and row > first:
            yield first, usernames[: row - first], facts, own
            usernames = usernames[row - first :]
        yield row, [username], its_facts, its_own
        first = row + 1
    if usernames:
        yield first, usernames, facts, own


class JournalReader:
    """Reads rows, and counts them. While a run writes, each answer shows one point in time."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._counted: tuple[object, list[Alike]] | None = None

    def files(self) -> list[JournalFile]:
        """Return the files of the input, in order."""
        return [*map(JournalFile._make, self._all(schema.FILES))]

    def rows_to_check(self) -> Iterator[tuple[int, str, str]]:
        """Yield the ready rows, sorted by pool and username: (row, user pool, username)."""
        with self._db.reading():
            yield from self._db.execute(schema.ROWS_TO_CHECK)

    def differences(self, reviewed: Path) -> tuple[int, tuple[int, str, str, str, str] | None]:
        """Return the number of rows that differ from the journal `reviewed`, and the first one or None.

        The row is (row, status there, code there, status here, code here).
        """
        with self._db.reading(), self._attached(reviewed):
            found = self._one(schema.DIFFERENT_ROWS)
        return (found[0], found[1:]) if found else (0, None)

    def already_set(self, others: Iterable[Path]) -> tuple[int, int]:
        """Count the ready rows whose users these journals have set, or may have set. Return (rows, first row)."""
        with self._db.reading():
            self._db.execute(schema.MAKE_SET_ELSEWHERE)
            try:
                for other in others:
                    with self._attached(other):
                        self._db.execute(schema.SET_ELSEWHERE)
                number, first = self._db.execute(schema.ALREADY_SET).fetchone()
            finally:
                self._db.execute(schema.FORGET_SET_ELSEWHERE)
        return number, first

    @contextmanager
    def _attached(self, other: Path) -> Iterator[None]:
        """Let statements in the block read another journal as `other`."""
        self._db.execute("ATTACH ? AS other", (read_uri(other),))
        try:
            yield
        finally:
            self._db.execute("DETACH other")

    def carried(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the carried cells of every row of the input, in input order: (row, cells)."""
        with self._db.reading():
            for row, cells in self._db.execute(schema.CARRIED):
                yield row, json.loads(cells)

    def sendable_pages(self, size: int) -> Iterator[tuple[int, str, int]]:
        """Yield the number of rows still to be sent by page of `size` rows and user pool, in order.

        An item is (page, user pool, rows); pages are counted from 0.
        """
        first, last = self._one(schema.SENDABLE_RANGE)
        for page in range((first - 1) // size, (last - 1) // size + 1) if last else ():
            for pool, count in self._all(schema.SENDABLE_PAGE, (page * size + 1, (page + 1) * size)):
                yield page, pool, count

    def sendable(self, first: int, last: int, password: PasswordOf) -> list[Row]:
        """Return the rows from `first` to `last` that are still to be sent, in order, with their passwords."""
        return self._sendable(schema.SENDABLE, (first, last), password)

    def sendable_after(self, row: int, pools: Collection[str], most: int, password: PasswordOf) -> list[Row]:
        """Return up to `most` rows of `pools` after `row` that are still to be sent, in order, with their passwords."""
        return self._sendable(schema.SENDABLE_AFTER, (row, json.dumps(sorted(pools)), most), password)

    def _sendable(self, statement: str, values: tuple[object, ...], password: PasswordOf) -> list[Row]:
        rows = []
        for row, username, pool, permanent, in_doubt, failed, since, canonical in self._all(statement, values):
            secret = password(row, username, pool, bool(permanent))
            flags = bool(permanent), bool(in_doubt), bool(failed)
            rows.append(Row(row, username, secret, pool, *flags, since, canonical))
        return rows

    def step_order(self, steps: Mapping[str, Collection[str]]) -> str:
        """Return the SQL expression for a row's next step; `steps` maps each step to the pools in which it is taken."""
        ids = dict(self._all(schema.POOL_IDS))
        return schema.step_order((name, [ids[pool] for pool in pools]) for name, pools in steps.items())

    def step_tasks(self, order: str, step: str, pool: str, most: int) -> list[StepTask]:
        """Return up to `most` set users of a pool whose next step is `step`, in any order.

        Call `begin_steps` with the same `order` first.
        """
        (number,) = self._one(schema.POOL, (pool,))
        found = self._all(schema.TO_STEP.format(order=order), (number, step, most))
        return [StepTask(row, username, pool) for row, username in found]

    def failed_step_rows(self) -> int:
        """Return the number of rows with a failed step."""
        return int(self._one(schema.FAILED_STEP_ROWS)[0])

    def set_rows(self) -> Iterator[SetRow]:
        """Yield the rows that were set, in input order."""
        with self._db.reading():
            yield from map(SetRow._make, self._db.execute(schema.SET_ROWS))

    def set_row(self, row: int) -> SetRow | None:
        """Return the row if it was set, else None."""
        found = self._one(schema.SET_ROW, (row,))
        return SetRow._make(found) if found else None

    def report_rows(self, only: Collection[str] = (), *, dry_run: bool) -> Iterator[ReportRow]:
        """Yield all rows in input order; with `only`, the rows that have one of these report statuses.

        The report status of a row that was not sent depends on `dry_run`.
        """
        for first, usernames, facts, own in self.report_facts(only, dry_run=dry_run):
            for row, username in enumerate(usernames, first):
                yield report_row(row, username, facts, own)

    def report_facts(
        self, only: Collection[str] = (), *, dry_run: bool, size: int = REPORTED_AT_ONCE
    ) -> Iterator[tuple[int, list[str], str, str]]:
        """Yield the rows of `report_rows`: (first row, usernames, and two times JSON).

        The first JSON is what these rows and many others have in common; the second is what a row has for itself:
        latency, request ID, start and end. Up to `size` rows in a row are together if they differ in their usernames
        only.
        """
        unsent = Status.READY.at_end(dry_run=dry_run)
        wanted = json.dumps([one for one in Status if one.at_end(dry_run=dry_run) in only]) if only else None
        files = [it.name for it in self.files() if it.first_row is not None]
        file = ":file" if len(files) <= 1 else schema.FILE_OF_ROW
        values = {"unsent": unsent, "wanted": wanted, "file": "".join(files[:1]), "size": size}
        with self._db.reading():
            if only:
                for row, username, facts, own in self._db.execute(schema.REPORT.format(file=file), values):
                    yield row, [username], facts, own
                return

            def rows_of(block: int, *, unlike: bool) -> list[_Single]:
                of_block = {**values, "first": block, "unlike": unlike}
                return self._db.execute(schema.REPORT_BLOCK.format(file=file), of_block).fetchall()

            # Until this statement is at its end, the others see the same point in time.
            for first, rows, facts, own, alike in self._db.execute(schema.REPORT_BLOCKS.format(file=file), values):
                number, *usernames = (alike or "").split("\n")
                sound = number == str(len(usernames))  # not with a line break in a username, or with several files
                others = rows_of(first, unlike=sound) if not sound or len(usernames) < rows else []
                if sound and len(usernames) + len(others) != rows:  # a row is missing
                    sound, others = False, rows_of(first, unlike=False)
                yield from _merged(first, usernames if sound else [], facts, own, others)

    def step_counts(self, column: str) -> dict[str, StepCounts]:
        """Return the counts of the step with this column by user pool."""
        counted = self._all(schema.STEP_COUNTS.format(column=column))
        return {pool: StepCounts(*map(int, found)) for pool, *found in counted}

    def counts(self, *, dead: bool = False) -> dict[str, int]:
        """Return the number of rows by journal status.

        If the process that sends is `dead`, failed rows that it was to retry but did not send count as failed, as in a
        resume.
        """
        return self._sums(lambda it: _status_found(it, dead=dead))

    def perhaps_set(self) -> int:
        """Return the number of rows whose users are set, or may be because a call has no known answer."""
        return int(self._one(schema.PERHAPS_SET)[0])

    def pool_counts(self, *, dead: bool = False) -> list[tuple[str, str, int]]:
        """Return the number of rows by user pool and journal status, as `counts` does: (user pool, status, rows)."""
        return self._by_pool(lambda it: (_status_found(it, dead=dead),))

    def sent_since(self, moment: int) -> tuple[int, int] | None:
        """Return when the first call began and the last one ended, of the calls answered since `moment`.

        All times are Unix milliseconds; a begin before `moment` is set to `moment`. Returns None if there were no such
        calls.
        """
        first, last = self._one(schema.SENT_SINCE, (moment,))
        return None if last is None else (max(moment, first), last)

    def finished_since(self, moment: int) -> int:
        """Return the number of rows that have finished since `moment` (Unix milliseconds)."""
        return int(self._one(schema.FINISHED_SINCE, (moment,))[0])

    def rate_changes(self) -> dict[tuple[str, str], int]:
        """Return the number of stored rate changes by lane (account, Region)."""
        return {(account, region): count for account, region, count in self._all(schema.RATES)}

    def sendable_counts(self) -> list[tuple[str, int, int]]:
        """Return the number of rows still to be sent: (user pool, permanent, rows)."""
        return self._by_pool(lambda it: (it.permanent,) if it.status in SENDABLE else None)

    def status_before_counts(self) -> dict[str, int]:
        """Return the number of rows still to be sent by user status; users with an unknown status are left out."""
        return self._sums(lambda it: it.status_before if it.status in SENDABLE else None)

    def recovery_counts(self) -> list[tuple[str, int, str, int]]:
        """Return the number of rows still to be sent by the user's recovery: (user pool, permanent, recovery, rows)."""
        return self._by_pool(
            lambda it: (it.permanent, it.recovery) if it.status in SENDABLE and it.recovery is not None else None
        )

    def recovery_by_status(self) -> list[tuple[str, str, int]]:
        """Return the number of all rows by the user's recovery and journal status: (recovery, status, rows)."""
        found = self._sums(lambda it: None if it.recovery is None else (it.recovery, it.status))
        return [(*of, rows) for of, rows in found.items()]

    def plan_messages(self, beginning: str, most: int) -> list[PlanMessage]:
        """Return the messages with this beginning on ready and rejected rows, with up to `most` of their rows."""
        if not any(it.has_message and it.status in PLAN_REMARKS for it in self._alike()):
            return []
        return [
            PlanMessage(message, number, tuple(row for (row,) in self._all(schema.ROWS_WITH_MESSAGE, (message, most))))
            for message, number in self._all(schema.PLAN_MESSAGES, (beginning,))
        ]

    def codes(self) -> dict[str, int]:
        """Return the number of rows by code, the most frequent first."""
        return dict(_most_frequent(self._sums(lambda it: it.code or None)))

    def totals(self) -> AttemptTotals:
        """Return the sums of attempts and throttled attempts over all rows."""
        return AttemptTotals._make(self._one(schema.TOTALS))

    def recent_rate(self, seconds: int) -> float:
        """Return the rows finished per second in the last `seconds` before the newest outcome.

        The time counts from the first of these rows. Returns 0.0 if there are fewer than two.
        """
        rows, first, last = self._one(schema.RECENT_RATE, (seconds * 1000,))
        return (rows - 1) * 1000 / (last - first) if last != first else 0.0

    def send_span(self) -> tuple[int, int] | None:
        """Return when the first call began and the last one ended, in Unix milliseconds; None without calls."""
        first, last = self._one(schema.SEND_SPAN)
        return None if first is None else (first, last)

    def finished_over_time(self, first: int, width: int) -> list[tuple[int, int, int]]:
        """Return finished rows and throttled calls by bucket of `width` ms from `first`: (bucket, rows, throttled)."""
        found = self._all(schema.FINISHED_OVER_TIME, {"first": first, "width": width})
        return [(bucket, int(rows), int(throttled)) for bucket, rows, throttled in found]

    def rates_over_time(self, first: int, width: int) -> list[tuple[str, str, int, float, float]]:
        """Return each lane's rates by bucket of `width` ms from `first`: (account, Region, bucket, mean, last)."""
        found = self._all(schema.RATES_OVER_TIME, {"first": first, "width": width})
        return [(account, region, bucket, mean, last) for account, region, bucket, mean, last, _ in found]

    def first_rate_changes(self, most: int) -> list[RateChange]:
        """Return the first `most` rate changes."""
        return [RateChange(*found) for found in self._all(schema.RATE_CHANGES, (most,))]

    def rate_reasons(self) -> list[tuple[str, str, str, int, float, float]]:
        """Return rate changes by lane and reason: (account, Region, reason, changes, lowest rate, highest rate)."""
        return self._all(schema.RATE_REASONS)

    def latencies(self) -> list[tuple[int, int]]:
        """Return the number of rows by the latency of their last call: (ms, rows), the fastest first."""
        return self._all(schema.LATENCIES)

    def codes_by_status(self, most: int) -> list[tuple[str, str, int]]:
        """Return the `most` most frequent pairs of status and code, the most frequent first: (status, code, rows)."""
        found = self._sums(lambda it: (it.status, it.code) if it.code or it.status in UNCERTAIN else None)
        return [(*of, rows) for of, rows in _most_frequent(found)[:most]]

    def slowest_rows(self, most: int) -> list[ReportRow]:
        """Return the `most` rows with the slowest last calls, with the journal's status and without `file`."""
        return [*map(ReportRow._make, self._all(schema.SLOWEST, (most,)))]

    def rows_needing_attention(self, most: int) -> list[ReportRow]:
        """Return up to `most` rows that are neither set nor ready, or with a failed step; most serious first.

        They have the form of those of `slowest_rows`.
        """
        return [*map(ReportRow._make, self._all(schema.ROWS_NEEDING_ATTENTION, (most,)))]

    def _alike(self) -> list[Alike]:
        """Return how many rows are alike, for all rows. They are counted again only if a row has changed."""
        with self._db.reading():
            version = self._db.version()
            if self._counted is None or self._counted[0] != version:
                common = Counter(self._db.execute(schema.COMMON)).most_common(1)
                found = [*map(Alike._make, self._db.execute(schema.UNCOMMON, common[0][0]))] if common else []
                (rows,) = self._db.execute(schema.NUMBER_OF_ROWS).fetchone()
                found += [Alike._make((*values, rows - sum(it.rows for it in found))) for values, _ in common]
                self._counted = version, found
            return self._counted[1]

    def _sums(self, key: Callable[[Alike], Any]) -> dict[Any, int]:
        """Return the number of rows by their `key`, in its order; rows whose key is None are left out."""
        found: Counter[Any] = Counter()
        for one in self._alike():
            if (of := key(one)) is not None:
                found[of] += one.rows
        # A text is compared by its letters, as a text is, and a tuple by its texts: a part may be None.
        return dict(sorted(found.items(), key=lambda counted: tuple(map(str, counted[0]))))

    def _by_pool(self, key: Callable[[Alike], tuple[Any, ...] | None]) -> list[Any]:
        """Return the number of rows by user pool and `key`, a tuple: (user pool, *key, rows)."""
        names = {number: pool for pool, number in self._all(schema.POOL_IDS)}
        found = self._sums(
            lambda it: (names[it.pool], *of) if it.pool in names and (of := key(it)) is not None else None
        )
        return [(*of, rows) for of, rows in found.items()]

    def _all(self, statement: str, values: Any = ()) -> list[Any]:  # noqa: ANN401  (any values SQLite accepts)
        with self._db.reading():
            return self._db.execute(statement, values).fetchall()

    def _one(self, statement: str, values: Any = ()) -> Any:  # noqa: ANN401  (as above)
        with self._db.reading():
            return self._db.execute(statement, values).fetchone()


def _status_found(alike: Alike, *, dead: bool) -> str:
    """Return the status of rows. A ready row with a code is a failed one to be sent again: see RETRY_FAILED."""
    return Status.FAILED.value if dead and alike.status == Status.READY and alike.code else alike.status


def _most_frequent(found: dict[Any, int]) -> list[tuple[Any, int]]:
    return sorted(found.items(), key=lambda counted: -counted[1])
