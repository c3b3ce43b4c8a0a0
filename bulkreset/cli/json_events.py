"""JSON events on standard error for log collectors: every line is one event, and there is no other output."""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, TextIO, cast

from bulkreset.cli.process import TolerantStream, print_error
from bulkreset.errors import EXIT_OK
from bulkreset.text import format_iso, quoted, terminal_safe


class JsonEventStream(TolerantStream):
    """Standard error as JSON lines: each line of text becomes an event. The log writes its lines to `drawn` unchanged.

    `run_id` is the id of the current run, "" before a run has started.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.drawn: TextIO = stream
        self.run_id = ""
        self._text = ""

    def event(self, name: str, level: str, **fields: object) -> None:
        """Write one event."""
        super().write(self.line(name, level, **fields))
        super().flush()

    def line(self, name: str, level: str, **fields: object) -> str:
        """Return one event as a JSON line, with secrets masked."""
        from bulkreset.log import hide_secrets

        now = format_iso(time.time() * 1000, "microseconds")
        named = {"run_id": self.run_id} if self.run_id else {}
        event: dict[str, Any] = {**named, **fields, "event": name, "level": level, "timestamp": now}
        return json.dumps(hide_secrets(None, level, event)) + "\n"

    def write(self, text: str) -> int:
        """Write each complete line as an event. An incomplete line is kept until its end or until `flush`."""
        *lines, self._text = (self._text + text).split("\n")
        for line in lines:
            self._emit_line(line)
        return len(text)

    def flush(self) -> None:
        """Write the incomplete line as an event, because a question has no line feed."""
        line, self._text = self._text, ""
        self._emit_line(line)
        super().flush()

    def isatty(self) -> bool:
        """Return False, so that nothing is drawn or coloured, even on a terminal."""
        return False

    def _emit_line(self, line: str) -> None:
        if line.strip():
            self.event("message", "warning", message=line.strip())


def enable(*, as_json: bool) -> None:
    """Switch standard error to JSON lines if `as_json` is true and they are not yet."""
    if as_json and not current():
        sys.stderr = cast("TextIO", JsonEventStream(getattr(sys.stderr, "drawn", sys.stderr)))


def is_asked_for() -> bool:
    """Return whether the command line asks for JSON lines, before it is parsed: it may have an error."""
    given = re.findall(r"(?:^|\0)--log-format[=\0]([^\0]*)", "\0".join(sys.argv[1:]))
    return (given[-1] if given else os.environ.get("BULKRESET_LOG_FORMAT")) == "json"


def current() -> JsonEventStream | None:
    """Return standard error if it is JSON lines, otherwise None."""
    return sys.stderr if isinstance(sys.stderr, JsonEventStream) else None


def emit_aborted(exit_code: int, run_dir: Path | None = None) -> str:
    """Return the last output of a process that a second signal ends at once. The run stays resumable.

    It is an event if standard error is JSON lines, otherwise text.
    """
    begun = run_dir is not None and run_dir.is_dir()
    message = "Aborted." + (' Rows in progress are "in doubt"; no report was written.' if begun else "")
    resume = f"bulkreset resume {quoted(run_dir)}" if begun else ""
    if events := current():
        where = str(run_dir) if begun else ""
        fields = {"state": "interrupted", "message": message, "run_dir": where, "resume": resume}
        return events.line("ended", "error", exit_code=exit_code, **fields)
    return terminal_safe(f"\nbulkreset: {message}\n" + (f"Resume with: {resume}\n" if resume else ""))


def emit_ended(exit_code: int, message: str, *, state: str = "refused", run_dir: str = "", resume: str = "") -> None:
    """Write how the command ended. `message` may be ""; `resume` is the command that continues the run, or ""."""
    if events := current():
        level = "info" if exit_code == EXIT_OK else "error"
        events.event("ended", level, exit_code=exit_code, state=state, message=message, run_dir=run_dir, resume=resume)
        return
    if message:
        print_error(message)
    if resume:
        sys.stderr.write(f"Resume with: {resume}\n")
