"""The libraries' own logging: never more than warnings, and apart from a host's where there is one."""

import contextlib
import logging
import threading
from collections.abc import Iterator

from bulkreset.hardening import disable_debug_output, quiet_loggers

# At DEBUG these print request bodies, and a request body is a password.
LIBRARIES = ("boto3", "botocore", "urllib3", "s3transfer", "smart_open", "awscrt", "werkzeug", "moto", "apprise")
_LOCK = threading.Lock()
_NOBODY = logging.NullHandler()
_muted: dict[str, int] = {}


def pin_libraries() -> None:
    """Let no library say more than warnings, at any verbosity and whatever the environment asks for."""
    quiet_loggers(LIBRARIES)
    disable_debug_output()


def where_warned(
    message: Warning | str,  # noqa: ARG001  (Python's signature)
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,  # noqa: ARG001  (as above)
) -> str:
    """What Python warns of, without the text: libraries put values into theirs (pydantic: `input_value=`)."""
    return f"{filename}:{lineno}: {category.__name__}\n"


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Keep the libraries that a run uses out of the process's own logging, for the time of the block.

    What they would write of a run may be a request, and with it a password.
    """
    pin_libraries()
    with _LOCK:
        for name in LIBRARIES:
            _muted[name] = _muted.get(name, 0) + 1
            logging.getLogger(name).propagate = False
            logging.getLogger(name).addHandler(_NOBODY)
    try:
        yield
    finally:
        with _LOCK:
            for name in LIBRARIES:
                _muted[name] -= 1
                if not _muted[name]:  # two runs may be under way
                    logging.getLogger(name).propagate = True
                    logging.getLogger(name).removeHandler(_NOBODY)
