"""Distinguish inputs from other files in a folder: by their names, or else by their first bytes."""

import codecs
import csv
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import chain

from bulkreset.input.format_detection import GZIP, PARQUET, binary_kind, first_object, text_kind, unpack_beginning
from bulkreset.job import COMPRESSED, ENCRYPTED, SUFFIXES, InputConfig

# By format. Parquet compresses its own columns.
ENDINGS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(ending + packed for ending in endings for packed in (("",) if kind == "parquet" else ("", *COMPRESSED)))
    for kind, endings in SUFFIXES.items()
}
KNOWN = tuple(chain.from_iterable(ENDINGS.values()))
_ENDINGS = tuple(ending + encrypted for ending in KNOWN for encrypted in ("", ENCRYPTED))
# Exports have such names, but other files, too: their first bytes decide.
_OPEN_ENDINGS = frozenset({"", "gz", "txt", "tsv", "dat", "psv", "text", "json"})
_UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".inprogress", ".uploading")
_ABOUT = (".md5", ".sha1", ".sha256", ".sha512", ".sig", ".asc", ".metadata", ".manifest")
_COPIES = (".bak", ".old", ".orig", ".save", "~")
NO_IDENTITY = b"\0no identity"  # stands for a beginning that cannot be decrypted
_DELIMITERS = {"\t": "a tab", ";": '";"', "|": '"|"', ",": '","'}


def has_known_name(name: str) -> bool:
    """Return whether a file with that name is an input, whatever its content."""
    name = name.lower()
    return name.endswith(_ENDINGS) and not name.startswith((".", "_"))


def is_helper(name: str) -> bool:
    """Return whether a program keeps a file of that name for itself: a marker, a hidden file, a sign of a folder in S3."""
    name = name.lower()
    if name in {"", "thumbs.db", "desktop.ini"} or name.startswith((".", "~$")):
        return True
    return name.endswith((".crc", "_$folder$")) or (name.startswith("_") and not name.endswith(_ENDINGS))


def why_unread(name: str, spec: InputConfig, begins: Callable[[], bytes], *, named: bool = False) -> str:
    """Return why a file is not an input, in words; "" if it is one. `begins` returns its first bytes, decrypted.

    `named`: a pattern matches it, so a text is an input whatever its first line is.
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
    if name.endswith(_ABOUT):
        return "about another file, by its name"
    return "a copy, by its name" if not named and name.endswith(_COPIES) else ""


def _other_format(begins: bytes) -> str:
    if not begins:
        return "empty"
    if begins == NO_IDENTITY:
        return "encrypted, and the job has no input.identity"
    kind = binary_kind(begins)
    return kind.short if kind and not begins.startswith((PARQUET, GZIP)) else ""


def _why_not_ours(begins: bytes, spec: InputConfig) -> str:
    if begins.startswith(PARQUET):
        return ""
    if not begins.startswith(GZIP):
        return _why_not_csv(begins, spec)
    unpacked = unpack_beginning(begins)
    return "packed with gzip twice: unpack it once" if unpacked.startswith(GZIP) else _why_not_csv(unpacked, spec)


def _why_not_csv(begins: bytes, spec: InputConfig) -> str:
    """Return why a file with this beginning is not CSV with our columns; "" if it is. No value of the file is shown."""
    encoding = "utf-8-sig" if codecs.lookup(spec.encoding).name == "utf-8" else spec.encoding
    text = begins.decode(encoding, "replace").lstrip("\r\n")
    first = text.splitlines()[0] if text else ""
    if spec.columns.username in _fields(first, spec.delimiter):
        return ""
    if found := first_object(begins):
        return "" if spec.columns.username in found else f"no column {spec.columns.username!r} in its first line"
    if kind := text_kind(begins):
        return kind.short
    for delimiter, called in _DELIMITERS.items():
        if spec.columns.username in _fields(first, delimiter):
            return f'its columns are separated by {called}, and input.delimiter is "{spec.delimiter}"'
    return f"no column {spec.columns.username!r} in its first line"


def _fields(line: str, delimiter: str) -> list[str]:
    with suppress(csv.Error):
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    return []
