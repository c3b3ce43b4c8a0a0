"""The run's log: JSON lines in the run directory, and higher levels on standard error. No secret is in either."""

import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from typing import IO, Any

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from bulkreset.models import Secret
from bulkreset.process_hardening import LIBRARIES, pin_libraries
from bulkreset.text import show_invisible

Log = FilteringBoundLogger

# docs/reference.md lists all events. Every event carries run_id; an event about a row carries row.

# Warnings as sentences, for a person at a terminal. JSON lines have the event's name and fields instead.
_SENTENCES = {
    "account_unknown": "the account of {user_pool_id} is not known: {problem}. The run continues without it.",
    "control_refused": "{file} is not used: {problem}.",
    "delivery_failed": "{problem}",
    "info_unavailable": "not known: {what} ({action}: {problem}). The run continues without it.",
    "lane_shared": "{others} more runs send in {lane}, such as {example}. What this one does: {mode} (pace.shared).",
    "lane_stopped": "{message} {advice}",
    "mirror_behind": "the mirror is not up to date: {problem}",
    "origin_unreadable": "the run that this input was extracted from cannot be read: {problem}",
    "stopping": "{message}",
    "worker_refused": "worker {worker} is not used: {problem}",
    "worker_lost": "worker {worker} is lost. Other workers get its rows ({in_doubt} in doubt, {lanes} lanes).",
}

_HIDDEN = frozenset({"password", "secret", "token", "credentials"})


def open_log(
    file: IO[str], run_id: str, console: IO[str] | None, *, verbosity: int = 0, console_json: bool = False
) -> Log:
    """Return the run's logger.

    The console shows warnings; with `verbosity` -1 only errors, with 1 also info, with 2 also every row. The file has
    at least level 1. Without a console the process belongs to a host program, and its logging stays unchanged: see
    `apart` and `capture_library_logs`.
    """
    shown = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    logger: Log = structlog.wrap_logger(
        _Sink(file, console, shown, console_json=console_json),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            hide_secrets,
            _pack,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(min(shown, logging.INFO)),
        run_id=run_id,
    ).bind()  # now: otherwise each line of the log, shown or not, would
    if console:
        pin_libraries()
        logging.captureWarnings(capture=True)
        logging.getLogger().handlers[:] = [_LibraryHandler(logger)]
    return logger


@contextlib.contextmanager
def capture_library_logs(logger: Log) -> Iterator[None]:
    """Write the libraries' warnings to `logger` during the block. The logging of the host process stays unchanged."""
    handler = _LibraryHandler(logger)
    for name in LIBRARIES:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in LIBRARIES:
            logging.getLogger(name).removeHandler(handler)


@contextlib.contextmanager
def tolerant_stream(file: IO[str]) -> Iterator[IO[str]]:
    """Yield the log file and close it at the end. A write error on closing is ignored, so it ends no run."""
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()


def hide_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Return the event with every Secret, and every value under a secret's name, masked at any depth.

    This is the last line of defence.
    """
    return {key: _masked(key, value) for key, value in event.items()}


def _masked(key: str, value: object) -> object:
    if isinstance(value, Secret) or key.lower() in _HIDDEN:
        return "********"
    if isinstance(value, dict):
        return {str(inner): _masked(str(inner), found) for inner, found in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(key, found) for found in value]
    return value


def _pack(_logger: object, _method: str, event: EventDict) -> tuple[tuple[EventDict], dict[str, Any]]:
    return (event,), {}


class _Sink:
    """Writes events to the file and, if their level is high enough, to the console. Thread-safe."""

    def __init__(self, file: IO[str], console: IO[str] | None, shown: int, *, console_json: bool) -> None:
        self._file = file
        self._console = console
        self._shown = shown
        self._lock = threading.Lock()
        self._render = (
            None
            if console_json or console is None
            else structlog.dev.ConsoleRenderer(
                colors=console.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        )

    def _write(self, event: EventDict) -> None:
        line = json.dumps(event, ensure_ascii=True, default=lambda value: type(value).__name__)
        # If the log cannot be written (disk full, terminal closed), the run continues if its journal can be written.
        with self._lock, contextlib.suppress(OSError):
            self._file.write(line + "\n")
            self._file.flush()
            if self._console and logging.getLevelNamesMapping()[event["level"].upper()] >= self._shown:
                self._console.write((self._drawn(event) if self._render else line) + "\n")

    def _drawn(self, event: EventDict) -> str:
        """Return a warning as a sentence, another event with colours. Nothing else in it can control the terminal."""
        seen = {key: show_invisible(value) if isinstance(value, str) else value for key, value in event.items()}
        sentence = _SENTENCES.get(event["event"])
        if sentence and event["level"] == "warning":
            prefix = "" if event["event"] == "stopping" else "warning: "  # the user asked for it
            return prefix + sentence.format_map(seen).strip()
        return str(self._render and self._render(None, "", seen))

    debug = info = warning = error = critical = _write


class _LibraryHandler(logging.Handler):
    """Writes a library's warnings to the run's log, with the library's name."""

    def __init__(self, logger: Log) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # Only the message template, without its arguments: those may be a response or a request.
        text = record.getMessage().rstrip() if record.name == "py.warnings" else str(record.msg)
        self._logger.info("library_warning", library=record.name, message=text[:500])
