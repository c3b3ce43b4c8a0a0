"""Limits on the libraries' logging: warnings only, and kept out of a host process's logging."""

import contextlib
import logging
import threading
from collections.abc import Iterator

from bulkreset.hardening import disable_debug_output, quiet_loggers

# At DEBUG these log request bodies, and a request body contains a password.
LIBRARIES = ("boto3", "botocore", "urllib3", "s3transfer", "smart_open", "awscrt", "werkzeug", "moto", "apprise")
_LOCK = threading.Lock()
_NOBODY = logging.NullHandler()
_muted: dict[str, int] = {}


def pin_libraries() -> None:
    """Limit the libraries to warnings, at any verbosity and whatever the environment sets."""
    quiet_loggers(LIBRARIES)
    disable_debug_output()


def where_warned(
    message: Warning | str,  # noqa: ARG001  (Python's signature)
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,  # noqa: ARG001  (as above)
) -> str:
    """Return a Python warning without its text, because libraries put values into it (pydantic: `input_value=`)."""
    return f"{filename}:{lineno}: {category.__name__}\n"


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Keep the libraries' log records out of the host process's logging during the block.

    A record may contain a request, and with it a password.
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
                if not _muted[name]:  # another run may still be active
                    logging.getLogger(name).propagate = True
                    logging.getLogger(name).removeHandler(_NOBODY)
