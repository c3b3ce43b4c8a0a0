"""The events on standard error: where a collector reads it, every line there is one of them, and nothing else is."""

import json
import sys
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from bulkreset.errors import EXIT_OK
from bulkreset.terminal.process import Unbreakable, complain


class Events(Unbreakable):
    """Standard error as JSON lines: what is written as text becomes an event. `drawn` takes the log's own lines.

    `run_id` is that of the run that goes on, "" before one has begun.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.drawn: TextIO = stream
        self.run_id = ""
        self._text = ""

    def event(self, name: str, level: str, **fields: object) -> None:
        """Write one event."""
        from bulkreset.record.log import hide_secrets  # noqa: PLC0415  (who says nothing does without structlog)

        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        named = {"run_id": self.run_id} if self.run_id else {}
        event: dict[str, Any] = {**named, **fields, "event": name, "level": level, "timestamp": now}
        super().write(json.dumps(hide_secrets(None, level, event)) + "\n")
        super().flush()

    def write(self, text: str) -> int:
        """Whole lines are events; what is begun is kept until its end, or until it must be read."""
        *lines, self._text = (self._text + text).split("\n")
        for line in lines:
            self._say(line)
        return len(text)

    def flush(self) -> None:
        """A question has no line feed."""
        line, self._text = self._text, ""
        self._say(line)
        super().flush()

    def isatty(self) -> bool:
        """Nothing is drawn here, nor coloured, whoever looks on."""
        return False

    def _say(self, line: str) -> None:
        if line.strip():
            self.event("remark", "warning", message=line.strip())


def speak(*, as_json: bool) -> None:
    """Let standard error be JSON lines from here on, where that is asked for."""
    if as_json:
        sys.stderr = cast("TextIO", Events(getattr(sys.stderr, "drawn", sys.stderr)))


def listener() -> Events | None:
    """Standard error, where it is JSON lines."""
    return sys.stderr if isinstance(sys.stderr, Events) else None


def end(exit_code: int, message: str, *, state: str = "refused", run_dir: str = "", resume: str = "") -> None:
    """Say how it ended: `message` where there is something to say, `resume` the command that goes on with it."""
    if events := listener():
        level = "info" if exit_code == EXIT_OK else "error"
        events.event("ended", level, exit_code=exit_code, state=state, message=message, run_dir=run_dir, resume=resume)
        return
    if message:
        complain(message)
    if resume:
        sys.stderr.write(f"Resume with: {resume}\n")
