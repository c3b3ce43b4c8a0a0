"""Set-up of the process: streams, signals and limits, so that nothing breaks a run and no secret leaks."""

import contextlib
import io
import json
import os
import select
import shutil
import signal
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any, TextIO, cast

from bulkreset.cancellation import CancelToken
from bulkreset.cli.entry import handle_signals
from bulkreset.errors import RecordError, Refused, place_of
from bulkreset.process_hardening import harden_process, pin_libraries, where_warned
from bulkreset.text import terminal_safe


def prepare() -> None:
    """Set up the process. Must run before anything is read."""
    for number in (0, 1, 2):  # the next opened file would get the number of a closed one
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
    # For uncaught errors in every thread: their text, or their frames in another hook, may contain a password.
    sys.excepthook = lambda _kind, error, _trace: _report_bug(error)
    threading.excepthook = lambda uncaught: _report_bug(uncaught.exc_value)
    sys.unraisablehook = lambda uncaught: _report_bug(uncaught.exc_value)
    warnings.formatwarning = where_warned
    pin_libraries()  # because not every command opens a log


def install_handlers(stop: CancelToken, leaving: Callable[[int], str]) -> None:
    """Handle signals: the first asks the run to stop; a second ends the process at once, and the run stays resumable.

    `leaving` returns the last line for an exit code. It is written directly to file descriptor 2, because the signal
    may have interrupted a stream in the middle of a write, and only if that does not block.
    """

    def caught(number: int, _frame: FrameType | None) -> None:
        if stop.signal_number:
            with contextlib.suppress(OSError, ValueError):
                if select.select([], [2], [], 0)[1]:
                    os.write(2, leaving(128 + number).encode(errors="backslashreplace"))
            os._exit(128 + number)
        stop.on_signal(number)

    handle_signals(caught)
    if signal.getsignal(signal.SIGUSR1) is not signal.SIG_IGN:
        signal.signal(signal.SIGUSR1, lambda _number, _frame: stop.toggle_pause())


def install_cleanup_handlers(stop: CancelToken) -> None:
    """Handle signals: each asks for a stop; none ends the process at once, which could leave half a password file."""
    handle_signals(lambda number, _frame: stop.on_signal(number))


class TolerantStream:
    """A standard stream whose reader may go away (a closed terminal, `| head`) without ending the run.

    `lost` is the reason of the first write error, "" if there was none. A reader that closed its pipe is not an error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost = ""

    def write(self, text: str) -> int:
        """Write the text. After an error, redirect the stream to the null device."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._let_go(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream. After an error, redirect it to the null device."""
        try:
            self._stream.flush()
        except OSError as error:
            self._let_go(error)

    def _let_go(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):  # the reader wants no more, as `head` does
            self.lost = self.lost or error.strerror or type(error).__name__
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (any attribute of the stream)
        return getattr(self._stream, name)


class TerminalStream(TolerantStream):
    """A stream that shows invisible characters, so text cannot control the terminal. `drawn` writes unchanged text."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.drawn = TolerantStream(stream)

    def write(self, text: str) -> int:
        """Write the text with signs for invisible characters."""
        super().write(terminal_safe(text))
        return len(text)


def _report_bug(error: BaseException | None) -> None:
    """Write the place of the bug to standard error instead of a traceback."""
    if error is not None:
        sys.stderr.write(f"bulkreset: a bug outside the run: {place_of(error)}.\n")


def stdout_error() -> str:
    """Return why standard output could not be written completely, and clear it; "" if all was written."""
    sys.stdout.flush()
    why, stream = "", sys.stdout
    if isinstance(stream, TolerantStream):
        why, stream.lost = stream.lost, ""
    return why


def require_stdout_written() -> None:
    """Raise RecordError if the command's result could not be written to standard output."""
    if why := stdout_error():
        raise RecordError(
            f"The output could not be written completely to standard output: {why}.",
            "Free disk space, then run it again.",
        )


def require_terminal(advice: str = "Look at a --dry-run first, then pass --yes.") -> None:
    """Raise Refused with `advice` if there is no terminal to ask for confirmation."""
    if not sys.stdin.isatty():
        raise Refused("There is no terminal to ask for confirmation.", advice)


def print_json(value: object, indent: int | None = None) -> None:
    """Write a value to standard output as JSON, on one line without `indent`."""
    sys.stdout.write(json.dumps(value, indent=indent) + "\n")


def write_result(value: object) -> None:
    """Write a command's result as JSON. Raises RecordError if it could not be written completely."""
    print_json(value, indent=2)
    require_stdout_written()


def print_error(text: str) -> None:
    """Write an error message to standard error."""
    sys.stderr.write(fit(f"bulkreset: {text}", sys.stderr) + "\n")


def fit(line: str, stream: TextIO, indent: str = "") -> str:
    """Return a line wrapped between words if the stream is a terminal, which would cut words."""
    if not stream.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
