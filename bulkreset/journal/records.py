"""Types for the rows, files and counts read from the journal."""

from collections.abc import Mapping
from typing import NamedTuple

from bulkreset.clock import DAY_MS
from bulkreset.text import format_iso


class JournalFile(NamedTuple):
    """One file of the input. `first_row` is None if the file has no rows or was not read yet."""

    name: str
    size: int
    sha256: str
    version: str = ""
    first_row: int | None = None


class PlanMessage(NamedTuple):
    """A message that the plan has added to `number` rows; `rows` are the first of them."""

    message: str
    number: int
    rows: tuple[int, ...]


class SetRow(NamedTuple):
    """A row that was set. `started_at` (first call) and `finished_at` (last call) are Unix milliseconds.

    `canonical` is the user's own name if known, else the username.
    """

    row: int
    pool: str
    username: str
    canonical: str
    permanent: int
    started_at: int
    finished_at: int

    def expires_at(self, temporary_days: Mapping[str, int | None]) -> str:
        """Return when the user's temporary password expires; "" if it is permanent, or that is not known.

        `temporary_days` says how long one is valid in each pool.
        """
        days = None if self.permanent else temporary_days.get(self.pool)
        return "" if days is None else format_iso(self.finished_at + days * DAY_MS, "seconds")


class Alike(NamedTuple):
    """How many `rows` have these facts. `pool` is its number in the journal, or "" if no target has the row's pool."""

    pool: int | str
    permanent: int | None
    status: str
    code: str
    has_message: int
    status_before: str | None
    recovery: str | None
    rows: int


class AttemptTotals(NamedTuple):
    """Attempts and throttled attempts over all rows."""

    attempts: int
    throttled: int


class StepCounts(NamedTuple):
    """Numbers of set users by the state of a step: done, failed, still to be taken."""

    done: int = 0
    failed: int = 0
    pending: int = 0
