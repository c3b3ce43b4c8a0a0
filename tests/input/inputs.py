"""Write input files for the tests, and read them with the reader."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pyrage

from bulkreset.age_encryption import encrypt, parse_recipients
from bulkreset.input.csv_reader import CsvReader
from bulkreset.input.reader import open_rows
from bulkreset.job import InputConfig


class ReadRow(NamedTuple):
    """One row as the reader returns it; `malformed` is "" for a well-formed line."""

    row: int
    username: str
    password: str
    permanent: str = ""
    pool: str = ""
    malformed: str = ""


def read(path: Path, **spec: Any) -> list[ReadRow]:  # noqa: ANN401  (the keys of [input])
    """Return every row of the file at `path`, after checking that row numbers have no gap."""
    seen: list[ReadRow] = []
    for chunk in open_rows(InputConfig(path=path, **spec)).batches():
        assert chunk.first == len(seen) + 1
        frame = chunk.frame
        cells = zip(*(frame[name].tolist() for name in frame.columns), strict=True)
        seen += [
            ReadRow(chunk.first + offset, username, password, permanent, pool, chunk.malformed.get(offset, ""))
            for offset, (username, password, permanent, pool) in enumerate(cells)
        ]
        assert chunk.last == len(seen)
    return seen


def open_csv(spec: InputConfig) -> CsvReader:
    """Return the rows of a CSV file."""
    rows = open_rows(spec)
    assert isinstance(rows, CsvReader)
    return rows


def pairs(rows: Sequence[ReadRow]) -> list[tuple[str, str]]:
    """Return usernames and passwords; no row may be malformed."""
    assert not [row for row in rows if row.malformed]
    return [(row.username, row.password) for row in rows]


def csv_file(folder: Path, content: bytes | str, name: str = "users.csv") -> Path:
    """Write a CSV file in UTF-8, compressed if the name says so."""
    path = folder / name
    raw = content.encode() if isinstance(content, str) else content
    if name.lower().endswith(".gz"):
        raw = gzip.compress(raw, mtime=0)
    elif name.lower().endswith(".zst"):
        raw = pa.compress(raw, codec="zstd", asbytes=True)
    path.write_bytes(raw)
    return path


def parquet_file(folder: Path, columns: dict[str, Any], **how: Any) -> Path:  # noqa: ANN401  (Arrow arrays and options)
    """Write a Parquet file of the given columns."""
    path = folder / "users.parquet"
    pq.write_table(pa.table(columns), path, **how)
    return path


def key_file(folder: Path, name: str = "key.txt") -> Path:
    """Write a new private key, as age-keygen does."""
    identity = pyrage.x25519.Identity.generate()
    path = folder / name
    path.write_text(f"# public key: {identity.to_public()}\n{identity}\n", encoding="ascii")
    return path


def encrypted_file(path: Path, key: Path, content: bytes | None = None) -> Path:
    """Encrypt a file to a key and delete the plain one; with `content` there is no plain file."""
    public = key.read_text(encoding="ascii").splitlines()[0].rpartition(" ")[2]
    made = path.with_name(f"{path.name}.age")
    made.write_bytes(encrypt(path.read_bytes() if content is None else content, parse_recipients([public])))
    if content is None:
        path.unlink()
    return made
