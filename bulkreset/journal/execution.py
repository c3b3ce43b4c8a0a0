"""The execution: who set a run going, where and with what; a resumed run has several."""

import os
import platform
import pwd
from datetime import UTC, datetime

from bulkreset.version import __version__


def new_execution() -> dict[str, object]:
    """What is known of an execution as it begins."""
    return {"started_at": utc_now(), "user": _user(), "host": platform.node(), "version": __version__}


def utc_now() -> str:
    """The time as journal and summary have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_ms(told: str) -> int:
    """A time as `utc_now` has it, in Unix milliseconds."""
    return round(datetime.fromisoformat(told).timestamp() * 1000)


def _user() -> str:
    """Whom the system takes us for, whatever the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container the user may have a number and no name
        return str(os.getuid())
