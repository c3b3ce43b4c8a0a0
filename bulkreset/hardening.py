"""Secrecy: what a process that has passwords keeps from who looks at it from outside: memory, keys of connections, debug output."""

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
    """Let the process leave no core dump, give its memory to no debugger of the same user, and tell no keys of its connections.

    `for_good`: its children cannot have dumps back either.
    """
    most = 0 if for_good else resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    if sys.platform == "linux":  # the limit is not asked where the system hands dumps to a program: see core(5)
        ctypes.CDLL(None).prctl(_DUMPABLE, 0, 0, 0, 0)
    os.environ.pop("SSLKEYLOGFILE", None)  # into which the libraries would write what opens a recorded connection
    disable_debug_output()


def disable_debug_output() -> None:
    """Let no connection print what it sends, nor the C runtime log it, where somebody has asked them to."""
    http.client.HTTPConnection.debuglevel = 0
    if runtime := sys.modules.get("awscrt.io"):  # where it is not loaded, nobody has opened its log
        with contextlib.suppress(RuntimeError):  # nor here
            runtime.set_log_level(runtime.LogLevel.Error)  # at Trace it has signatures and the session's token


def quiet_loggers(libraries: Iterable[str]) -> None:
    """Let no logger of these libraries say more than warnings."""
    names = tuple(libraries)
    for name in names:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger(name).level))
    for name in list(logging.root.manager.loggerDict):  # where the process has opened one of their inner loggers
        if name.startswith(tuple(f"{library}." for library in names)) and logging.getLogger(name).level:
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger(name).level))
