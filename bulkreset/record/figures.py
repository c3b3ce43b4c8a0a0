"""The figures: what a journal says when it is counted."""

from typing import NamedTuple

from bulkreset.record import schema
from bulkreset.record.connection import Connection


class Totals(NamedTuple):
    """Attempts and throttled attempts over all rows."""

    attempts: int
    throttled: int


class SignOuts(NamedTuple):
    """Of the set rows: users who are signed out, those for whom that failed, those who are still to be."""

    done: int = 0
    failed: int = 0
    pending: int = 0


class Figures(Connection):
    """Counts over the rows of an open journal."""

    def sign_outs(self) -> dict[str, SignOuts]:
        """How far the signing out is, by user pool."""
        with self._read():
            return {pool: SignOuts(*map(int, found)) for pool, *found in self._db.execute(schema.SIGN_OUTS)}

    def counts(self) -> dict[str, int]:
        """How many rows have each status of the journal."""
        with self._read():
            return dict(self._db.execute("SELECT status, count(*) FROM rows GROUP BY status"))

    def pool_counts(self) -> list[tuple[str, str, int]]:
        """How many rows of each user pool have each status of the journal: (user pool, status, rows)."""
        with self._read():
            return self._db.execute(schema.POOL_COUNTS).fetchall()

    def rate_changes(self) -> dict[tuple[str, str], int]:
        """How many changes of the rate each lane has noted, by account and Region."""
        with self._read():
            return {(account, region): count for account, region, count in self._db.execute(schema.RATES)}

    def ready(self) -> list[tuple[str, int, int]]:
        """The rows that are still to be sent, counted: (user pool, permanent, rows)."""
        with self._read():
            return self._db.execute(schema.READY).fetchall()

    def before(self) -> dict[str, int]:
        """How many of the rows that are still to be sent have users of each status, where that is known."""
        with self._read():
            return dict(self._db.execute(schema.BEFORE))

    def warned(self, beginning: str) -> int:
        """How many rows that will be sent carry a warning with this beginning."""
        with self._read():
            return int(self._db.execute(schema.WARNED, (beginning,)).fetchone()[0])

    def codes(self) -> dict[str, int]:
        """How many rows have each code, the most frequent first."""
        with self._read():
            return dict(
                self._db.execute("SELECT code, count(*) FROM rows WHERE code <> '' GROUP BY code ORDER BY 2 DESC, 1")
            )

    def totals(self) -> Totals:
        """Sums over all rows."""
        with self._read():
            return Totals._make(
                self._db.execute("SELECT coalesce(sum(attempts), 0), coalesce(sum(throttled), 0) FROM rows").fetchone()
            )

    def recent_rate(self, seconds: int) -> float:
        """Rows settled per second in the last `seconds`, or since the first of them."""
        with self._read():
            rows, first, last = self._db.execute(schema.RECENT, (seconds * 1000,)).fetchone()
        return (rows - 1) * 1000 / (last - first) if rows > 1 and last > first else 0.0
