"""The `report` command: writes a report again, in any form, from the journal of a live or an ended run."""

import difflib
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from bulkreset.errors import RecordError, Refused
from bulkreset.files import ELSEWHERE, require_new
from bulkreset.job import SUFFIXES
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.report.page import write_page
from bulkreset.report.redaction import Redaction
from bulkreset.report.report_writers import REPORTED, WRITERS, ReportSpec, stream_report, write_report
from bulkreset.report.summary import build_summary, write_summary
from bulkreset.text import terminal_safe

STANDARD_OUTPUT = Path("-")
_SUFFIXES = {suffix: form for form in WRITERS for suffix in SUFFIXES[form]} | {".html": "html"}


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """The report to write. A field that is None is taken from the run's own report.

    `only` are statuses (empty: all). `output` is a new file or STANDARD_OUTPUT. `redacted`: hashes replace usernames.
    `bom`: a CSV report begins with a byte order mark, for Excel.
    """

    form: str | None = None
    only: Sequence[str] = ()
    output: Path | None = None
    redacted: bool | None = None
    bom: bool = False


def rewrite_report(path: Path, wanted: ReportRequest, out: int = 1) -> Path | None:
    """Write a report of the run in `path`. Returns its path, or None if it was written to the file descriptor `out`.

    Raises Refused for a request that does not fit, RecordError if the report cannot be written.
    """
    home = RunDir.open(path)
    if wanted.output and wanted.output != STANDARD_OUTPUT:
        require_new(wanted.output)
    with closing(Journal.open(home.journal, read_only=True)) as journal:
        own: dict[str, Any] = {"format": "csv", "redact": None} | journal.state.job.get("report", {})
        form = wanted.form or _format_of(wanted.output) or own["format"]
        _require_consistent(form, wanted, out)
        redacted = bool(own["redact"]) if wanted.redacted is None else wanted.redacted
        spec = ReportSpec(form, wanted.only, Redaction.load(home.redaction_key) if redacted else None, wanted.bom)
        if form == "html":
            page = wanted.output or home.path / _default_name(spec, own_is_redacted=bool(own["redact"]))
            write_page(journal, page, home.path, alive=home.is_held(), redaction=spec.redaction)
            return page
        if wanted.output == STANDARD_OUTPUT:
            _stream(journal, out, spec)
            return None
        target = wanted.output or home.path / _default_name(spec, own_is_redacted=bool(own["redact"]))
        advice = ELSEWHERE if wanted.output else ""
        write_report(journal, target, spec, advice, dry_run=journal.state.is_dry_run)
    return target


def rewrite_end(home: RunDir, journal: Journal) -> None:
    """Write the summary and the page of an ended run again, after a fact about the run has changed.

    Raises RecordError.
    """
    end = journal.state.end
    if end is None:  # a crashed run has none
        return
    end = end.model_copy(update={"stopped_by": journal.state.stopped_by})
    write_summary(build_summary(journal, end), home.summary)
    if home.page.exists():
        redacted = journal.state.job.get("report", {}).get("redact")
        write_page(journal, home.page, home.path, redaction=Redaction.load(home.redaction_key) if redacted else None)


def parse_statuses(asked: Sequence[str]) -> tuple[str, ...]:
    """Return the statuses in texts like "failed,rejected", each once, in the report's order.

    Raises Refused for an unknown status.
    """
    words = {word.strip() for text in asked for word in text.split(",")}
    for word in sorted(words - {*REPORTED}):
        close = difflib.get_close_matches(word, REPORTED, n=1)
        raise Refused(
            f"--only: {word!r} is not a status{f'; did you mean {close[0]}?' if close else '.'}"
            if word
            else "--only names no status.",
            f"The statuses are {', '.join(REPORTED)}.",
        )
    return tuple(status for status in REPORTED if status in words)


def _format_of(output: Path | None) -> str | None:
    """Return the format that the suffix of the output file names. Return None without a file or a suffix.

    Raises Refused for an unknown suffix: the content would not match the name.
    """
    if output is None or output == STANDARD_OUTPUT or not output.suffix:
        return None
    form = _SUFFIXES.get(output.suffix.lower())
    if form is None:
        raise Refused(
            f"-o {output}: a report cannot be written as {output.suffix}.",
            f"Use {', '.join(_SUFFIXES)}, or name the format with --format.",
        )
    return form


def _require_consistent(form: str, wanted: ReportRequest, out: int) -> None:
    if wanted.bom and form != "csv":
        raise Refused(f"--bom is for CSV, and the report is {form}.", "Leave one of the two out.")
    if form == "html" and wanted.only:
        raise Refused(
            "A page shows the whole run: --only goes with csv, parquet or jsonl.", "Leave one of the two out."
        )
    if form == "html" and wanted.output == STANDARD_OUTPUT:
        raise Refused("A page is a separate file.", "Name it with -o, or leave -o out.")
    if form == "parquet" and wanted.output == STANDARD_OUTPUT and os.isatty(out):
        raise Refused("Parquet is not for a terminal.", "Name a file with -o, or a pipe.")


def _default_name(spec: ReportSpec, *, own_is_redacted: bool) -> str:
    """Return the file name: the run's own if the report is complete and redacted alike, otherwise a different one."""
    parts = ["report", *spec.only]
    if (redacted := spec.redaction is not None) != own_is_redacted:
        parts.append("redacted" if redacted else "usernames")
    if spec.bom:
        parts.append("excel")
    return f"{'-'.join(parts)}.{spec.form}"


def _stream(journal: Journal, out: int, spec: ReportSpec) -> None:
    """Write to the file descriptor directly: a stream may ignore errors, and a partial report would look complete."""
    try:
        with open(out, "wb", closefd=False) as stream:
            wrapped = cast("IO[bytes]", _TerminalWriter(stream)) if os.isatty(out) else stream
            stream_report(journal, wrapped, spec, dry_run=journal.state.is_dry_run)
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        return
    except OSError as error:
        raise RecordError(
            f"The report could not be written completely to standard output: {error.strerror}.", "Write it again."
        ) from None


class _TerminalWriter:
    """A terminal stream that shows invisible characters of each row."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, row: bytes) -> int:
        """Write one row and return the number of bytes."""
        return self._stream.write(terminal_safe(row.decode()).encode())
