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
    (b"BZh", "is bzip2", "Unpack it with bunzip2."),
    (b"\xfd7zXZ", "is xz", "Unpack it with unxz."),
    (b"\x28\xb5\x2f\xfd", "is Zstandard", "Unpack it with zstd -d."),
    (b"\x1f\x8b", "is gzip where CSV should be", "Name it .csv.gz; if it is named so, unpack it once."),
)
# Formats of text, told by what follows the white space at the beginning, in lower case.
_TEXTS = (
    (b"<!doctype html", "is a web page", "Check that the download was signed in, and download the file again."),
    (b"<html", "is a web page", "Check that the download was signed in, and download the file again."),
    (b"<?xml", "is XML, perhaps the error of a download", "Open it in an editor, and download the file again."),
    (b"<error", "is XML, perhaps the error of a download", "Open it in an editor, and download the file again."),
    (b"{", "is JSON", "Write it as CSV with the columns username and password."),
    (b"[", "is JSON", "Write it as CSV with the columns username and password."),
)
_MARKS = {
    "utf-8": (codecs.BOM_UTF8,),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
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
                f"Check that it is whole, or take {SUFFIX} off its name.",
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

    def open_gzip(self, digest: Digest | None = None) -> gzip.GzipFile:
        """Return the same stream, decompressed from gzip."""
        return _GzipFile(self.open(digest))

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
    ) or sniff_utf16(begins[:4])


def sniff_text(begins: bytes) -> tuple[str, str] | None:
    """Return the same for formats of text that are not CSV."""
    text = begins.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    return next(((what, advice) for beginning, what, advice in _TEXTS if text.startswith(beginning)), None)


def marked_encoding(begins: bytes) -> str:
    """Return the encoding that a byte order mark at the beginning states; "" without a mark."""
    return next((name for name, marks in _MARKS.items() if begins.startswith(marks)), "")


def sniff_utf16(begins: bytes) -> tuple[str, str] | None:
    """Return the same for UTF-16 without a byte order mark, detected by ASCII characters of two bytes each."""
    for nothing, ending in ((1, "le"), (0, "be")):
        if begins[nothing::2] == b"\0\0" and b"\0" not in begins[1 - nothing :: 2]:
            return "looks like UTF-16", f'Set [input] encoding = "utf-16-{ending}", or save it as UTF-8.'
    return None


def name_of(where: Location) -> str:
    """Return the last part of a path or an address."""
    return where.rpartition("/")[2] if isinstance(where, str) else where.name


def is_encrypted(where: Location) -> bool:
    """Return whether the file's name says that it is encrypted."""
    return name_of(where).lower().endswith(SUFFIX)


class _DecryptedFile(io.RawIOBase):
    """The decrypted content of a file. Seeking reads up to the position; seeking back reopens the file first."""

    def __init__(self, opened: Callable[[], io.BufferedReader], by: list[Any]) -> None:
        self._opened = opened
        self._by = by
        self._stream = open_encrypted(opened, by)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        """Fill the buffer or a part of it. Return the number of bytes read."""
        read = self._stream.readinto1(buffer)
        self._at += read
        return read

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset from the beginning or the current position. Return the new position."""
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation
        place = offset if whence == io.SEEK_SET else self._at + offset
        if place < self._at:
            self._stream.close()
            self._stream = open_encrypted(self._opened, self._by)
            self._at = 0
        while self._at < place and (passed := len(self._stream.read1(place - self._at))):
            self._at += passed
        return self._at

    def close(self) -> None:
        self._stream.close()
        super().close()


class _GzipFile(gzip.GzipFile):
    """A gzip file that also closes its source."""

    def __init__(self, source: io.BufferedReader) -> None:
        super().__init__(fileobj=source, mode="rb")
        self._source = source

    def close(self) -> None:
        super().close()
        self._source.close()
