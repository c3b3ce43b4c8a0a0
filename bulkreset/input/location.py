"""Where an input lies: a file here or an object in S3, what it is called, and what makes it the same."""

import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bulkreset.errors import InputError
from bulkreset.input.batch import unreadable_input_error
from bulkreset.job import Location
from bulkreset.s3 import Bucket, BucketError, Object


@dataclass(frozen=True)
class Fingerprint:
    """What makes an input the same input: its size in bytes, its SHA-256 and, in S3, its version or ETag."""

    size: int
    sha256: str
    version: str = ""


class InputFile(Protocol):
    """One file of an input."""

    @property
    def where(self) -> Location:
        """Its path or address."""

    def open(self) -> io.BufferedReader:
        """Its bytes, which can be gone back in. Raises OSError or BucketError, as reading does."""

    def size(self) -> int:
        """Its bytes, counted. Raises OSError."""

    def identity(self) -> tuple[object, ...]:
        """What changes whenever it is written or replaced. Raises InputError where it is gone."""

    def fingerprint(self) -> Fingerprint:
        """Read all of it once. Raises InputError where that is not possible, Stopped where S3 is out of reach."""

    def is_unchanged(self, planned: Fingerprint) -> bool:
        """Whether it is what was planned. Raises as `fingerprint` does."""


class LocalFile:
    """A file of this machine's. Raises InputError where there is none."""

    def __init__(self, path: Path) -> None:
        self.where = path
        try:
            exists, is_file = path.exists(), path.is_file()
        except OSError as error:  # a name that no file can have
            raise unreadable_input_error(path, error) from None
        if not exists:
            raise InputError(f"There is no input file {path}.", "Check the path.")
        if not is_file:
            raise InputError(f"The input {path} is not a file.", "Name one CSV or Parquet file.")

    def open(self) -> io.BufferedReader:
        """The file."""
        return self.where.open("rb")

    def size(self) -> int:
        """As the system has it."""
        return self.where.stat().st_size

    def identity(self) -> tuple[object, ...]:
        """Device, inode, size and times."""
        return identity(self.where)

    def fingerprint(self) -> Fingerprint:
        """Size and SHA-256."""
        return fingerprint(self.where)

    def is_unchanged(self, planned: Fingerprint) -> bool:
        """By its content."""
        return self.fingerprint() == planned


class S3Object:
    """An object of S3's as it was met; what takes its place later is another one."""

    def __init__(self, bucket: Bucket, found: Object) -> None:
        self.where = found.uri
        self.met = found
        self._bucket = bucket

    def open(self) -> io.BufferedReader:
        """Its content in ranges, never on disk."""
        return self._bucket.open(self.met)

    def size(self) -> int:
        """As S3 told it."""
        return self.met.size

    def identity(self) -> tuple[object, ...]:
        """The object that was met: it is asked for by its version or ETag, so no other one is ever read."""
        return (self.met,)

    def fingerprint(self) -> Fingerprint:
        """Size, SHA-256, and the version or the ETag."""
        try:
            with self.open() as stream:
                digest = digest_of(stream)
        except BucketError as error:
            if error.is_denied:
                raise denied_error(self.where, error) from None
            raise unreadable_input_error(self.where, error) from None
        return Fingerprint(self.met.size, digest, self.met.version or self.met.etag)

    def is_unchanged(self, planned: Fingerprint) -> bool:
        """By its version or ETag, which S3 gives to one content alone."""
        try:
            now = self._bucket.head(self.where)
        except BucketError as error:
            if error.is_passing or error.is_missing:
                raise unreadable_input_error(self.where, error) from None
            raise denied_error(self.where, error) from None
        return (now.version or now.etag, now.size) == (planned.version, planned.size)


def require_text_name(name: str) -> None:
    """Raise InputError for a file's name in bytes that journal and report cannot hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise InputError(
            f"The name of the input {shown} is not UTF-8.", "Rename it; journal and report cannot hold it."
        ) from None


def identity(path: Path) -> tuple[object, ...]:
    """What changes whenever the file is written or replaced. Raises InputError where it is gone."""
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable_input_error(path, error) from None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def fingerprint(path: Path) -> Fingerprint:
    """Read the whole file once. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return Fingerprint(sha256=digest_of(file), size=file.tell())
    except OSError as error:
        raise unreadable_input_error(path, error) from None


def digest_of(stream: io.BufferedReader) -> str:
    """The SHA-256 of all that a stream has."""
    return hashlib.file_digest(stream, "sha256").hexdigest()


def denied_error(where: Location, error: BucketError) -> InputError:
    """The error for an object that may not be read, or whose bucket may not be listed."""
    return InputError(f"The input {where} cannot be read: {error.action} was answered {error.code}.", error.advice)


def combined_fingerprint(marks: Iterable[tuple[str, Fingerprint]]) -> Fingerprint:
    """One fingerprint of several files in their order, each with its name; that of a single file is its own."""
    known = list(marks)
    if len(known) == 1:
        return known[0][1]
    digest = hashlib.sha256()
    for name, mark in known:
        digest.update(f"{name}\0{mark.size}\0{mark.sha256}\n".encode("utf-8", "surrogateescape"))
    return Fingerprint(sum(mark.size for _, mark in known), digest.hexdigest())
