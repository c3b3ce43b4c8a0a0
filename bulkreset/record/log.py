"""The log: events as JSON lines in the run directory, and the louder ones on standard error; no secret in either."""

import contextlib
import json
import logging
import threading
from typing import IO, Any

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from bulkreset.rows import Secret

Log = FilteringBoundLogger

# The vocabulary, written down in the README. Every event carries run_id; an event about a row carries row.
EVENTS = (
    "run_started",
    "run_resumed",
    "plan_finished",
    "side_service_missing",
    "not_known",
    "sending_started",
    "rate_changed",
    "row_settled",
    "sign_out_failed",
    "lane_stopped",
    "worker_joined",
    "worker_refused",
    "worker_lost",
    "stopped",
    "run_finished",
    "library_warning",
)

# At DEBUG these print request bodies, and a request body is a password.
_LIBRARIES = ("boto3", "botocore", "urllib3", "s3transfer", "awscrt", "werkzeug", "moto")
_HIDDEN = frozenset({"password", "secret", "token", "credentials"})


def open_log(file: IO[str], run_id: str, console: IO[str], *, verbosity: int = 0, console_json: bool = False) -> Log:
    """The run's logger. The console shows warnings, with `verbosity` 1 what happens, with 2 every row; the file never less than 1."""
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
    _pin_libraries(logger)
    return logger


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

    def __init__(self, file: IO[str], console: IO[str], shown: int, *, console_json: bool) -> None:
        self._file = file
        self._console = console
        self._shown = shown
        self._lock = threading.Lock()
        self._render = (
            None
            if console_json
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
            if logging.getLevelNamesMapping()[event["level"].upper()] >= self._shown:
                self._console.write((self._render(None, "", dict(event)) if self._render else line) + "\n")

    debug = info = warning = error = critical = _write


class _LibraryHandler(logging.Handler):
    """Passes on what a library warns of, under its own name."""

    def __init__(self, logger: Log) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # The text as the library has it in its code, without what it puts in: that may be an answer, or a request.
        # What Python itself warns of is about code.
        text = record.getMessage() if record.name == "py.warnings" else str(record.msg)
        self._logger.info("library_warning", library=record.name, message=text[:500])


def _pin_libraries(logger: Log) -> None:
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger(name).level))
    logging.captureWarnings(capture=True)
    logging.getLogger().handlers[:] = [_LibraryHandler(logger)]
