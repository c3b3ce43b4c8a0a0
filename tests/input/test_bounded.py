"""Small files that expand to gigabytes: read or refused in little memory, and a signal soon ends the read."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkreset.cancellation import CancelToken
from bulkreset.errors import Interrupted
from bulkreset.input import location, parquet_pages, text_lines
from bulkreset.input.location import LocalFile
from bulkreset.input.parquet_pages import bounded_steps
from bulkreset.input.reader import open_rows
from bulkreset.job import InputConfig
from tests.input.inputs import csv_file

MOST = 400  # MB
READING = """
import sys
from pathlib import Path
from bulkreset.errors import InputError
from bulkreset.input.reader import open_rows
from bulkreset.job import InputConfig
rows = 0
try:
    for batch in open_rows(InputConfig(path=Path(sys.argv[1]))).batches():
        batch.frame
        rows = batch.last
except InputError as error:
    rows = error.message
# getrusage would count what the parent had when it forked.
(peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(peak.split()[1]) // 1024, rows)
"""


def peak(path: Path) -> tuple[int, str]:
    """Return the MB that a process needs to read the file, and how many rows it read or why it refused."""
    done = subprocess.run([sys.executable, "-c", READING, str(path)], capture_output=True, text=True, check=True)
    megabytes, _, said = done.stdout.strip().partition(" ")
    return int(megabytes), said


@pytest.mark.linux("/proc/self/status, for the memory of a process")
@pytest.mark.process
@pytest.mark.parametrize("rows", [70, pytest.param(5_000, marks=pytest.mark.soak)])
def test_one_dictionary_value_for_many_rows(tmp_path: Path, rows: int) -> None:
    size = 8 << 20
    assert rows * size > MOST << 20  # so memory cannot hold all rows at once
    index = pa.array([0] * rows, pa.int32())
    names = pa.DictionaryArray.from_arrays(index, pa.array(["y" * size]))
    table = pa.table({"username": names, "password": ["p"] * rows})
    path = tmp_path / "in.parquet"
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 40_000
    needed, said = peak(path)
    assert (needed < MOST, said) == (True, str(rows))


@pytest.mark.linux("/proc/self/status, for the memory of a process")
@pytest.mark.process
def test_dictionary_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    names = pa.DictionaryArray.from_arrays(pa.array([0] * 10, pa.int32()), pa.array(["y" * (20 << 20)]))
    pq.write_table(pa.table({"username": names, "password": ["p"] * 10}), path, compression="zstd")
    needed, said = peak(path)
    assert needed < MOST
    assert "has a page of 20 MB in its column 'username'" in said


@pytest.mark.linux("/proc/self/status, for the memory of a process")
@pytest.mark.process
def test_one_long_prefix_for_many_rows(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    table = pa.table({"username": ["y" * (1 << 20)] * 64, "password": ["p"] * 64})
    pq.write_table(
        table,
        path,
        use_dictionary=False,
        column_encoding={"username": "DELTA_BYTE_ARRAY", "password": "PLAIN"},
        write_statistics=False,
        compression="zstd",
    )
    needed, said = peak(path)
    assert (needed < MOST, said) == (True, "64")


@pytest.mark.linux("/proc/self/status, for the memory of a process")
@pytest.mark.process
def test_record_of_line_breaks(tmp_path: Path) -> None:
    with (path := tmp_path / "in.csv").open("w", encoding="utf-8") as file:
        file.write("username,password\n")
        for _ in range(20):
            file.write('"\n",' * 200_000)
    needed, said = peak(path)
    assert needed < MOST
    assert "A record of the input" in said


@pytest.mark.linux("/proc/self/status, for the memory of a process")
@pytest.mark.process
def test_hole_in_a_file(tmp_path: Path) -> None:
    with (path := tmp_path / "in.csv").open("wb") as file:
        file.write(b"username,password\n")
        file.truncate(20 << 30)
    needed, said = peak(path)
    assert needed < MOST
    assert "is longer than 1,048,576 characters" in said


def many_rows(folder: Path, name: str, count: int) -> Path:
    """Write a file of that many rows, in the format of the name."""
    path = folder / name.removesuffix(".gz").removesuffix(".zst")
    if name.endswith("parquet"):
        numbers = [f"user{number:07d}" for number in range(count)]
        pq.write_table(pa.table({"username": numbers, "password": numbers}), path, row_group_size=50_000)
        return path
    line = (
        "user{0:07d},Pass-{0:07d}\n" if ".csv" in name else '{{"username":"user{0:07d}","password":"Pass-{0:07d}"}}\n'
    )
    with path.open("w", encoding="utf-8") as file:
        if ".csv" in name:
            file.write("username,password\n")
        file.writelines(line.format(number) for number in range(count))
    return path if path.name == name else csv_file(folder, path.read_bytes(), name)


@pytest.mark.soak
@pytest.mark.linux("/proc/self/status, for the memory of a process")
@pytest.mark.process
@pytest.mark.parametrize(
    "name", ["in.csv", "in.csv.gz", "in.csv.zst", "in.jsonl", "in.jsonl.gz", "in.jsonl.zst", "in.parquet"]
)
def test_ten_times_the_rows_need_no_more_memory(tmp_path: Path, name: str) -> None:
    few, said_of_few = peak(many_rows(tmp_path, name, 100_000))
    many, said_of_many = peak(many_rows(tmp_path, name, 1_000_000))
    assert (said_of_few, said_of_many) == ("100000", "1000000")
    assert many < few + 40


@pytest.fixture
def stopped() -> Iterator[CancelToken]:
    """A token that watches this thread, with a stop requested."""
    token = CancelToken()
    token.request()
    with token.watching():
        yield token


def test_blank_lines_end_at_a_signal(tmp_path: Path, stopped: CancelToken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "BETWEEN_CHECKS", 10 * text_lines.PER_LINE)
    path = csv_file(tmp_path, "username,password\n" + "\n" * 100)
    with pytest.raises(Interrupted):
        list(open_rows(InputConfig(path=path)).batches())
    assert stopped.is_set()


@pytest.mark.usefixtures("stopped")
def test_long_lines_end_at_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has thousands of lines, which take minutes if they are long."""
    path = csv_file(tmp_path, "username,password\n" + f"{'x' * 2000},\n" * 20)
    assert len(list(open_rows(InputConfig(path=path)).batches())) == 1
    monkeypatch.setattr(text_lines, "BETWEEN_CHECKS", 20_000)
    with pytest.raises(Interrupted):
        list(open_rows(InputConfig(path=path)).batches())


@pytest.mark.usefixtures("stopped")
def test_footer_of_many_structures_ends_at_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no row group, so no page is looked at."""
    path = tmp_path / "in.parquet"
    pq.ParquetWriter(path, pa.schema({"username": pa.string(), "password": pa.string()})).close()
    written = path.read_bytes()
    footer = written[-8 - int.from_bytes(written[-8:-4], "little") : -8]
    with path.open("rb") as file:
        assert list(bounded_steps(file, footer, ["username"]).rows) == []
        monkeypatch.setattr(parquet_pages, "STRUCTS_BETWEEN_CHECKS", 2)
        with pytest.raises(Interrupted):
            bounded_steps(file, footer, ["username"])


@pytest.mark.usefixtures("stopped")
def test_hashing_ends_at_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "READ_SIZE", 10)
    with pytest.raises(Interrupted):
        LocalFile(csv_file(tmp_path, "x" * 100)).fingerprint()


def test_a_signal_between_lines_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while the file is read, and no batch interrupts the read."""
    monkeypatch.setattr(text_lines, "BETWEEN_CHECKS", 10 * text_lines.PER_LINE)
    token, calls = CancelToken(), itertools.count()
    checked = token.check

    def check() -> None:
        if next(calls) == 5:
            token.request()
        checked()

    monkeypatch.setattr(token, "check", check)
    path = csv_file(tmp_path, "username,password\n" + "\n" * 1000)
    with token.watching(), pytest.raises(Interrupted):
        list(open_rows(InputConfig(path=path)).batches())
