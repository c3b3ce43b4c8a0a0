"""The process: its streams, signals and limits, set so that nothing breaks a run and nothing of it leaks."""

import contextlib
import io
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any, TextIO, cast

from bulkreset.cancellation import CancelToken
from bulkreset.errors import RecordError, place_of
from bulkreset.hardening import harden_process
from bulkreset.library_logging import pin_libraries, where_warned
from bulkreset.text import terminal_safe


def prepare() -> None:
    """Set up the process, before anything is read."""
    for number in (0, 1, 2):  # a closed one would become the number of the next file that is opened
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that cannot be shown must not end a run
    sys.stdout, sys.stderr = cast("TextIO", TerminalStream(sys.stdout)), cast("TextIO", TerminalStream(sys.stderr))
    os.umask(0o077)
    harden_process(for_good=True)
    # Whatever ends without being caught, and wherever: its text, or its frames in a hook of somebody else's, may have a password.
    sys.excepthook = lambda _kind, error, _trace: _report_bug(error)
    threading.excepthook = lambda uncaught: _report_bug(uncaught.exc_value)
    sys.unraisablehook = lambda uncaught: _report_bug(uncaught.exc_value)
    warnings.formatwarning = where_warned
    pin_libraries()  # not every command opens a log


def install_handlers(stop: CancelToken, leaving: Callable[[int], str]) -> None:
    """The first signal asks the run to stop; a second one leaves at once, resumable. `leaving` says that, in a line.

    Past the streams, which the signal may have found in the middle of something, and only where somebody reads: nothing may
    keep it waiting.
    """

    def caught(number: int, _frame: object) -> None:
        if stop.signal_number:
            with contextlib.suppress(OSError, ValueError):
                if select.select([], [2], [], 0)[1]:
                    os.write(2, leaving(128 + number).encode(errors="backslashreplace"))
            os._exit(128 + number)
        stop.on_signal(number)

    _handle_signals(caught)


def install_cleanup_handlers(stop: CancelToken) -> None:
    """Every signal asks for a stop and none leaves at once: what is written has passwords in it, and must not be left by half."""
    _handle_signals(lambda number, _frame: stop.on_signal(number))


def _handle_signals(caught: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, caught)


class TolerantStream:
    """A standard stream whose reader may go (a closed terminal, `| head`) without ending the run.

    `lost` says why something could not be written though somebody wants it, "" where all was.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost = ""

    def write(self, text: str) -> int:
        """Write, or let the stream go."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._let_go(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or let the stream go."""
        try:
            self._stream.flush()
        except OSError as error:
            self._let_go(error)

    def _let_go(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):  # whoever reads has had enough, as `head` has
            self.lost = self.lost or error.strerror or type(error).__name__
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (whatever the stream has)
        return getattr(self._stream, name)


class TerminalStream(TolerantStream):
    """One that steers no terminal: whatever cannot be seen in what is written is shown. `drawn` is for who draws."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.drawn = TolerantStream(stream)

    def write(self, text: str) -> int:
        """Write what can be read."""
        super().write(terminal_safe(text))
        return len(text)


def _report_bug(error: BaseException | None) -> None:
    """In place of a traceback."""
    if error is not None:
        sys.stderr.write(f"bulkreset: a bug beside the run: {place_of(error)}.\n")


def stdout_error() -> str:
    """Why not all could be written to standard output, told once; "" where all was."""
    sys.stdout.flush()
    why, stream = "", sys.stdout
    if isinstance(stream, TolerantStream):
        why, stream.lost = stream.lost, ""
    return why


def require_stdout_written() -> None:
    """Raise RecordError where what a command is for could not be written to standard output."""
    if why := stdout_error():
        raise RecordError(f"Not all could be written to standard output: {why}.", "Make room, then run it once more.")


def print_error(text: str) -> None:
    """Say on standard error what is wrong."""
    sys.stderr.write(f"bulkreset: {text}\n")
