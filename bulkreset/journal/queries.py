"""Counts and statistics over the rows and rates of a journal."""

from typing import Any, NamedTuple

from bulkreset.journal import schema
from bulkreset.journal.connection import JournalConnection


class AttemptTotals(NamedTuple):
    """Attempts and throttled attempts over all rows."""

    attempts: int
    throttled: int


class SignOutCounts(NamedTuple):
    """Numbers of set users by sign-out state: signed out, failed, still to be signed out."""

    done: int = 0
    failed: int = 0
    pending: int = 0


class PageRow(NamedTuple):
    """A row as the page shows it, with the journal's status; `finished_at` is Unix milliseconds.

    `canonical` is the user's own name if it is known, else the username.
    """

    row: int
    pool: str
    username: str
    status: str
    code: str
    message: str
    attempts: int
    throttled: int
    latency_ms: int | None
    request_id: str
    finished_at: int | None
    canonical: str


class RateChangeRow(NamedTuple):
    """A change of a lane's rate; `at_ms` is Unix milliseconds."""

    at_ms: int
    account: str
    region: str
    rate: float
    reason: str


class JournalQueries(JournalConnection):
    """An open journal with counts over its rows."""

    def sign_outs(self) -> dict[str, SignOutCounts]:
        """Return the sign-out counts by user pool."""
        with self._read():
            return {pool: SignOutCounts(*map(int, found)) for pool, *found in self._db.execute(schema.SIGN_OUTS)}

    def counts(self) -> dict[str, int]:
        """Return the number of rows by journal status."""
        with self._read():
            return dict(self._db.execute("SELECT status, count(*) FROM rows GROUP BY status"))

    def perhaps_set(self) -> int:
        """Return the number of rows whose users have been set, or may have been: a call for them has no known answer."""
        with self._read():
            (rows,) = self._db.execute(schema.PERHAPS_SET).fetchone()
        return int(rows)

    def pool_counts(self) -> list[tuple[str, str, int]]:
        """Return the number of rows by user pool and journal status: (user pool, status, rows)."""
        with self._read():
            return self._db.execute(schema.POOL_COUNTS).fetchall()

    def sent_since(self, moment: int) -> tuple[int, int] | None:
        """Return when the first call began and the last one ended, of the calls answered since `moment`.

        All times are Unix milliseconds; a begin before `moment` is set to `moment`.
        Returns None if there were no such calls.
        """
        with self._read():
            first, last = self._db.execute(schema.SENT_SINCE, (moment,)).fetchone()
        return None if last is None else (max(moment, first), last)

    def rate_changes(self) -> dict[tuple[str, str], int]:
        """Return the number of stored rate changes by lane (account, Region)."""
        with self._read():
            return {(account, region): count for account, region, count in self._db.execute(schema.RATES)}

    def sendable_counts(self) -> list[tuple[str, int, int]]:
        """Return the number of rows still to be sent: (user pool, permanent, rows)."""
        with self._read():
            return self._db.execute(schema.SENDABLE_COUNTS).fetchall()

    def status_before_counts(self) -> dict[str, int]:
        """Return the number of rows still to be sent by user status; users of unknown status are left out."""
        with self._read():
            return dict(self._db.execute(schema.STATUS_BEFORE))

    def warning_count(self, beginning: str) -> int:
        """Return the number of rows that will be sent and have a message that starts with `beginning`."""
        with self._read():
            return int(self._db.execute(schema.WARNING_COUNT, (beginning,)).fetchone()[0])

    def codes(self) -> dict[str, int]:
        """Return the number of rows by code, the most frequent first."""
        with self._read():
            return dict(
                self._db.execute("SELECT code, count(*) FROM rows WHERE code <> '' GROUP BY code ORDER BY 2 DESC, 1")
            )

    def totals(self) -> AttemptTotals:
        """Return the sums of attempts and throttled attempts over all rows."""
        with self._read():
            return AttemptTotals._make(
                self._db.execute("SELECT coalesce(sum(attempts), 0), coalesce(sum(throttled), 0) FROM rows").fetchone()
            )

    def recent_rate(self, seconds: int) -> float:
        """Return the rows settled per second in the last `seconds` before the newest outcome.

        The time counts from the first of these rows. Returns 0.0 if there are fewer than two.
        """
        with self._read():
            rows, first, last = self._db.execute(schema.RECENT_RATE, (seconds * 1000,)).fetchone()
        return (rows - 1) * 1000 / (last - first) if rows > 1 and last > first else 0.0

    def send_span(self) -> tuple[int, int] | None:
        """Return when the first call began and the last one ended, in Unix milliseconds; None without calls."""
        with self._read():
            first, last = self._db.execute(schema.SEND_SPAN).fetchone()
        return None if first is None else (first, last)

    def settled_over_time(self, first: int, width: int) -> list[tuple[int, int, int]]:
        """Return settled rows and throttled calls by bucket of `width` ms from `first`: (bucket, rows, throttled)."""
        with self._read():
            found = self._db.execute(schema.SETTLED_OVER_TIME, {"first": first, "width": width})
            return [(bucket, int(rows), int(throttled)) for bucket, rows, throttled in found]

    def rates_over_time(self, first: int, width: int) -> list[tuple[str, str, int, float, float]]:
        """Return each lane's rates by bucket of `width` ms from `first`: (account, Region, bucket, mean, last)."""
        with self._read():
            found = self._db.execute(schema.RATES_OVER_TIME, {"first": first, "width": width})
            return [(account, region, bucket, mean, last) for account, region, bucket, mean, last, _ in found]

    def first_rate_changes(self, most: int) -> list[RateChangeRow]:
        """Return the first `most` rate changes."""
        with self._read():
            return [RateChangeRow._make(found) for found in self._db.execute(schema.RATE_CHANGES, (most,))]

    def rate_reasons(self) -> list[tuple[str, str, str, int, float, float]]:
        """Return rate changes by lane and reason: (account, Region, reason, changes, lowest rate, highest rate)."""
        with self._read():
            return self._db.execute(schema.RATE_REASONS).fetchall()

    def latencies(self) -> list[tuple[int, int]]:
        """Return the number of rows by the latency of their last call: (ms, rows), the fastest first."""
        with self._read():
            return self._db.execute(schema.LATENCIES).fetchall()

    def codes_by_status(self, most: int) -> list[tuple[str, str, int]]:
        """Return the `most` most frequent pairs of status and code, the most frequent first: (status, code, rows)."""
        with self._read():
            return self._db.execute(schema.CODES_BY_STATUS, (most,)).fetchall()

    def slowest_rows(self, most: int) -> list[PageRow]:
        """Return the `most` rows with the slowest last calls."""
        return self._page_rows(schema.SLOWEST, most)

    def rows_needing_attention(self, most: int) -> list[PageRow]:
        """Return up to `most` rows that are neither set nor ready, or whose sign-out failed; most serious first."""
        return self._page_rows(schema.ROWS_NEEDING_ATTENTION, most)

    def _page_rows(self, statement: str, *values: Any) -> list[PageRow]:  # noqa: ANN401  (any value SQLite accepts)
        with self._read():
            return [PageRow._make(found) for found in self._db.execute(statement, values)]
