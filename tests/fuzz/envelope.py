"""The envelopes, gzip and age: the output is the complete input, or the file is refused."""

import gzip
from functools import cache
from pathlib import Path

import pyrage

from bulkreset.age_encryption import encrypt, parse_recipients
from bulkreset.errors import InputError
from tests.fuzz.reading import read, small
from tests.fuzz.scratch import CANARY, folder, open_files, returns_to, written

_ROWS = 40
_PEOPLE = "username,password\n" + "".join(f"user.{number},{CANARY}-{number}\n" for number in range(_ROWS))
_RAW, _GZIP, _AGE, _BOTH, _ARMOUR = range(5)
_NAMES = ("in.csv.gz", "in.csv.gz", "in.csv.age", "in.csv.gz.age", "in.csv.age")


@cache
def _key(_folder: Path) -> tuple[Path, str]:
    identity = pyrage.x25519.Identity.generate()
    return written("key.txt", f"{identity}\n".encode()), str(identity.to_public())


def one(data: bytes) -> None:
    """The first byte chooses the envelope; the rest are edits of a valid one, or the whole file."""
    kind, edits = (data[0] if data else 0) % 5, data[1:]
    key, public = _key(folder())
    whole = _whole(kind, public)
    damaged = edits if kind == _RAW else _edited(whole, edits)
    path = written(_NAMES[kind], damaged)
    before = open_files()
    with small():
        found = read(path, [edits[0] if edits else 1, 0], **({"identity": key} if path.suffix == ".age" else {}))
    assert returns_to(open_files, before)
    if kind != _RAW and (damaged == whole or not isinstance(found, InputError)):
        assert not isinstance(found, InputError), found
        assert [(line.username, line.password) for line in found] == [
            (f"user.{number}", f"{CANARY}-{number}") for number in range(_ROWS)
        ]


@cache
def _whole(kind: int, public: str) -> bytes:
    content = _PEOPLE.encode()
    if kind in {_GZIP, _BOTH}:
        content = gzip.compress(content, mtime=0)
    if kind in {_AGE, _BOTH, _ARMOUR}:
        content = encrypt(content, parse_recipients([public]))
    if kind == _ARMOUR:
        content = pyrage.encrypt(_PEOPLE.encode(), parse_recipients([public]), armored=True)
    return content


def _edited(whole: bytes, edits: bytes) -> bytes:
    """Each four bytes are one edit: position, kind, and byte."""
    content = bytearray(whole)
    for place in range(0, len(edits) - 3, 4):
        at = int.from_bytes(edits[place : place + 2], "big") % (len(content) + 1)
        what, value = edits[place + 2] % 4, edits[place + 3]
        if what == 0:
            content[at : at + 1] = bytes([value])
        elif what == 1:
            del content[at : at + 1 + value]
        elif what == 2:
            content[at:at] = bytes([value])
        else:
            del content[at:]
    return bytes(content)
