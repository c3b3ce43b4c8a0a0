"""The log: events as JSON lines in the run directory, and the louder ones on standard error; no secret in either."""

import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from typing import IO, Any

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from bulkreset.library_logging import LIBRARIES, pin_libraries
from bulkreset.models import Secret
from bulkreset.text import show_invisible

Log = FilteringBoundLogger

# The vocabulary, written down in docs/reference.md. Every event carries run_id; an event about a row carries row.
# The last four are on standard error alone, in place of what a person reads there (cli/json_events.py).
EVENTS = (
    "run_started",
    "run_resumed",
    "plan_finished",
    "side_service_missing",
    "not_told",
    "not_known",
    "sending_started",
    "rate_changed",
    "row_settled",
    "sign_out_failed",
    "lane_stopped",
    "mirror_behind",
    "worker_joined",
    "worker_refused",
    "worker_lost",
    "stopped",
    "run_finished",
    "library_warning",
    "remark",
    "preflight",
    "progress",
    "ended",
)

_HIDDEN = frozenset({"password", "secret", "token", "credentials"})


def open_log(
    file: IO[str], run_id: str, console: IO[str] | None, *, verbosity: int = 0, console_json: bool = False
) -> Log:
    """The run's logger. The console shows warnings, with `verbosity` 1 what happens, with 2 every row; the file never less than 1.

    Without a console the process is somebody else's, and so is its logging: see `apart` and `heard`.
    """
    shown = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
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
    )
    if console:
        pin_libraries()
        logging.captureWarnings(capture=True)
        logging.getLogger().handlers[:] = [_LibraryHandler(logger)]
    return logger


@contextlib.contextmanager
def capture_library_logs(logger: Log) -> Iterator[None]:
    """Note in `logger` what the libraries warn of, for the time of the block; the process's own logging is left alone."""
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
    """The log's file, closed at the end; what could not be written of it then, as before, ends no run."""
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()


def hide_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The last line of defence: what is a Secret, or goes by the name of one, is masked wherever it stands."""
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
    """Writes one event to the file and, where it is loud enough, to the console. Shared by all threads."""

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
        # A log that cannot be written (a full disk, a closed terminal) must not end a run whose journal still can be.
        with self._lock, contextlib.suppress(OSError):
            self._file.write(line + "\n")
            self._file.flush()
            if self._console and logging.getLevelNamesMapping()[event["level"].upper()] >= self._shown:
                self._console.write((self._drawn(event) if self._render else line) + "\n")

    def _drawn(self, event: EventDict) -> str:
        """The event in colours, which are the only thing in it that steers a terminal."""
        seen = {key: show_invisible(value) if isinstance(value, str) else value for key, value in event.items()}
        return str(self._render and self._render(None, "", seen))

    debug = info = warning = error = critical = _write


class _LibraryHandler(logging.Handler):
    """Passes on what a library warns of, under its own name."""

    def __init__(self, logger: Log) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # The text as the library has it in its code, without what it puts in: that may be an answer, or a request.
        text = record.getMessage().rstrip() if record.name == "py.warnings" else str(record.msg)
        self._logger.info("library_warning", library=record.name, message=text[:500])
