"""The canary: a unique password, and a search for it in all output and files of a run, in every encoding."""

import base64
import contextlib
import hashlib
import io
import json
import secrets
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

from pyarrow import parquet

Place = tuple[str, bytes]

PART: Final = 12  # characters: a shorter part may be missing at either end
_COMPRESSED: Final = (b"\x1f\x8b\x08", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_MOST: Final = 1 << 24  # bytes of an unpacked stream: none of ours is as large
_BLANK: Final = b" \t\r\n:"
_AUTO: Final = 47  # zlib's or gzip's, whichever the stream says


class Canary:
    """A unique password with all characters that encodings change: quotes, backslash, percent sign, accents.

    `made` is a password from elsewhere.
    """

    def __init__(self, made: str = "") -> None:
        self.core = made or f"Zq7{secrets.token_hex(12)}"
        self.password = made or f"{self.core}\"\\/%&+\u00e9 \u20ac<>\u200b'!Aa1"

    def is_in(self, content: bytes) -> bool:
        """Return whether the content has it: plain, broken into lines, or compressed."""
        return any(spelling in layer for layer in _layers(content) for spelling in self.spellings)

    def among(self, places: Iterable[Place]) -> set[str]:
        """Return the names of the places that have it."""
        return {where for where, content in places if self.is_in(content)}

    @cached_property
    def spellings(self) -> frozenset[bytes]:
        """Return the encodings of the password, its middle, and the middle's ends."""
        texts = (self.password, self.core, self.core[:PART], self.core[-PART:])
        return frozenset([*(spelt for text in texts for spelt in _spelt(text)), *_hashed(self.password)])


def files(folder: Path, *but: Path) -> Iterator[Place]:
    """Return every file below a folder (home, working and temporary directory in one), except the inputs."""
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file() and path not in but:
                yield str(path), path.read_bytes()
        except FileNotFoundError:  # deleted between listing and reading
            continue


def process_of(pid: int) -> Iterator[Place]:
    """Return what every user and what its owner can ask the system about a process."""
    for name in ("cmdline", "comm", "environ"):
        try:
            yield f"{name} of {pid}", Path(f"/proc/{pid}/{name}").read_bytes()
        except OSError:
            continue


def _spelt(text: str) -> Iterator[bytes]:
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"):
        raw = text.encode(encoding)
        yield raw
        yield raw.hex().encode()
        yield raw.hex().upper().encode()
        for shift in range(3):  # base64 of a text that contains it, at each of three offsets
            coded = base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4]
            yield coded
            yield coded.translate(bytes.maketrans(b"+/", b"-_"))
    yield quote(text, safe="").encode()
    yield quote_plus(text).encode()
    for ascii_only in (True, False):
        yield json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
    yield repr(text)[1:-1].encode()


def _hashed(text: str) -> Iterator[bytes]:
    """Return the hashes on which a guess could be tested."""
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, text.encode(), usedforsecurity=False).digest()
        yield from (digest, digest.hex().encode(), base64.b64encode(digest))


def _layers(content: bytes, deep: int = 2) -> Iterator[bytes]:
    """Return the content, the content without line breaks in hexadecimal digits and base64, and unpacked streams."""
    yield content
    yield content.translate(None, _BLANK)
    if deep:
        for inner in _unpacked(content):
            yield from _layers(inner, deep - 1)


def _unpacked(content: bytes) -> Iterator[bytes]:
    if content[:4] == b"PAR1" == content[-4:]:
        yield repr(parquet.read_table(io.BytesIO(content)).to_pylist()).encode()
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            yield from map(packed.read, packed.namelist())
    for magic in _COMPRESSED:
        at = content.find(magic)
        while at >= 0:
            with contextlib.suppress(zlib.error):  # two bytes that look like a stream by chance
                yield zlib.decompressobj(_AUTO).decompress(content[at:], _MOST)
            at = content.find(magic, at + 1)
