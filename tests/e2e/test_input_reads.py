"""How often a run reads its input: once for each pass. An unchanged file is not hashed again."""

import io
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bulkreset.errors import InputError
from bulkreset.input import location
from bulkreset.input.csv_reader import CsvRecords
from bulkreset.input.input_set import InputSet
from bulkreset.input.location import Digest, LocalFile
from bulkreset.job import InputConfig
from tests.e2e.command import SET, people, seed, write_csv
from tests.e2e.program import Program
from tests.sim import Simulator

ROWS = 400


class Counted(io.RawIOBase):
    """A file that counts the bytes read from it."""

    def __init__(self, stream: io.BufferedReader, counts: Counter[str]) -> None:
        self._stream = stream
        self._counts = counts

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        read = self._stream.readinto(buffer)
        self._counts["bytes"] += read
        return read

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def close(self) -> None:
        self._stream.close()
        super().close()


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the bytes read, bytes hashed, and parses begun of the input files."""
    found: Counter[str] = Counter()
    opened, added, header = LocalFile.open, Digest.add, CsvRecords.header

    def count_open(place: LocalFile) -> io.BufferedReader:
        return io.BufferedReader(Counted(opened(place), found))

    def count_add(digest: Digest, at: int, data: memoryview) -> None:
        before = digest.hashed
        added(digest, at, data)
        found["hashed"] += digest.hashed - before

    def count_header(records: CsvRecords) -> dict[str, int]:
        found["parses"] += 1
        return header(records)

    monkeypatch.setattr(LocalFile, "open", count_open)
    monkeypatch.setattr(Digest, "add", count_add)
    monkeypatch.setattr(CsvRecords, "header", count_header)
    return found


@pytest.mark.parametrize("fresh", [False, True])
def test_run_reads_its_input_once_for_each_pass(
    counts: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
    program: Program,
    sim: Simulator,
    tmp_path: Path,
    *,
    fresh: bool,
) -> None:
    """A file written just now could change within its time stamp, so only such a file is hashed again."""
    monkeypatch.setattr(location, "FRESH_NS", 1 << 63 if fresh else 0)
    rows = [(*row, "n" * 4000) for row in people(ROWS)]
    path = write_csv(tmp_path / "users.csv", rows, ("username", "password", "notes"))
    seed(sim, [name for name, _, _ in rows])
    size = path.stat().st_size
    program.apply(program.tables(path), pace__rate="none")
    assert len(sim.calls(SET)) == ROWS
    assert counts["parses"] == 2
    # The beginning is read again before each parse, to find the line ending.
    hashed = (3 if fresh else 2) * size
    assert hashed <= counts["bytes"] <= hashed + 4 * (1 << 17)
    assert counts["hashed"] == hashed


def test_content_that_changed_under_the_same_time_stamps_is_found_at_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "users.csv", people(20))
    rows = InputSet.open(InputConfig(path=path))
    list(rows.batches())
    planned, total = rows.planned_files(), rows.total
    same = rows.files[0].identity()
    monkeypatch.setattr(LocalFile, "identity", lambda _self: same)
    monkeypatch.setattr(location, "FRESH_NS", 0)
    rows = InputSet.open(InputConfig(path=path))
    list(rows.batches())
    path.write_bytes(path.read_bytes()[:-3] + b"X\r\n")
    rows.require_unchanged(planned, total)
    with pytest.raises(InputError, match="has changed since it was planned"):
        list(rows.batches())


def test_resumed_input_is_read_whole_before_it_is_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Size and times that another process recorded prove nothing."""
    monkeypatch.setattr(location, "FRESH_NS", 0)
    path = write_csv(tmp_path / "users.csv", people(20))
    before = path.stat()
    rows = InputSet.open(InputConfig(path=path))
    list(rows.batches())
    path.write_bytes(path.read_bytes()[:-3] + b"X\r\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="has changed since it was planned"):
        InputSet.open(InputConfig(path=path)).require_unchanged(rows.planned_files(), rows.total)
