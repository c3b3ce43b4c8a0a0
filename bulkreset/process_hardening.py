"""Protection of a process that holds passwords: its memory, TLS keys, debug output and libraries' logs stay private."""

import contextlib
import ctypes
import logging
import os
import resource
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Final

_DUMPABLE: Final = 4  # PR_SET_DUMPABLE of prctl(2)
# At DEBUG these log request bodies, and a request body contains a password.
LIBRARIES = ("boto3", "botocore", "urllib3", "s3transfer", "smart_open", "awscrt", "werkzeug", "moto", "apprise")
_LOCK = threading.Lock()
_NOBODY = logging.NullHandler()
_muted: dict[str, int] = {}


def harden_process(*, for_good: bool) -> None:
    """Disable core dumps, debuggers of the same user (Linux only) and TLS key logs for this process.

    With `for_good`, child processes cannot enable dumps again either.
    """
    most = 0 if for_good else resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    if sys.platform == "linux":  # a system that pipes dumps to a program ignores the limit: see core(5)
        ctypes.CDLL(None).prctl(_DUMPABLE, 0, 0, 0, 0)
    os.environ.pop("SSLKEYLOGFILE", None)  # libraries would write keys there that decrypt recorded traffic
    disable_debug_output()


def disable_debug_output() -> None:
    """Stop connections from printing what they send, and the AWS C runtime from logging it, even if debug is on."""
    if client := sys.modules.get("http.client"):  # if it is not loaded, it is off
        client.HTTPConnection.debuglevel = 0
    if runtime := sys.modules.get("awscrt.io"):  # if it is not loaded, its log is not open
        with contextlib.suppress(RuntimeError):  # raised if its log is not open
            runtime.set_log_level(runtime.LogLevel.Error)  # the Trace level logs signatures and session tokens


def quiet_loggers(libraries: Iterable[str]) -> None:
    """Limit all loggers of these libraries to warnings and above."""
    names = tuple(libraries)
    for name in names:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger(name).level))
    for name in list(logging.root.manager.loggerDict):  # an inner logger may have its own, lower level
        if name.startswith(tuple(f"{library}." for library in names)) and logging.getLogger(name).level:
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger(name).level))


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
