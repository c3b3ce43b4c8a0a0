"""The `extract` command: rows of a run's input with all of their columns, for a new run after they are fixed."""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bulkreset.age_encryption import encrypt_stream, parse_recipients
from bulkreset.cancellation import CancelToken
from bulkreset.errors import InputError, RecordError, Refused, RunDirError
from bulkreset.files import ELSEWHERE, atomic_bytes_writer, require_new
from bulkreset.input.batch import ALL_COLUMNS, CARRIED, MAX_VALUE_LENGTH, RowBatch, carrying
from bulkreset.input.input_set import InputSet
from bulkreset.job import ENCRYPTED, Job
from bulkreset.job.file import job_from_journal
from bulkreset.journal.execution import utc_now
from bulkreset.journal.journal import Journal, locked_run
from bulkreset.journal.origin import Extract, record_extract
from bulkreset.journal.run_dir import RunDir
from bulkreset.plan.input_binding import reopen_input
from bulkreset.statuses import EXTRACTED, Status
from bulkreset.text import quoted

_SHOWN = 10  # row numbers in a message


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    """What to extract: rows with one of the statuses `only`, to the new file `output`.

    A file named .age is encrypted for `recipients`; by default for those in the job.
    """

    output: Path
    only: Sequence[str] = EXTRACTED
    recipients: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ExtractResult:
    """The number of extracted rows, and the numbers of the first malformed rows, which have no columns to extract."""

    output: Path
    rows: int
    malformed: tuple[int, ...] = ()
    left_out: int = 0


def extract(path: Path, wanted: ExtractRequest, stop: CancelToken) -> ExtractResult:
    """Write rows of the unchanged input of the run in `path` as CSV.

    Raises Refused if the request, the run or the input does not fit, Busy if a process works on the run, RecordError if
    the file cannot be written. After an error nothing was written.
    """
    require_new(wanted.output)
    if Status.SET in wanted.only:
        raise Refused(
            "--only set: a new run of these rows would set their passwords again.",
            "Extract the other rows. To look at the set rows: bulkreset report --only set.",
        )
    with locked_run(path, read_only=True) as (home, journal):
        return _extract(home, journal, wanted, stop)


def _extract(home: RunDir, journal: Journal, wanted: ExtractRequest, stop: CancelToken) -> ExtractResult:
    state = journal.state
    job = job_from_journal(state.job, {})
    if job.input.from_pool:
        raise Refused("The rows of this run are the pools' users, not an input.", "Select them with input.select.")
    if not state.is_planned:
        raise RunDirError(
            f"The run in {home.path} has no complete plan yet.",
            f"First: bulkreset resume {quoted(home.path)}",
        )
    to = _recipients(job, wanted)
    job_of_all = job.model_copy(update={"input": carrying(job.input, ALL_COLUMNS)})
    rows = reopen_input(job_of_all, journal)
    if rows is None:
        raise Refused("The run has no input.", "Name a run that read one.")
    chosen = (row.row for row in journal.read.report_rows(wanted.only, dry_run=state.is_dry_run))
    lines = _Lines(rows, chosen)
    digest = hashlib.sha256()
    with atomic_bytes_writer(wanted.output, ELSEWHERE, new=True) as file:
        out = _Hashed(file, digest)
        parts = stop.check_between(lines)
        if to is None:
            for part in parts:
                out.write(part)
        else:
            encrypt_stream(_Source(parts), out, to)
        if not lines.rows:
            raise Refused(
                f"No row of {home.path} has the status {' or '.join(wanted.only)}, or their lines are malformed.",
                "Name other statuses with --only.",
            )
        made = Extract(
            sha256=digest.hexdigest(),
            file=str(wanted.output.absolute()),
            only=tuple(map(str, wanted.only)),
            rows=lines.rows,
            at=utc_now(),
        )
        try:  # before the file has its name: no extract may exist without a record of its origin
            record_extract(home.path, made)
        except OSError as error:
            raise RecordError(f"{home.path} cannot be written: {error.strerror}.", "Check its rights.") from None
    return ExtractResult(wanted.output, lines.rows, tuple(lines.malformed), lines.left_out)


def _recipients(job: Job, wanted: ExtractRequest) -> list[Any] | None:
    """Return the recipients of an encrypted file; None if the file is not encrypted. Raises Refused, JobError."""
    keys = [*wanted.recipients] or [*job.password.recipients]
    if wanted.output.suffix != ENCRYPTED:
        if wanted.recipients:
            raise Refused(f"--recipient: {wanted.output} is not encrypted.", f"Name a file that ends with {ENCRYPTED}.")
        return None
    if not keys:
        raise Refused(f"{wanted.output} has no recipient to encrypt it for.", "Name a public key with --recipient.")
    return parse_recipients(keys)


class _Lines:
    """The chosen rows as bytes of CSV, with a header. `chosen` are row numbers in order."""

    def __init__(self, rows: InputSet, chosen: Iterable[int]) -> None:
        self._input = rows
        self._chosen = iter(chosen)
        self._header: list[str] = []
        self.rows = 0
        self.malformed: list[int] = []
        self.left_out = 0

    def __iter__(self) -> Iterator[bytes]:
        row = next(self._chosen, None)
        for batch in self._input.batches():
            if row is None:
                break
            if row > batch.last:
                continue
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            columns = self._columns(batch, writer)
            while row is not None and row <= batch.last:
                self._write(batch, row - batch.first, columns, writer)
                row = next(self._chosen, None)
            yield text.getvalue().encode()

    def _columns(self, batch: RowBatch, writer: Any) -> list[list[str]]:  # noqa: ANN401  (csv's own writer)
        """Return the cells of all columns, and write the header before the first. Raises InputError."""
        header = [field.removeprefix(CARRIED) for field in batch.columns if field.startswith(CARRIED)]
        if not self._header:
            self._header = header
            writer.writerow(header)
        if set(header) != set(self._header):
            raise InputError(
                f"The files of the input have different columns: {', '.join(sorted(set(header) ^ set(self._header)))}.",
                "Extract from runs with one kind of file each.",
            )
        return [batch.cells(CARRIED + name) for name in self._header]

    def _write(self, batch: RowBatch, offset: int, columns: list[list[str]], writer: Any) -> None:  # noqa: ANN401
        row = batch.first + offset
        if offset in batch.malformed:
            self.left_out += 1
            if len(self.malformed) < _SHOWN:
                self.malformed.append(row)
            return
        cells = [cells[offset] for cells in columns]
        if any(len(cell) >= MAX_VALUE_LENGTH for cell in cells):
            raise InputError(
                f"Row {row} of the input has a value of {MAX_VALUE_LENGTH:,} or more characters, which is not read whole.",
                "Remove this column from a copy of the input, or extract other rows.",
            )
        writer.writerow(cells)
        self.rows += 1


class _Source:
    """Bytes of an iterator as a stream to read."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end."""
        while not self._rest and (part := next(self._parts, None)) is not None:
            self._rest = part
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


class _Hashed:
    """A file that adds what is written to it to a digest."""

    def __init__(self, file: IO[bytes], digest: "hashlib._Hash") -> None:
        self._file = file
        self._digest = digest

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        self._digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()
