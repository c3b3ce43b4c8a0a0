"""Protection of a process that holds passwords: its memory, its TLS keys and its debug output stay private."""

import contextlib
import ctypes
import http.client
import logging
import os
import resource
import sys
from collections.abc import Iterable
from typing import Final

_DUMPABLE: Final = 4  # PR_SET_DUMPABLE of prctl(2)


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
    http.client.HTTPConnection.debuglevel = 0
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
