"""The archive of generated passwords: encrypted to the recipients and on disk before any of them is sent."""

import csv
import io
import os
import secrets
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkreset.age_encryption import WRONG_KEY, DecryptError, decrypt, encrypt, parse_recipients
from bulkreset.errors import InputError, RecordError, RunDirError
from bulkreset.files import atomic_file, create_file, sync_directory
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import RunState
from bulkreset.models import Row

if TYPE_CHECKING:  # reading the passwords does not need the job
    from bulkreset.job import Job

CHUNK_ROWS = 500
Upload = Callable[[Path], None]  # copies a chunk elsewhere before its rows are sent; may raise


class Line(NamedTuple):
    """One line of a chunk."""

    row: int
    pool: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Line(row {self.row})"


class PasswordArchive:
    """Writes the chunks of the archive: age files that contain CSV (row, user pool, username, password; no header).

    Chunks are numbered in the order of writing, over all executions. If a row has several lines, the last one is valid.
    This process cannot decrypt them.
    """

    def __init__(self, folder: Path, to: Sequence[Any], upload: Upload | None = None) -> None:
        self._folder = folder
        self._to = to
        self._upload = upload
        with _translated_errors(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._number = max((number for number, _ in _chunks(folder)), default=0)
            # Test write access now, not when the first row is due.
            probe = folder / f".{secrets.token_hex(4)}.probe"
            os.close(create_file(probe))
            for left in folder.glob(".*.probe"):  # those of killed processes, too; the run lock covers this folder
                left.unlink(missing_ok=True)

    def write(self, rows: Sequence[Row]) -> None:
        """Write one chunk and sync it and its name to disk.

        Raises RecordError if that fails; then none of its rows may be sent.
        """
        text = io.StringIO()
        csv.writer(text).writerows((row.number, row.pool, row.username, row.password.reveal()) for row in rows)
        encrypted = encrypt(text.getvalue().encode(), self._to)
        self._number += 1
        path = self._folder / f"{self._number:08d}.age"
        with _translated_errors(self._folder):
            with atomic_file(path, new=True) as file:  # a truncated chunk would make the whole archive unreadable
                file.write(encrypted)
            sync_directory(self._folder)
        if self._upload:
            self._upload(path)


def folder_elsewhere(job: "Job", run_dir: Path) -> Path | None:
    """Return the folder of a new run's passwords, None for the run directory.

    Raises RunDirError if another run's passwords are there or the folder cannot be used.
    """
    if not (job.password.folder and job.password.recipients):
        return None
    folder = job.password.folder / run_dir.resolve().name
    try:
        taken = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise RunDirError(
            f"The folder {folder} of the generated passwords cannot be used: {error.strerror}.", "Check its rights."
        ) from None
    if taken:
        raise RunDirError(
            f"The folder {folder} has the passwords of another run.", "Choose another --run-dir or password.folder."
        )
    return folder


def folder_of(state: RunState, home: RunDir) -> Path:
    """Return the folder of a run's passwords, as the journal stores it, even if the run directory was renamed."""
    return Path(state.passwords) if state.passwords else home.passwords


def open_archive(job: "Job", folder: Path, upload: Upload | None = None) -> PasswordArchive | None:
    """Return the archive that a job writes, None without recipients.

    Raises RunDirError if it cannot be written, JobError for an invalid key.
    """
    if not job.password.recipients:
        return None
    try:
        return PasswordArchive(folder, parse_recipients(job.password.recipients), upload)
    except RecordError as error:
        raise RunDirError(error.message, "Check the disk's space and rights; nothing was sent.") from None


def newest(folder: Path, by: Sequence[Any], rows: int) -> Iterator[Line]:
    """Yield each row's last line, chunk by chunk; `rows` is the run's number of rows.

    Raises the errors of `read_archive`.
    """
    last = array("I", bytes(4 * (rows + 1)))  # index: row; value: the chunk with its last line
    for number, line in read_archive(folder, by):
        last[line.row] = number
    for number, line in read_archive(folder, by):
        if last[line.row] == number:
            yield line


def read_archive(folder: Path, by: Sequence[Any]) -> Iterator[tuple[int, Line]]:
    """Yield every line with its chunk's number, in the order of writing.

    Raises InputError if a chunk cannot be read or decrypted, RunDirError if there are none.
    """
    chunks = _chunks(folder) if folder.is_dir() else []
    if not chunks:
        raise RunDirError(
            f"There are no generated passwords in {folder}.", "Only runs with password.recipients have them."
        )
    for number, path in chunks:
        try:
            data = decrypt(path.read_bytes(), by)
        except DecryptError as error:
            if str(error) == WRONG_KEY:
                raise InputError(
                    "This key cannot decrypt the passwords.", "Use the private key of a recipient in the job."
                ) from None
            raise InputError(
                f"The passwords in {path.name} cannot be decrypted: {error}.", "Restore the file, then try again."
            ) from None
        except OSError as error:
            raise InputError(
                f"The encrypted passwords {path} cannot be read: {error.strerror}.", "Check its rights."
            ) from None
        for row, pool, username, password in csv.reader(io.StringIO(data.decode(), newline="")):
            yield number, Line(int(row), pool, username, password)


def _chunks(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.stem), path) for path in folder.glob("*.age") if path.stem.isdigit())


@contextmanager
def _translated_errors(folder: Path) -> Iterator[None]:
    """Raise an OSError of the block as RecordError that names the folder."""
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"The generated passwords cannot be written to {folder}: {error.strerror}.",
            "Check the disk's space and rights, then resume.",
        ) from None
