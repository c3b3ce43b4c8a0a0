"""Input files on this machine and in S3: their names, content and fingerprints."""

import gzip
import hashlib
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkreset.age_encryption import DecryptError
from bulkreset.cancellation import check_current
from bulkreset.errors import BulkresetError, InputError, Stopped
from bulkreset.files import ReadStream
from bulkreset.job import Location
from bulkreset.s3 import Bucket, BucketError, Object

FRESH_NS = 2_500_000_000
READ_SIZE = 1 << 20  # bytes
RESTORE = "Restore it, or start a new run of the rows that are not set."  # an input that has changed


@dataclass(frozen=True)
class Fingerprint:
    """The values that identify an input: its size in bytes, its SHA-256 and, in S3, its version or ETag."""

    size: int
    sha256: str
    version: str = ""


class Digest:
    """The SHA-256 of a file, computed while the file is read, so that no second read is needed."""

    def __init__(self) -> None:
        self.hashed = 0  # bytes; the digest covers the file from its beginning to here
        self.sha256 = hashlib.sha256()

    def follow(self, stream: io.BufferedReader) -> io.BufferedReader:
        """Return the stream; bytes read from it are hashed. Bytes are hashed once, and none after a gap."""
        return io.BufferedReader(_HashedFile(stream, self), 1 << 17)

    def add(self, at: int, data: memoryview) -> None:
        """Add the bytes read at position `at`."""
        if at <= self.hashed < at + len(data):
            self.sha256.update(data[self.hashed - at :])
            self.hashed = at + len(data)

    def finish(self, place: "InputFile") -> Fingerprint:
        """Read the bytes that were not read yet and return the file's fingerprint. Raises OSError or BucketError."""
        with self.follow(place.open()) as rest:
            rest.seek(self.hashed)
            while rest.read(READ_SIZE):
                check_current()
        return Fingerprint(self.hashed, self.sha256.hexdigest(), place.version)


class _HashedFile(ReadStream):
    """A stream that adds what is read from it to a digest."""

    def __init__(self, stream: io.BufferedReader, digest: Digest) -> None:
        self._stream = stream
        self._digest = digest

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        check_current()
        at = self._stream.tell()
        read: int = self._stream.readinto(buffer)
        self._digest.add(at, memoryview(buffer)[:read])
        return read


class LocalFile:
    """A file on this machine. Raises InputError if it does not exist or is not a file."""

    def __init__(self, path: Path) -> None:
        self.where = path
        self.version = ""
        self._read: tuple[object, Fingerprint] | None = None  # an identity, and the fingerprint of that content
        with reading(path):  # its name may not be valid for a file
            exists, is_file = path.exists(), path.is_file()
        if not exists:
            raise InputError(f"There is no input file {path}.", "Check the path.")
        if not is_file:
            raise InputError(
                f"The input {path} is not a file.",
                "Name one CSV, JSON Lines or Parquet file. A pipe cannot be read twice: write it to a file first.",
            )

    def open(self) -> io.BufferedReader:
        """Return the file, opened in binary mode."""
        return self.where.open("rb")

    def size(self) -> int:
        """Return the size in bytes as the system reports it."""
        return self.where.stat().st_size

    def identity(self) -> tuple[int, ...]:
        """Return values that change whenever the file is written or replaced. Raises InputError if it is missing."""
        with reading(self.where):
            found = self.where.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def fingerprint(self) -> Fingerprint:
        """Read the whole file and return its fingerprint. Raises InputError if it cannot be read."""
        with reading(self.where):
            return Digest().finish(self)

    def trust(self, identity: tuple[int, ...], found: Fingerprint) -> None:
        """Remember that the file with this identity has the content of this fingerprint.

        A file written just now could be written again without a new identity: times have a resolution, of 2 s at worst.
        """
        if time.time_ns() - max(identity[-2:]) >= FRESH_NS:
            self._read = identity, found

    def is_unchanged(self, planned: Fingerprint) -> bool:
        """Return whether the content is as planned. It is not read again if this process has read it.

        Only the size is compared if the plan did not read it to its end.
        """
        identity = self.identity()
        if not planned.sha256:
            return identity[2] == planned.size
        if self._read and self._read[0] == identity:
            return self._read[1] == planned
        if is_same := self.fingerprint() == planned:
            self.trust(identity, planned)
        return is_same


class S3Object:
    """An object in S3 in the state in which it was found (`met`). An object that replaces it later is never read."""

    def __init__(self, bucket: Bucket, found: Object) -> None:
        self.where = found.uri
        self.met = found
        self.version = found.version or found.etag
        self._bucket = bucket

    def open(self) -> io.BufferedReader:
        """Return the content as a stream that reads ranges and never uses the disk."""
        return self._bucket.open(self.met)

    def size(self) -> int:
        """Return the size in bytes as S3 reported it."""
        return self.met.size

    def identity(self) -> tuple[Object]:
        """Return the object as found. Requests name its version or ETag, so no other object is ever read."""
        return (self.met,)

    def fingerprint(self) -> Fingerprint:
        """Read the whole object and return its fingerprint. Raises InputError, or Stopped in an outage."""
        with reading(self.where):
            return Digest().finish(self)

    def is_unchanged(self, planned: Fingerprint) -> bool:
        """Return whether size and version (or ETag) are as planned. S3 gives a version or ETag to one content only."""
        with reading(self.where):
            now = self._bucket.head(self.where)
        return (now.version or now.etag, now.size) == (planned.version, planned.size)


InputFile = LocalFile | S3Object


def require_text_name(name: str) -> None:
    """Raise InputError if a file's name is not UTF-8, because journal and report cannot hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise InputError(
            f"The name of the input {shown} is not UTF-8.", "Rename it: the journal and the report hold only UTF-8."
        ) from None


def denied_error(where: Location, error: BucketError) -> InputError:
    """Return the error for denied access to an object or to the listing of its bucket."""
    return InputError(f"The input {where} cannot be read: {error.action} failed with {error.code}.", error.advice)


def unreadable_input_error(path: Location, error: Exception) -> BulkresetError:
    """Return Stopped if a retry may succeed, otherwise InputError, for a file that cannot be read to its end."""
    if isinstance(error, BucketError):
        failed = f"{error.action} failed with {error.code}."
        if error.is_changed or error.is_missing:
            return InputError(f"The input {path} has changed in S3 or is gone: {failed}", RESTORE)
        return Stopped(f"The input {path} could not be read to its end: {failed}", error.advice)
    if isinstance(error, DecryptError):
        return InputError(
            f"The encrypted input {path} cannot be decrypted: {error}.",
            "Check that the file is whole, and that [input] identity has the key of one of its recipients.",
        )
    advice = "Copy or write the file again."
    if isinstance(error, gzip.BadGzipFile):  # its own message quotes the file, and the file holds passwords
        why = "it is not gzip, or it is damaged"
    elif isinstance(error, EOFError):
        why = "it is cut off"
    elif isinstance(error, UnicodeDecodeError):  # its own message quotes the file, too
        why = "a name in it is not UTF-8"
    else:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        # Arrow quotes the value that it could not read, so remove unprintable characters.
        why = "".join(letter if letter.isprintable() else "?" for letter in " ".join(reason.split())).rstrip(":. ")
        advice = "Check the file and its rights." if isinstance(error, OSError) and error.errno else advice
    return InputError(f"The input {path} cannot be read: {why}.", advice)


@contextmanager
def reading(where: Location) -> Iterator[None]:
    """Raise Stopped or InputError for each error of the system, of S3 or of decryption in the block."""
    try:
        yield
    except BucketError as error:
        raise (denied_error if error.is_denied else unreadable_input_error)(where, error) from None
    except (OSError, DecryptError) as error:
        raise unreadable_input_error(where, error) from None
