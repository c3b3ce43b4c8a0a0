"""Recognise reports of this program that are used as an input."""

from collections.abc import Collection, Iterable

from bulkreset.errors import InputError
from bulkreset.job import Location
from bulkreset.text import is_redacted

# Columns that only our files have together: those of `report` and `verify`, without columns that other files have, too.
_REPORTS = (
    frozenset({"row", "user_pool_id", "username", "status", "code", "attempts", "throttled", "request_id"}),
    frozenset({"row", "user_pool_id", "username", "state", "user_status", "set_at", "expires_at"}),
)


def is_report(header: Collection[str]) -> bool:
    """Return whether a file with these columns is a report of this program, or was made from one."""
    names = {name.strip() for name in header}
    return any(columns <= names for columns in _REPORTS)


def require_names(names: Iterable[str], path: Location) -> None:
    """Raise InputError if one of the usernames of a report is a hash."""
    if any(map(is_redacted, names)):
        raise InputError(
            f"{path} has hashes instead of usernames.", "Write that report with --redact none, and use that one."
        )


def no_passwords_error(path: Location) -> InputError:
    """Return the error for a report as the input of a run that needs passwords."""
    return InputError(
        f"The input {path} is a report of bulkreset, which has no passwords.",
        "To send rows of the earlier input again: bulkreset extract RUN_DIR --only failed,rejected -o FILE."
        ' To generate passwords: password.source = "generate".',
    )
