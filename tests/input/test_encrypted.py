"""Encrypted input: read like the plain file, or refused with the fault, without showing its content."""

import gzip
import sys
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkreset.errors import InputError, JobError
from bulkreset.input import batch, parquet_reader
from bulkreset.input.input_set import InputSet
from bulkreset.input.page_reader import PageReader
from bulkreset.input.reader import open_rows
from bulkreset.job import InputConfig
from tests.input.inputs import csv_file, encrypted_file, key_file, pairs, parquet_file, read

SECRET = "Hush-Hush.7734"
PEOPLE = [(f"user{number}", f"{SECRET}{number}") for number in range(25)]
TEXT = "username,password\n" + "".join(f"{name},{word}\n" for name, word in PEOPLE)
NAMES = ["users.csv", "users.csv.gz", "users.parquet", "Users.CSV.GZ", "export"]


def made(folder: Path, name: str, **how: Any) -> Path:  # noqa: ANN401  (options of the writer)
    """Write the people to a file of that name, not encrypted yet."""
    if not name.endswith("parquet"):
        return csv_file(folder, TEXT, name)
    names, words = zip(*PEOPLE, strict=True)
    return parquet_file(folder, {"username": names, "password": words}, **how)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return key_file(tmp_path)


def refused(path: Path, identity: Path | None) -> InputError:
    """Read the input to its end, and return the error that refuses it."""
    with pytest.raises(InputError) as caught:
        read(path, identity=identity)
    assert SECRET not in str(caught.value)
    assert caught.value.advice
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_encrypted_file_is_read_by_the_name_without_the_suffix(tmp_path: Path, key: Path, name: str) -> None:
    path = encrypted_file(made(tmp_path, name), key)
    assert pairs(read(path, identity=key)) == PEOPLE


def test_name_says_that_it_is_encrypted_in_any_case(tmp_path: Path, key: Path) -> None:
    path = encrypted_file(made(tmp_path, "users.parquet"), key).rename(tmp_path / "USERS.PARQUET.AGE")
    assert pairs(read(path, identity=key)) == PEOPLE


def test_armoured_file_is_read(tmp_path: Path, key: Path) -> None:
    public = pyrage.x25519.Recipient.from_str(key.read_text(encoding="ascii").splitlines()[0].rpartition(" ")[2])
    path = tmp_path / "users.csv.age"
    path.write_bytes(pyrage.encrypt(TEXT.encode(), [public], armored=True))
    assert pairs(read(path, identity=key)) == PEOPLE


def test_file_of_an_encoding_with_a_state_is_read(tmp_path: Path, key: Path) -> None:
    path = encrypted_file(csv_file(tmp_path, TEXT.encode("utf-16")), key)
    assert pairs(read(path, identity=key, encoding="utf-16")) == PEOPLE


@pytest.mark.usefixtures("small")
@settings(max_examples=60)
@given(
    numbers=st.lists(st.integers(0, 8), max_size=12),
    name=st.sampled_from(["users.csv", "users.csv.gz", "users.parquet"]),
    planned=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
)
def test_encrypted_pieces_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], name: str, encoding: str, *, planned: bool
) -> None:
    folder = tmp_path_factory.mktemp("encrypted")
    key = key_file(folder)
    plain = made(folder, name, row_group_size=4)
    if name == "users.csv":
        csv_file(folder, TEXT.encode(encoding))
    spec = InputConfig(
        path=encrypted_file(plain, key), identity=key, encoding=encoding if name == "users.csv" else "utf-8"
    )
    rows = InputSet.open(spec)
    if planned:
        list(rows.batches())
    with closing(PageReader(rows)) as pieces:
        for number in numbers:
            while (piece := pieces.read(number)) is None:
                pass
            assert (
                list(zip(piece.cells("username"), piece.cells("password"), strict=True))
                == PEOPLE[number * 3 : number * 3 + 3]
            )


def test_planned_encrypted_csv_is_entered_in_the_middle(tmp_path: Path, key: Path) -> None:
    text = "username,password\n" + "".join(f"user{number},{SECRET}{number}\n" for number in range(50_000))
    rows = InputSet.open(InputConfig(path=encrypted_file(csv_file(tmp_path, text, "big.csv.gz"), key), identity=key))
    list(rows.batches())
    with closing(PageReader(rows)) as pieces:
        for number in (24, 0, 13, 12, 14):
            assert pieces.knows(number)
            piece = pieces.read(number)
            assert piece
            assert (piece.cells("username")[7], piece.cells("password")[7]) == (
                f"user{number * 2000 + 7}",
                f"{SECRET}{number * 2000 + 7}",
            )


def test_encrypted_csv_is_read_in_constant_memory(tmp_path: Path, key: Path) -> None:
    text = "username,password,notes\n" + "".join(f"user{row},{SECRET}{row},{'x' * 200}\n" for row in range(20_000))
    path = encrypted_file(csv_file(tmp_path, text), key)
    assert path.stat().st_size > 4_000_000
    del text
    rows = InputSet.open(InputConfig(path=path, identity=key))
    tracemalloc.start()
    try:
        with closing(PageReader(rows)) as pieces:
            while pieces.read(9) is None:
                pass
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_encrypted_parquet_is_in_memory_once(tmp_path: Path, key: Path) -> None:
    words = [f"{row * 7919 % 1_000_003:0200d}" for row in range(50_000)]
    pq.write_table(
        pa.table({"username": words, "password": words}),
        tmp_path / "users.parquet",
        use_dictionary=False,
        compression="none",
    )
    path = encrypted_file(tmp_path / "users.parquet", key)
    size = path.stat().st_size
    rows = open_rows(InputConfig(path=path, identity=key))
    assert isinstance(rows, parquet_reader.ParquetReader)
    tracemalloc.start()  # measures Python's own memory, which holds the decrypted file
    try:
        with rows.open() as file:
            assert file.metadata.num_rows == 50_000
        assert size <= tracemalloc.get_traced_memory()[1] < size * 1.1
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", NAMES[:3])
def test_encrypted_input_without_an_identity(tmp_path: Path, key: Path, name: str) -> None:
    error = refused(encrypted_file(made(tmp_path, name), key), None)
    assert "is encrypted, but the job has no input.identity" in error.message
    assert "Set input.identity" in error.advice


@pytest.mark.parametrize("name", NAMES[:3])
def test_identity_that_opens_another_s_files(tmp_path: Path, key: Path, name: str) -> None:
    error = refused(encrypted_file(made(tmp_path, name), key), key_file(tmp_path, "other.txt"))
    assert error.message.endswith(".age cannot be decrypted: no private key of the identity file matches.")


def test_invalid_identity(tmp_path: Path, key: Path) -> None:
    path = encrypted_file(made(tmp_path, "users.csv"), key)
    assert "cannot be read: No such file" in refused(path, tmp_path / "none.txt").message
    assert "cannot be read" in refused(path, tmp_path).message
    for content in ("", "# nothing\n", SECRET, f"AGE-SECRET-KEY-1{SECRET}"):
        (tmp_path / "bad.txt").write_text(content, encoding="ascii")
        assert "has no key that can be used" in refused(path, tmp_path / "bad.txt").message


@pytest.mark.parametrize("name", NAMES[:3])
@pytest.mark.parametrize("left", [10, 100, 150, -16, -1])
def test_truncated_encrypted_file(tmp_path: Path, key: Path, name: str, left: int) -> None:
    path = encrypted_file(made(tmp_path, name), key)
    path.write_bytes(path.read_bytes()[:left])
    message = refused(path, key).message
    assert "damaged" in message or (left == 10 and "is not an age file" in message)


@pytest.mark.parametrize("name", ["users.csv", "users.csv.gz"])
@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_damage_in_the_middle_is_found_when_it_is_read(
    tmp_path: Path, key: Path, name: str, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "BATCH_ROWS", 2000)
    text = "username,password\n" + "".join(f"user{row:09d},{SECRET}{row * 7919:012d}\n" for row in range(60_000))
    path = encrypted_file(csv_file(tmp_path, text, name), key)
    whole = path.read_bytes()
    place = len(whole) * 3 // 4
    path.write_bytes(whole[:place] + (b"" if harm == "cut" else bytes([whole[place] ^ 1]) + whole[place + 1 :]))
    chunks = open_rows(InputConfig(path=path, identity=key)).batches()
    assert next(chunks).last == 2000
    with pytest.raises(InputError, match="cannot be decrypted: it is damaged") as caught:
        list(chunks)
    assert SECRET not in str(caught.value)


def test_gzip_that_is_broken_under_good_encryption(tmp_path: Path, key: Path) -> None:
    zipped = gzip.compress(TEXT.encode())
    refusals = {
        zipped[:-20]: "cannot be read",
        zipped[:-8] + bytes(8): "cannot be read",
        TEXT.encode(): "is text, not gzip",
    }
    for content, said in refusals.items():
        path = encrypted_file(tmp_path / "users.csv.gz", key, content)
        assert said in refused(path, key).message


def test_open_file_that_is_named_as_an_encrypted_one(tmp_path: Path, key: Path) -> None:
    path = csv_file(tmp_path, TEXT, "users.csv.age")
    for identity in (key, None):
        assert "is not an age file" in refused(path, identity).message


@pytest.mark.parametrize("name", NAMES[:3])
def test_identity_for_a_file_that_is_not_encrypted(tmp_path: Path, key: Path, name: str) -> None:
    error = refused(made(tmp_path, name), key)
    assert "is not encrypted, but the job has input.identity" in error.message


def test_encrypted_file_under_an_open_one_s_name(tmp_path: Path, key: Path) -> None:
    path = encrypted_file(made(tmp_path, "users.csv"), key).rename(tmp_path / "users.csv")
    for identity in (key, None):
        assert "is encrypted, but its name does not say so" in refused(path, identity).message


def test_extra_that_is_not_installed_is_named(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encrypted_file(made(tmp_path, "users.csv"), key)
    monkeypatch.setitem(sys.modules, "pyrage", None)
    with pytest.raises(JobError, match=r"bulkreset\[age\]"):
        read(path, identity=key)


@pytest.mark.linux("/proc/self/fd, to count open files")
def test_file_is_released(tmp_path: Path, key: Path) -> None:
    path = encrypted_file(made(tmp_path, "users.csv.gz"), key)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        rows = InputSet.open(InputConfig(path=path, identity=key))
        for _chunk in rows.batches():
            break
        with closing(PageReader(rows)) as pieces:
            pieces.read(0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4
