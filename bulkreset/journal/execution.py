"""Facts about an execution: user, host and program version; a resumed run has several executions."""

import os
import platform
import pwd
from datetime import datetime

from bulkreset.clock import now_ms
from bulkreset.journal.run_state import Execution
from bulkreset.text import format_iso
from bulkreset.version import __version__


def new_execution() -> Execution:
    """Return the facts about an execution that are known when it begins."""
    return Execution(started_at=utc_now(), user=_user(), host=platform.node(), version=__version__)


def utc_now() -> str:
    """Return the current time as the journal and the summary write it (ISO 8601, UTC, milliseconds, "Z")."""
    return format_iso(now_ms())


def unix_ms(iso: str) -> int:
    """Convert a time as `utc_now` returns it to Unix milliseconds."""
    return round(datetime.fromisoformat(iso).timestamp() * 1000)


def operator() -> str:
    """Return who gives an order: the user and the machine."""
    return f"{_user()}@{platform.node()}"


def _user() -> str:
    """Return the user name that the system knows; environment variables are ignored."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container the user may have an ID but no name
        return str(os.getuid())
