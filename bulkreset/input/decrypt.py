"""Read the content of an input file, decrypted if needed. Decrypted content is never written to disk."""

import codecs
import gzip
import io
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bulkreset.age import DecryptError, load_identities, open_encrypted
from bulkreset.errors import InputError
from bulkreset.input.batch import unreadable_input_error
from bulkreset.input.file_kinds import BEGINNING
from bulkreset.input.location import Digest, InputFile, denied_error
from bulkreset.job import InputConfig, Location
from bulkreset.s3 import BucketError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".age"
_SKIPPED = 1 << 16  # bytes read at once on the way to a position
LONGEST_BEGINNING = 64  # bytes needed to tell file formats apart
_SHEET = ("is a spreadsheet or an archive", "Save it as CSV.")
_UTF16 = ("looks like UTF-16", 'Set [input] encoding = "utf-16", or save it as UTF-8.')
_UTF32 = ("looks like UTF-32", 'Set [input] encoding = "utf-32", or save it as UTF-8.')
# File formats that are named CSV by mistake. Longer beginnings come first.
_OTHERS = (
    (codecs.BOM_UTF32_LE, *_UTF32),
    (codecs.BOM_UTF32_BE, *_UTF32),
    (codecs.BOM_UTF16_LE, *_UTF16),
    (codecs.BOM_UTF16_BE, *_UTF16),
    (b"PK\x03\x04", *_SHEET),
    (b"\xd0\xcf\x11\xe0", *_SHEET),
    (b"PAR1", "is Parquet, and its name does not say so", "Rename it so that it ends in .parquet."),
    (b"SQLite format 3", "is a database", "Export the table as CSV."),
    (b"ARROW1", "is an Arrow file", "Write it as Parquet or CSV."),
    (b"Obj\x01", "is Avro", "Write it as Parquet or CSV."),
    (b"ORC", "is ORC", "Write it as Parquet or CSV."),
    (b"BZh", "is bzip2", "Unpack it with bunzip2."),
    (b"\xfd7zXZ", "is xz", "Unpack it with unxz."),
    (b"\x28\xb5\x2f\xfd", "is Zstandard, and its name does not say so", "Rename it so that it ends in .zst."),
    (b"\x1f\x8b", "is gzip where CSV should be", "Name it .csv.gz; if it is named so, unpack it once."),
)
_JSON = (
    "is JSON, and its name does not say so",
    "Write one object in each line (jq -c '.[]' does so for an array), and name the file .jsonl.",
)
# Formats of text, told by what follows the white space at the beginning, in lower case.
_TEXTS = (
    (b"<!doctype html", "is a web page", "Check that the download was signed in, and download the file again."),
    (b"<html", "is a web page", "Check that the download was signed in, and download the file again."),
    (b"<table", "is a web page", "Write it as CSV."),
    (b"<?xml", "is XML, perhaps the error of a download", "Open it in an editor, and download the file again."),
    (b"<error", "is XML, perhaps the error of a download", "Open it in an editor, and download the file again."),
    (b"{", *_JSON),
    (b"[", *_JSON),
)
_MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}
# Where the first four bytes are 0 if the text begins with ASCII characters.
_UNMARKED: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
_BEGINNINGS = (b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----")


class InputContent:
    """The content of the file `place`. `name` is in lower case and without the suffix of encrypted files."""

    def __init__(self, spec: InputConfig, place: InputFile) -> None:
        self._place = place
        self._path = place.where
        self._identity = spec.identity
        name = name_of(place.where).lower()
        self.is_encrypted = is_encrypted(place.where)
        self.name = name.removesuffix(SUFFIX)

    @property
    def is_packed(self) -> bool:
        """Return whether the name says that the content is compressed."""
        return self.name.endswith((".gz", ".zst"))

    def check(self) -> None:
        """Raise InputError if name, content and identity disagree on encryption, or the key cannot decrypt the file."""
        begins = self._starts_encrypted()
        if not self.is_encrypted and (begins or self._identity):
            raise InputError(
                f"The input {self._path} is encrypted, but its name does not say so."
                if begins
                else f"The input {self._path} is not encrypted, but the job has input.identity.",
                f"Rename it so that it ends in {SUFFIX}."
                if begins
                else f"Remove input.identity, or give the encrypted file ({SUFFIX}).",
            )
        if not self.is_encrypted:
            return
        if not begins:
            raise InputError(
                f"The input {self._path} has the suffix {SUFFIX}, but is not an age file.",
                f"Check that it is whole, or remove {SUFFIX} from its name.",
            )
        if not self._identity:
            raise InputError(
                f"The input {self._path} is encrypted, but the job has no input.identity.",
                "Set input.identity to the private key file that decrypts it.",
            )
        try:
            with self.open() as file:
                file.read(1)
        except (OSError, DecryptError, BucketError) as error:
            raise unreadable_input_error(self._path, error) from None

    def beginning(self) -> bytes:
        """Return the first bytes of the content. Raises InputError if they cannot be read, Stopped if S3 cannot."""
        try:
            with self.open() as file:
                return file.read(BEGINNING)
        except BucketError as error:
            raise (denied_error if error.is_denied else unreadable_input_error)(self._path, error) from None
        except (OSError, DecryptError) as error:
            raise unreadable_input_error(self._path, error) from None

    def open(self, digest: Digest | None = None) -> io.BufferedReader:
        """Return the content as a stream in constant memory. Seeking back in an encrypted file rereads it.

        The bytes of the file that are read are added to `digest`. Raises OSError; reading also raises DecryptError and
        BucketError.
        """

        def opened() -> io.BufferedReader:
            return digest.follow(self._place.open()) if digest else self._place.open()

        return io.BufferedReader(_DecryptedFile(opened, self._identities)) if self.is_encrypted else opened()

    def open_unpacked(self, digest: Digest | None = None) -> io.BufferedIOBase:
        """Return the same stream, decompressed if the name says that it is compressed."""
        if self.name.endswith(".gz"):
            return _GzipFile(self.open(digest))
        if self.name.endswith(".zst"):
            from bulkreset.input.zstd import ZstdFile  # noqa: PLC0415  (needs pyarrow)

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

    def _starts_encrypted(self) -> bool:
        try:
            with self._place.open() as file:
                return file.read(max(map(len, _BEGINNINGS))).startswith(_BEGINNINGS)
        except BucketError as error:
            raise (denied_error if error.is_denied else unreadable_input_error)(self._path, error) from None
        except OSError as error:
            raise unreadable_input_error(self._path, error) from None


def sniff_format(begins: bytes) -> tuple[str, str] | None:
    """Return the format of a file with this beginning and advice for the user; None if it may be CSV."""
    if not begins:
        return "is empty", "Check that the export has been written."
    return next(
        ((what, advice) for beginning, what, advice in _OTHERS if begins.startswith(beginning)), None
    ) or sniff_wide(begins)


def sniff_text(begins: bytes) -> tuple[str, str] | None:
    """Return the same for formats of text that are not CSV."""
    text = begins.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    return next(((what, advice) for beginning, what, advice in _TEXTS if text.startswith(beginning)), None)


def marked_encoding(begins: bytes) -> str:
    """Return the encoding that a byte order mark at the beginning states; "" without a mark."""
    return next((name for name, mark in _MARKS.items() if begins.startswith(mark)), "")


def unmarked_encoding(begins: bytes) -> str:
    """Return the encoding of two or four bytes a character in which a text of ASCII may begin so, or ""."""
    return _UNMARKED.get(tuple(byte == 0 for byte in begins[:4]), "")


def sniff_wide(begins: bytes) -> tuple[str, str] | None:
    """Return format and advice for UTF-16 and UTF-32 without a byte order mark."""
    encoding = unmarked_encoding(begins)
    what = f"looks like {encoding[:6].upper()}", f'Set [input] encoding = "{encoding}", or save it as UTF-8.'
    return what if encoding else None


def name_of(where: Location) -> str:
    """Return the last part of a path or an address."""
    return where.rpartition("/")[2] if isinstance(where, str) else where.name


def is_encrypted(where: Location) -> bool:
    """Return whether the file's name says that it is encrypted."""
    return name_of(where).lower().endswith(SUFFIX)


class RewoundFile(io.RawIOBase):
    """A stream that can only be read forward. Seeking reads up to the position; seeking back starts it again."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._stream = start()
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

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

    def close(self) -> None:
        """Close the stream."""
        if not self.closed:
            self._stream.close()
        super().close()


class _DecryptedFile(RewoundFile):
    """The decrypted content of a file."""

    def __init__(self, opened: Callable[[], io.BufferedReader], by: list[Any]) -> None:
        super().__init__(lambda: open_encrypted(opened, by))

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        """Fill the buffer or a part of it, as soon as there is any. Return the number of bytes read."""
        read: int = self._stream.readinto1(buffer)
        self._at += read
        return read


class _GzipFile(gzip.GzipFile):
    """A gzip file that also closes its source."""

    def __init__(self, source: io.BufferedReader) -> None:
        super().__init__(fileobj=source, mode="rb")
        self._source = source

    def close(self) -> None:
        super().close()
        self._source.close()
