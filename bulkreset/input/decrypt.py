"""Read the content of an input file, decrypted if needed. Decrypted content is never written to disk."""

import gzip
import io
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bulkreset.age_encryption import load_identities, open_encrypted
from bulkreset.errors import InputError
from bulkreset.files import ReadStream
from bulkreset.input.format_detection import AGE, BEGINNING
from bulkreset.input.location import Digest, InputFile, reading
from bulkreset.job import ENCRYPTED, InputConfig, Location

if TYPE_CHECKING:
    import pyarrow as pa

_SKIPPED = 1 << 16  # bytes read at once on the way to a position
HEAD_BYTES = 1 << 12  # bytes that are enough to recognise a file format


class InputContent:
    """The content of the file `place`. `name` is in lower case and without the suffix of encrypted files."""

    def __init__(self, spec: InputConfig, place: InputFile) -> None:
        self._place = place
        self._path = place.where
        self._identity = spec.identity
        name = name_of(place.where).lower()
        self.is_encrypted = is_encrypted(place.where)
        self.name = name.removesuffix(ENCRYPTED)

    @property
    def is_packed(self) -> bool:
        """Return whether the name says that the content is compressed."""
        return self.name.endswith((".gz", ".zst"))

    def check(self) -> bytes:
        """Return the first bytes. Raises InputError if name, content and identity disagree, or no key decrypts the file."""
        with reading(self._path), self._place.open() as file:
            head = file.read(HEAD_BYTES)
        begins = head.startswith(AGE)
        match self.is_encrypted, begins, bool(self._identity):  # its name says so, its content does, there is a key
            case False, False, False:
                return head
            case True, True, True:
                return self.beginning(HEAD_BYTES)
            case False, True, _:
                what = "is encrypted, but its name does not say so"
                advice = f"Rename it so that it ends in {ENCRYPTED}."
            case False, False, True:
                what = "is not encrypted, but the job has input.identity"
                advice = f"Remove input.identity, or give the encrypted file ({ENCRYPTED})."
            case True, False, _:
                what = f"has the suffix {ENCRYPTED}, but is not an age file"
                advice = f"Check that it is whole, or remove {ENCRYPTED} from its name."
            case _:
                what = "is encrypted, but the job has no input.identity"
                advice = "Set input.identity to the private key file that decrypts it."
        raise InputError(f"The input {self._path} {what}.", advice)

    def beginning(self, size: int = BEGINNING) -> bytes:
        """Return the first bytes of the content. Raises InputError if they cannot be read, Stopped if S3 cannot."""
        with reading(self._path), self.open() as file:
            return file.read(size)

    def open(self, digest: Digest | None = None) -> io.BufferedReader:
        """Return the content as a stream in constant memory. Seeking back in an encrypted file rereads it.

        The bytes of the file that are read are added to `digest`. Raises OSError; reading also raises DecryptError and
        BucketError.
        """

        def opened() -> io.BufferedReader:
            return digest.follow(self._place.open()) if digest else self._place.open()

        if not self.is_encrypted:
            return opened()
        return io.BufferedReader(RewoundFile(lambda: open_encrypted(opened, self._identities)), 1 << 16)

    def open_unpacked(self, digest: Digest | None = None) -> io.BufferedIOBase:
        """Return the same stream, decompressed if the name says that it is compressed."""
        if self.name.endswith(".gz"):
            packed = self.open(digest)
            unpacked = gzip.GzipFile(fileobj=packed)
            unpacked.myfileobj = packed  # type: ignore[assignment]  # is closed with it
            return unpacked
        if self.name.endswith(".zst"):
            return io.BufferedReader(ZstdFile(lambda: self.open(digest)), 1 << 17)
        return self.open(digest)

    def read_all(self) -> "pa.Buffer":
        """Return the whole content in memory, as one copy. Raises OSError, DecryptError, BucketError."""
        import pyarrow as pa  # noqa: PLC0415  (only Parquet needs it)

        room = memoryview(bytearray(self._place.size()))  # an encrypted file is larger than its content
        filled = 0
        with self.open() as file:
            while read := file.readinto(room[filled:]):
                filled += read
        return pa.py_buffer(room[:filled])

    @cached_property
    def _identities(self) -> list[Any]:
        return load_identities(self._identity) if self._identity else []


def name_of(where: Location) -> str:
    """Return the last part of a path or an address."""
    return where.rpartition("/")[2] if isinstance(where, str) else where.name


def is_encrypted(where: Location) -> bool:
    """Return whether the file's name says that it is encrypted."""
    return name_of(where).lower().endswith(ENCRYPTED)


class RewoundFile(ReadStream):
    """A stream that can only be read forward. Seeking reads up to the position; seeking back starts it again."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._stream = start()
        self._at = 0

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        """Fill the buffer or a part of it. Return the number of bytes read."""
        read: int = self._stream.readinto(buffer)
        self._at += read
        return read

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset from the beginning or the current position. Return the new position."""
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation
        place = offset if whence == io.SEEK_SET else self._at + offset
        if place < self._at:
            self._stream.close()
            self._stream = self._start()
            self._at = 0
        while self._at < place and self.read(min(place - self._at, _SKIPPED)):
            pass
        return self._at


class BadZstdFileError(OSError):
    """The file is not Zstandard, is damaged or cut off, or needs a larger window than the library's limit (128 MiB)."""


class ZstdFile(RewoundFile):
    """The content of a file that Arrow's library decompresses, all frames as one. `opened` opens the file."""

    def __init__(self, opened: Callable[[], io.BufferedIOBase]) -> None:
        def start() -> Any:  # noqa: ANN401  (Arrow's stream)
            import pyarrow as pa  # noqa: PLC0415  (only Zstandard and Parquet need it)

            source = opened()
            if not source.read(1):
                source.close()
                raise BadZstdFileError("it is empty")
            source.seek(0)
            return pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "zstd")

        super().__init__(start)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        """Fill the buffer or a part of it. Return the number of bytes read."""
        try:
            return super().readinto(buffer)
        except OSError as error:
            if error.errno is not None:
                raise
            why = "it is cut off" if str(error).startswith("Truncated") else "it is not Zstandard, or it is damaged"
            if "too much memory" in str(error):
                why = "its window is larger than 128 MiB; compress it without --long and --ultra"
            raise BadZstdFileError(why) from None
