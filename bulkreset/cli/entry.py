"""The first module of the command line.

It imports little, so that signals, and libraries that end the process, are handled from the start.
"""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OWNER = ctypes.create_string_buffer(1)  # its address tells our handler from others
GARBAGE = 50_000  # new objects between two collections: some MB


class InterruptedEarly(SystemExit):
    """A signal that arrived before the command handles signals itself. Nothing was sent."""


def main() -> None:
    """Run the console script."""
    guarded(_command)


def guarded(command: Callable[[], None]) -> None:
    """Run a command that ends with SystemExit. A signal ends it with 128 + its number, a library never with 1."""
    # numpy's library starts a thread for each processor and reserves memory for each. If it gets none, it ends the
    # process.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # While loading, libraries make 200,000 permanent objects. By default, Python would search them again and again.
    gc.set_threshold(GARBAGE)
    _end_at_signals()
    try:
        with _libraries_abort():
            command()
    except InterruptedEarly as left:
        _write_end(int(str(left.code)))
        raise SystemExit(left.code) from None
    finally:
        gc.freeze()  # otherwise Python searches all objects once more before the process ends: 0.4 s after a run


def _command() -> None:
    from bulkreset.cli.main import run

    run()


def _end_at_signals() -> None:
    """Let the first signal end the command and the second one the process, until the command handles signals itself."""
    caught = False

    def leave(number: int, _frame: FrameType | None) -> None:
        nonlocal caught
        if caught:
            os._exit(128 + number)
        caught = True
        raise InterruptedEarly(128 + number)

    handle_signals(leave)


def handle_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Let `handler` handle the signals that end a command, except those that are ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP, and that must stay so
            signal.signal(number, handler)


def _write_end(exit_code: int) -> None:
    """Write how the command ended: as an event if it was asked for JSON lines."""
    from bulkreset.cli import json_events

    json_events.enable(as_json=json_events.is_asked_for())
    json_events.emit_ended(exit_code, "Interrupted. Nothing was sent.", state="interrupted")
    with suppress(OSError, ValueError):
        sys.stderr.flush()


@contextmanager
def _libraries_abort() -> Iterator[None]:
    """Turn an exit of a C library during the block into an abort (exit code 134).

    OpenBLAS exits with 1 if it gets no memory, which would say that the run has finished.
    """
    libc = ctypes.CDLL(None)
    register, forget = getattr(libc, "__cxa_atexit", None), getattr(libc, "__cxa_finalize", None)
    if register is None or forget is None:  # another C library than glibc, musl and that of macOS
        yield
        return
    stop = ctypes.cast(libc["raise"], ctypes.c_void_p)
    register(stop, ctypes.c_void_p(signal.SIGABRT), ctypes.byref(_OWNER))
    try:
        yield
    finally:
        before = signal.signal(signal.SIGABRT, signal.SIG_IGN)  # removing a handler calls it
        forget(ctypes.byref(_OWNER))
        signal.signal(
            signal.SIGABRT, before or signal.SIG_DFL
        )  # None: one that was not set in Python, as faulthandler's
