"""Detects swapped columns: usernames in the password column, and the reverse."""

import re
from collections.abc import Sequence

from bulkreset.errors import InputError
from bulkreset.input.batch import RowBatch
from bulkreset.job import InputConfig

SAMPLE_ROWS = 1_000
_MOST = 0.9  # at least this share of the sample's passwords are names, and at most the rest of its usernames
# The forms of an e-mail address, a phone number and a sub in Cognito. A password rarely has one of them.
_NAME = re.compile(
    r"[\w.%+'-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
    r"|\+[0-9][0-9 ()./-]{5,18}[0-9]"
    r"|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
)


def require_not_swapped(spec: InputConfig, chunk: RowBatch) -> None:
    """Raise InputError if the columns of usernames and passwords seem to be swapped, without showing a value.

    With swapped columns every password would be written to the journal and the report, as the name of a user.
    """
    if spec.passwords_may_be_names:
        return
    last = min(chunk.last, chunk.first + SAMPLE_ROWS - 1)
    names, passwords = (chunk.cells(field, chunk.first, last) for field in ("username", "password"))
    rows = [(name, password) for name, password in zip(names, passwords, strict=True) if name and password]
    if not rows:
        return
    if _share([password for _, password in rows]) >= _MOST and _share([name for name, _ in rows]) <= 1 - _MOST:
        columns = spec.columns
        raise InputError(
            f"The column {columns.password!r} of the input {spec.named} has e-mail addresses, phone numbers or UUIDs,"
            f" and the column {columns.username!r} has none: they seem to be swapped.",
            "Correct the header, or set [input] columns. If the passwords are like that, set [input]"
            " passwords_may_be_names = true.",
        )


def _share(values: Sequence[str]) -> float:
    """Return the share of the values that can only be names of users."""
    return sum(bool(_NAME.fullmatch(value.strip())) for value in values) / len(values)
