"""Recognises by its first bytes a file that is not what its name says, and gives the next step."""

import codecs
import json
import zlib
from contextlib import suppress
from typing import NamedTuple

BEGINNING = 1 << 16  # bytes that are read to recognise a file
PARQUET, ENCRYPTED_PARQUET, GZIP, ZSTD = b"PAR1", b"PARE", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
AGE = (b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----")


class Kind(NamedTuple):
    """The kind of a file, and the next step as a sentence."""

    name: str
    advice: str

    @property
    def short(self) -> str:
        """Return both in the form for a list of files that are not read."""
        return f"{self.name}: {self.advice[0].lower()}{self.advice[1:].rstrip('.')}"


def _kinds(name: str, advice: str, *beginnings: bytes, at: int = 0) -> list[tuple[int, bytes, Kind]]:
    return [(at, beginning, Kind(name, advice)) for beginning in beginnings]


_CONVERT, _SAVE, _PACK = "Write it as CSV or Parquet.", "Save it as CSV.", "Unpack it"
IS_GZIP = Kind("gzip", "Name it .csv.gz or .jsonl.gz; if it is named so, it is packed twice: unpack it once.")
# Positions of these bytes in files of this kind.
_BINARY = (
    *_kinds("Parquet", "Rename it so that it ends in .parquet.", PARQUET, ENCRYPTED_PARQUET),
    (0, GZIP, IS_GZIP),
    *_kinds("Zstandard", "Rename it so that it ends in .csv.zst or .jsonl.zst.", ZSTD),
    *_kinds("encrypted with age", "Rename it so that it ends in .age.", *AGE),
    *_kinds("encrypted with PGP", "Decrypt it.", b"-----BEGIN PGP", b"\x85\x01", b"\x85\x02", b"\x84\x5e", b"\xc1\xc0"),
    *_kinds("a spreadsheet or a ZIP archive", "Save it as CSV, or unpack it.", b"PK\x03\x04", b"PK\x05\x06"),
    *_kinds("a spreadsheet", _SAVE, b"\xd0\xcf\x11\xe0"),
    *_kinds("bzip2", f"{_PACK} with bunzip2.", b"BZh"),
    *_kinds("xz", f"{_PACK} with unxz.", b"\xfd7zXZ"),
    *_kinds("LZ4", f"{_PACK} with lz4 -d.", b"\x04\x22\x4d\x18"),
    *_kinds("lzip", f"{_PACK} with lzip -d.", b"LZIP\x01"),
    *_kinds("compress (.Z)", f"{_PACK} with uncompress.", b"\x1f\x9d"),
    *_kinds("Snappy", f"{_PACK}.", b"\xff\x06\x00\x00sNaPpY"),
    *_kinds("a 7-Zip archive", f"{_PACK}.", b"7z\xbc\xaf"),
    *_kinds("a RAR archive", f"{_PACK}.", b"Rar!\x1a\x07"),
    *_kinds("a tar archive", f"{_PACK} with tar -x.", b"ustar", at=257),
    *_kinds("Avro", _CONVERT, b"Obj\x01"),
    *_kinds("ORC", _CONVERT, b"ORC"),
    *_kinds("an Arrow file", _CONVERT, b"ARROW1", b"FEA1", b"\xff\xff\xff\xff"),
    *_kinds("HDF5", _CONVERT, b"\x89HDF"),
    *_kinds("a Python pickle", _CONVERT, b"\x80\x02", b"\x80\x03", b"\x80\x04\x95", b"\x80\x05\x95"),
    *_kinds("a database", "Export the table as CSV.", b"SQLite format 3", b"\x00\x01\x00\x00Standard "),
    *_kinds("a database", "Export the table as CSV.", b"DUCK", at=8),
    *_kinds("PDF", "Export the table as CSV.", b"%PDF"),
    *_kinds("RTF, a text document", "Save it as CSV, from a program for tables.", b"{\\rtf"),
    *_kinds("a property list", _SAVE, b"bplist00"),
    *_kinds("nothing but NUL bytes", "Copy or write the file again.", bytes(16)),
)
_WEB_PAGE = "Check that the download was signed in, and download the file again."
_SHOW = "Open it in an editor, and download the file again."
JSON = Kind("JSON", "Write one object in each line (jq -c '.[]' does so for an array), and name the file .jsonl.")
_JSON_ERROR = Kind("JSON, perhaps the error of a download", _SHOW)
JSON_LINES = Kind("JSON Lines", 'Rename it so that it ends in .jsonl, or set [input] format = "jsonl".')
# Text formats: the characters after the initial white space, in lower case.
_TEXT = (
    *_kinds("a web page", _WEB_PAGE, b"<!doctype html", b"<html", b"<head", b"<script"),
    *_kinds("a web page", _SAVE, b"<table"),
    *_kinds("XML, perhaps the error of a download", _SHOW, b"<?xml", b"<error"),
    *_kinds("SQL", "Export the table as CSV.", b"-- ", b"insert into", b"create table", b"/*!"),
    *_kinds("a pointer of Git LFS", "Fetch the file with git lfs pull.", b"version https://git-lfs"),
    *_kinds("LDIF", _CONVERT, b"dn: ", b"dn:: ", b"version: 1\n"),
    *_kinds("YAML", _CONVERT, b"---\n", b"- username:", b"%yaml"),
    *_kinds("an e-mail", "Save the attachment.", b"mime-version:", b"received:", b"return-path:"),
    *_kinds("the two sides of a merge conflict", "Resolve the conflict.", b"<<<<<<< "),
    (0, b"{", JSON),
    (0, b"[", JSON),
)
_ERROR = {"message", "Message", "error", "Error", "errors", "errorMessage"}  # fields of an error response
_MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}
# Which of the first four bytes are 0 if the text begins with ASCII characters.
_UNMARKED: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
# The first bytes of a file that is packed as its name says, and the name of the format.
_PACKED: dict[str, tuple[str, tuple[bytes, ...]]] = {
    ".gz": ("gzip", (GZIP,)),
    ".zst": ("Zstandard", (ZSTD, *(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16)))),
}


def binary_kind(begins: bytes) -> Kind | None:
    """Return the kind of a binary file; None if it may be text."""
    found = next((kind for at, mark, kind in _BINARY if begins.startswith(mark, at)), None)
    # A header may begin with ORCID.
    return found if found and not (found.name == "ORC" and _is_text(begins)) else None


def _is_text(begins: bytes) -> bool:
    return not any(byte < ord("\t") for byte in begins[:512])


def text_kind(begins: bytes) -> Kind | None:
    """Return the kind of a text that is not CSV; None if it may be CSV."""
    if found := first_object(begins):
        return JSON_LINES if is_json_lines(begins) else _JSON_ERROR if _ERROR & found.keys() else JSON
    text = begins.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    return next((kind for _, mark, kind in _TEXT if text.startswith(mark)), None)


def is_json_lines(begins: bytes) -> bool:
    """Return whether a text begins with a JSON object that may be a row, and is not the answer of an API."""
    found = first_object(begins)
    _, _, rest = begins.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")
    if found and rest.lstrip().startswith(b"{"):
        return True
    return bool(found) and not (_ERROR & found.keys() or any(isinstance(value, list) for value in found.values()))


def first_object(begins: bytes) -> dict[str, object]:
    """Return the JSON object in the first line of a text; {} if there is none."""
    line, _, _ = begins.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")
    found: dict[str, object] = {}
    if line.startswith(b"{"):
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
    return found


def not_as_named(name: str, begins: bytes, *, is_parquet: bool) -> tuple[str, Kind] | None:
    """Return the expected and the real kind of a Parquet or compressed file, if its first bytes are wrong.

    A file that should be text is read first: text may begin like another format.
    """
    packed = next((what for ending, what in _PACKED.items() if name.endswith(ending)), None)
    expected, marks = ("Parquet", (PARQUET, ENCRYPTED_PARQUET)) if is_parquet else packed or ("", (b"",))
    if begins.startswith(marks) or any(mark.startswith(begins) for mark in marks):  # or cut off, or empty
        return None
    kind = binary_kind(begins) or text_kind(begins)
    if kind and kind not in {JSON, JSON_LINES}:
        return expected, kind
    if not _is_text(begins):
        return expected, Kind("damaged or of an unknown format", "Copy or write the file again.")
    remove = f"Remove .{name.rpartition('.')[2]} from its name."
    advice = "Rename it so that it ends in .csv or .jsonl." if is_parquet else remove
    return expected, Kind(kind.name if kind else "text", advice)


def unpack_beginning(begins: bytes) -> bytes:
    """Return the beginning of gzip-compressed content; b"" if it cannot be decompressed."""
    with suppress(zlib.error):
        return zlib.decompressobj(wbits=31).decompress(begins, BEGINNING)
    return b""


def sniffed_ending(begins: bytes) -> str:
    """Return the ending that a file with this beginning should have; "" for CSV."""
    if begins.startswith(PARQUET):
        return ".parquet"
    if begins.startswith(GZIP):
        return ".jsonl.gz" if is_json_lines(unpack_beginning(begins)) else ".gz"
    return ".jsonl" if is_json_lines(begins) else ""


def marked_encoding(begins: bytes) -> str:
    """Return the encoding that a byte order mark at the beginning states; "" without a mark."""
    return next((name for name, mark in _MARKS.items() if begins.startswith(mark)), "")


def unmarked_encoding(begins: bytes) -> str:
    """Return the encoding with two or four bytes per character of a text that begins with ASCII, or ""."""
    return _UNMARKED.get(tuple(byte == 0 for byte in begins[:4]), "")


def wide_kind(begins: bytes) -> Kind | None:
    """Return UTF-16 or UTF-32 for a text in that encoding; without a byte order mark it must begin with ASCII."""
    encoding = marked_encoding(begins).removesuffix("-le").removesuffix("-be") or unmarked_encoding(begins)
    if not encoding or encoding == "utf-8":
        return None
    return Kind(encoding[:6].upper(), f'Set [input] encoding = "{encoding}", or save it as UTF-8.')
