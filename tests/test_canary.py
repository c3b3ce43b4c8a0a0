"""The search for a canary finds every encoding of it, and nothing else."""

import base64
import gzip
import hashlib
import io
import json
import secrets
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.canary import Canary, files


def _table(text: str) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table({"message": [text]}), file, compression="zstd")
    return file.getvalue()


def _zipped(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("log", text)
    return file.getvalue()


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "text": str.encode,
    "its beginning": lambda text: text[:14].encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "JSON": lambda text: json.dumps(json.dumps({"Password": text})).encode(),
    "a repr": lambda text: repr([text.encode()]).encode(),
    "a URL": lambda text: quote(quote(text)).encode(),
    "base64": lambda text: base64.b64encode(b"{" + text.encode() + b"}"),
    "base64 in lines": lambda text: base64.encodebytes(b"user:" + text.encode()),
    "hexadecimal": lambda text: text.encode().hex().upper().encode(),
    "a dump": lambda text: text.encode().hex(":").encode(),
    "gzip in the middle": lambda text: b"\x78\x9c before" + gzip.compress(text.encode()) + b" after",
    "zlib": lambda text: zlib.compress(text.encode(), 9),
    "gzip in gzip": lambda text: gzip.compress(gzip.compress(text.encode())),
    "base64 in gzip": lambda text: gzip.compress(base64.encodebytes(text.encode())),
    "Parquet": _table,
    "a zip": _zipped,
    "a hash": lambda text: hashlib.sha256(text.encode()).hexdigest().encode(),
}


@pytest.mark.parametrize("how", ENCODINGS)
def test_canary_is_found_in_any_encoding(how: str, tmp_path: Path) -> None:
    canary = Canary()
    (tmp_path / "leaked").write_bytes(ENCODINGS[how](canary.password))
    assert canary.among(files(tmp_path)) == {str(tmp_path / "leaked")}
    assert canary.among(files(tmp_path, tmp_path / "leaked")) == set()


def test_search_finds_nothing_in_other_places() -> None:
    canary, other = Canary(), Canary()
    for leaked in ENCODINGS.values():
        assert not canary.is_in(leaked(other.password))
    assert not canary.is_in(secrets.token_bytes(1 << 20))
