"""Tell inputs from other files in a folder: by their names, and by their first bytes if the name does not say it."""

import codecs
import csv
import zlib
from collections.abc import Callable

from bulkreset.job import InputConfig

_TEXTS = (".csv", ".jsonl", ".ndjson")
KNOWN = (*(text + packed for text in _TEXTS for packed in ("", ".gz", ".zst")), ".parquet", ".pq")
ENCRYPTED = ".age"
PARQUET = b"PAR1"
GZIP = b"\x1f\x8b"
BEGINNING = 1 << 16  # bytes that are read to see what a file is
_ENDINGS = tuple(ending + encrypted for ending in KNOWN for encrypted in ("", ENCRYPTED))
# Exports have such names, and so have other files: their first bytes decide.
_OPEN_ENDINGS = frozenset({"", "gz", "txt", "tsv", "dat", "psv", "text"})
_UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".inprogress", ".uploading")
_COPIES = (".bak", ".old", ".orig", ".save", "~")
_OTHERS = (
    (b"BZh", "bzip2: unpack it"),
    (b"\x28\xb5\x2f\xfd", "Zstandard: rename it so that it ends in .csv.zst or .jsonl.zst"),
    (b"\xfd7zXZ", "xz: unpack it"),
    (b"\x04\x22\x4d\x18", "LZ4: unpack it"),
    (b"7z\xbc\xaf", "7-Zip: unpack it"),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet: unpack it, or save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet: save it as CSV"),
    (b"Obj\x01", "Avro: write it as CSV or Parquet"),
    (b"ORC", "ORC: write it as CSV or Parquet"),
    (b"SQLite format 3", "a database"),
    (b"%PDF", "PDF"),
)
_AGE = (b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----")
_PGP = (b"-----BEGIN PGP", b"\x85\x01", b"\x85\x02", b"\x84\x5e", b"\xc1\xc0")
NO_IDENTITY = b"\0no identity"  # in place of a beginning that cannot be decrypted
_DELIMITERS = {"\t": "a tab", ";": '";"', "|": '"|"', ",": '","'}


def has_known_name(name: str) -> bool:
    """Return whether a file of that name is an input, whatever it begins with."""
    name = name.lower()
    return name.endswith(_ENDINGS) and not name.startswith((".", "_"))


def is_helper(name: str) -> bool:
    """Return whether a program keeps a file of that name for itself: a marker, a checksum, a hidden file.

    An object whose key ends in "/", or in "_$folder$", stands for a folder. A data file that begins with "_" is no helper.
    """
    name = name.lower()
    if not name or name.startswith(".") or name.endswith((".crc", "_$folder$")):
        return True
    return name.startswith("_") and not name.endswith(_ENDINGS)


def why_unread(name: str, spec: InputConfig, begins: Callable[[], bytes], *, named: bool = False) -> str:
    """Return why a file is not an input, in words; "" if it is one. `begins` returns its first bytes, decrypted.

    `named`: a pattern matches it, so text is an input whatever its first line has.
    """
    if has_known_name(name):
        return ""
    lower = name.lower()
    if by_name := _why_not_by_name(lower, named=named):
        return by_name
    start = begins()
    if named:
        return _other_format(start) if start else ""
    stem = lower.removesuffix(ENCRYPTED)
    ending = stem.rpartition(".")[2] if "." in stem else ""
    is_open = ending in _OPEN_ENDINGS or ending.isdigit()
    return _other_format(start) or (
        _why_not_ours(start, spec) if is_open else f"its name does not end in {', '.join(KNOWN[:-2])} or .parquet"
    )


def _why_not_by_name(name: str, *, named: bool) -> str:
    if name.startswith("_"):
        return 'its name begins with "_"'
    if name.endswith(_UNFINISHED):
        return "still being written, by its name"
    return "a copy, by its name" if not named and name.endswith(_COPIES) else ""


def sniffed_ending(begins: bytes) -> str:
    """Return the ending that a file with this beginning should have: ".parquet", ".gz" or ""."""
    return ".parquet" if begins.startswith(PARQUET) else ".gz" if begins.startswith(GZIP) else ""


def _other_format(begins: bytes) -> str:
    if not begins:
        return "empty"
    if begins == NO_IDENTITY:
        return "encrypted, and the job has no input.identity"
    if begins.startswith(_AGE):
        return f"encrypted with age: rename it so that it ends in {ENCRYPTED}"
    if begins.startswith(_PGP):
        return "encrypted with PGP: decrypt it"
    return next((what for beginning, what in _OTHERS if begins.startswith(beginning)), "")


def _why_not_ours(begins: bytes, spec: InputConfig) -> str:
    if begins.startswith(PARQUET):
        return ""
    if not begins.startswith(GZIP):
        return _why_not_csv(begins, spec)
    unpacked = _unpacked(begins)
    return "packed with gzip twice: unpack it once" if unpacked.startswith(GZIP) else _why_not_csv(unpacked, spec)


def _why_not_csv(begins: bytes, spec: InputConfig) -> str:
    """Return why a file with this beginning is not CSV with our columns; "" if it is. No value of the file is shown."""
    encoding = "utf-8-sig" if codecs.lookup(spec.encoding).name == "utf-8" else spec.encoding
    text = begins.decode(encoding, "replace").lstrip("\r\n")
    first = text.splitlines()[0] if text else ""
    if spec.columns.username in _fields(first, spec.delimiter):
        return ""
    if first.lstrip().startswith(("{", "[")):
        return "JSON: write one object in each line, and name it .jsonl"
    for delimiter, called in _DELIMITERS.items():
        if spec.columns.username in _fields(first, delimiter):
            return f'its columns are separated by {called}, and input.delimiter is "{spec.delimiter}"'
    return f"no column {spec.columns.username!r} in its first line"


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _unpacked(begins: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(begins, BEGINNING)
    except zlib.error:
        return b""
