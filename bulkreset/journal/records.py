"""The entries: what is read of the journal, row by row and file by file."""

from typing import NamedTuple


class SendableRow(NamedTuple):
    """A row that is still to be sent. `doubted`: an earlier call's answer was lost; `revived`: it has failed since."""

    row: int
    username: str
    pool: str
    permanent: int
    was_in_doubt: int
    retrying_failed: int = 0


class JournalFile(NamedTuple):
    """One file of the input. `first_row` is None where it has no row, or was not read yet."""

    name: str
    size: int
    sha256: str
    version: str = ""
    first_row: int | None = None


class SetRow(NamedTuple):
    """A row that was set. Times are Unix milliseconds, of its first and its last call.

    `canonical` is the user's own name, where the row names it otherwise and that is known.
    """

    row: int
    pool: str
    username: str
    canonical: str
    permanent: int
    started_at: int
    finished_at: int


class ReportRow(NamedTuple):
    """A row as the reports have it. Times are Unix milliseconds; truths are 1, 0, or None where there is nothing to say.

    `canonical` is the user's own name where it is known, else the username.
    """

    row: int
    user_pool_id: str
    username: str
    status: str
    code: str
    message: str
    attempts: int
    throttled: int
    in_doubt: int
    permanent: int | None
    signed_out: int | None
    latency_ms: int | None
    request_id: str
    started_at: int | None
    finished_at: int | None
    status_before: str
    file: str
    canonical: str
