"""Many inputs read as one: rows numbered through, found by page, in constant memory, and never from another file."""

import os
import resource
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkreset.errors import InputError
from bulkreset.input import batch as batch_module
from bulkreset.input import page_reader, text_reader
from bulkreset.input.input_set import InputSet
from bulkreset.input.page_reader import PageReader
from bulkreset.job import InputConfig
from tests.input.inputs import csv_file, encrypted_file, key_file, parquet_file

SIZE = 5  # rows of a page in these tests


def csv_of(rows: Sequence[str]) -> str:
    return "username,password\n" + "".join(f"{name},Hidden-{name}\n" for name in rows)


def read(found: InputSet) -> list[str]:
    names: list[str] = []
    for chunk in found.batches():
        assert chunk.first == len(names) + 1
        names += list(chunk.frame["username"])
    return names


def of(path: Path | list[Path], **spec: Any) -> InputSet:  # noqa: ANN401  (the keys of [input])
    return InputSet.open(InputConfig.model_validate({"path": path, **spec}))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with four formats, one file of them encrypted, and with files that are no input."""
    folder = tmp_path / "in"
    folder.mkdir()
    csv_file(folder, csv_of(["ann", "ben"]), "b.csv")
    csv_file(folder, csv_of(["cat"]), "c.csv.gz")
    parquet_file(folder, {"username": ["dan"], "password": ["Hidden-dan"]}).rename(folder / "a.parquet")
    for name in ("notes.txt", ".hidden.csv"):
        csv_file(folder, "nothing", name)
    (folder / "old.csv").mkdir()
    return folder


def test_folder_pattern_and_list_are_read_in_order_as_one(mixed: Path) -> None:
    assert read(of(mixed)) == ["dan", "ann", "ben", "cat"]
    assert read(of(mixed / "*.csv*")) == ["ann", "ben", "cat"]
    assert read(of([mixed / "c.csv.gz", mixed, mixed / "b.csv"])) == ["cat", "dan", "ann", "ben"]
    found = of(mixed)
    read(found)
    assert [(it.name, it.first_row) for it in found.planned_files()] == [
        ("a.parquet", 1),
        ("b.csv", 2),
        ("c.csv.gz", 4),
    ]
    assert found.describe()["files"] == 3


def test_encrypted_and_open_files_are_mixed(mixed: Path, tmp_path: Path) -> None:
    key = key_file(tmp_path)
    encrypted_file(mixed / "b.csv", key)
    with pytest.raises(InputError, match=r"has no input\.identity"):
        of(mixed)
    assert read(of(mixed, identity=key)) == ["dan", "ann", "ben", "cat"]


@pytest.mark.parametrize(
    ("path", "why"), [("*.xml", "No input matches"), ("old.csv", "has no inputs"), ("x.csv", "no input file")]
)
def test_empty_value_is_refused(mixed: Path, path: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        of(mixed / path)


def test_name_that_is_not_utf8_is_refused_and_shown_legibly(tmp_path: Path) -> None:
    name = os.fsdecode(b"na\xefve.csv")
    csv_file(tmp_path, csv_of(["ann"]), name)
    for path in (tmp_path / name, tmp_path, tmp_path / "na*.csv"):
        with pytest.raises(InputError, match=r"na\\xefve\.csv is not UTF-8") as caught:
            of(path)
        str(caught.value).encode()


def test_file_whose_name_is_a_pattern_means_itself(tmp_path: Path) -> None:
    csv_file(tmp_path, csv_of(["ann"]), "a[1].csv")
    csv_file(tmp_path, csv_of(["ben"]), "a1.csv")
    assert read(of(tmp_path / "a[1].csv")) == ["ann"]


def test_malformed_row_is_reported_with_its_line_and_file(mixed: Path) -> None:
    csv_file(mixed, "username,password\nx,y,z\n", "bb.csv")
    expected = {chunk.first + at: what for chunk in of(mixed).batches() for at, what in chunk.malformed.items()}
    assert expected == {4: "line 2: 3 fields where the header has 2"}


def test_inputs_are_equal_if_all_files_names_and_positions_are(mixed: Path) -> None:
    found = of(mixed)
    total = len(read(found))
    noted, whole = found.planned_files(), found.describe()
    assert whole["sha256"]
    again = of(mixed)
    again.require_unchanged(noted, total)
    assert again.describe() == whole
    csv_file(mixed, csv_of(["ann", "bea"]), "b.csv")
    with pytest.raises(InputError, match=r"b\.csv has changed since it was planned"):
        of(mixed).require_unchanged(noted, total)
    changed = of(mixed)
    assert changed.describe()["sha256"] == ""
    read(changed)
    assert changed.describe()["sha256"] not in {whole["sha256"], ""}
    csv_file(mixed, csv_of(["ann", "ben"]), "b.csv")
    csv_file(mixed, csv_of([]), "bb.csv")
    with pytest.raises(InputError, match=r"bb\.csv was not there when the run was planned"):
        of(mixed).require_unchanged(noted, total)
    (mixed / "bb.csv").unlink()
    (mixed / "c.csv.gz").unlink()
    with pytest.raises(InputError, match=r"c\.csv\.gz was planned and is missing now"):
        of(mixed).require_unchanged(noted, total)


def test_file_that_is_written_to_is_seen(mixed: Path) -> None:
    found = of(mixed)
    look = found.change_detector()
    assert look() == ""
    os.utime(mixed / "b.csv", ns=(1, 1))
    assert look() == str(mixed / "b.csv")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use pages of five rows."""
    for module in (page_reader, text_reader):
        monkeypatch.setattr(module, "PAGE_ROWS", SIZE)
    monkeypatch.setattr(batch_module, "BATCH_ROWS", 2 * SIZE)
    monkeypatch.setattr(page_reader, "SKIPPED_PAGES", 2)
    monkeypatch.setattr(page_reader, "PASSED_FILES", 2)


@pytest.mark.usefixtures("small")
@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(0, 17), min_size=1, max_size=8).filter(any),
    order=st.lists(st.integers(0, 40), max_size=30),
    parquet=st.integers(0, 7),
)
def test_any_piece_has_the_rows_that_the_chunks_have(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], order: list[int], parquet: int
) -> None:
    folder = tmp_path_factory.mktemp("in")
    for number, size in enumerate(sizes):
        rows = [f"u{number}.{row}" for row in range(size)]
        if number == parquet:
            columns = {"username": rows, "password": [f"Hidden-{name}" for name in rows]}
            made = parquet_file(folder, columns, row_group_size=3) if rows else csv_file(folder, csv_of([]), "x")
            made.rename(folder / (f"{number}.parquet" if rows else f"{number}.csv"))
        else:
            csv_file(folder, csv_of(rows), f"{number}.csv")
    found = of(folder)
    names = read(found)
    fresh = of(folder)
    fresh.require_unchanged(found.planned_files(), len(names))
    pieces = [-(-len(names) // SIZE), *order]
    with closing(PageReader(fresh)) as source:
        for number in [*range(pieces[0]), *order]:
            if number >= pieces[0]:
                continue
            knew = source.knows(number)
            piece = source.read(number)
            assert piece or not (knew and source.remembers)
            while piece is None:
                piece = source.read(number)
            wanted = names[number * SIZE : (number + 1) * SIZE]
            assert (piece.first, piece.cells("username")) == (number * SIZE + 1, wanted)
            assert piece.cells("password") == [f"Hidden-{name}" for name in wanted]


@pytest.mark.linux("/proc/self/fd, to count open files")
def test_many_files_are_opened_one_at_a_time(tmp_path: Path) -> None:
    for number in range(200):
        csv_file(tmp_path, csv_of([f"user{number}"]), f"{number:04d}.csv")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, hard))  # noqa: PTH208
    try:
        found = of(tmp_path)
        assert len(read(found)) == 200
        with closing(PageReader(found)) as source:
            piece = None
            while piece is None:
                piece = source.read(0)
            assert piece.cells("username")[199] == "user199"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
