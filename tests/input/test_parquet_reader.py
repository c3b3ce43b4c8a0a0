"""Parquet: unchanged text, null as empty, and numbers in place of text refused without showing them."""

import base64
import io
import random
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption

from bulkreset.errors import InputError
from bulkreset.input import batch, parquet_pages
from bulkreset.input.parquet_pages import BUDGET, LONGEST_BYTES, Steps, bounded_steps
from bulkreset.job import ColumnsConfig
from tests.input.inputs import ReadRow, pairs, parquet_file, read
from tests.input.test_csv_reader import ODD


def raw_text(*values: bytes) -> Any:  # noqa: ANN401  (an Arrow array)
    """Return a text column with any bytes, as a careless program writes it."""
    buffers: Any = pa.array(values, pa.binary()).buffers()
    _, offsets, data = buffers
    return pa.StringArray.from_buffers(len(values), offsets, data)


def test_every_value_arrives_as_written(tmp_path: Path) -> None:
    path = parquet_file(tmp_path, {"username": ODD, "password": ODD})
    assert pairs(read(path)) == [(value, value) for value in ODD]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["One-1", "007", None], pa.string()),
        pa.array(["One-1", "007", None], pa.large_string()),
        pa.array(["One-1", "007", None], pa.string_view()),
        pa.array(["One-1", "007", None], pa.string()).dictionary_encode(),
        pa.array(["One-1", "007", None], pa.large_string()).dictionary_encode(),
    ],
)
def test_every_kind_of_text_column(tmp_path: Path, column: Any) -> None:  # noqa: ANN401  (an Arrow array)
    path = parquet_file(tmp_path, {"username": ["a", "b", "c"], "password": column})
    assert pairs(read(path)) == [("a", "One-1"), ("b", "007"), ("c", "")]


def test_column_of_nulls_is_empty(tmp_path: Path) -> None:
    path = parquet_file(tmp_path, {"username": ["a"], "password": pa.nulls(1), "permanent": pa.nulls(1)})
    assert read(path) == [ReadRow(1, "a", "", "", "")]


def test_permanent_may_be_boolean(tmp_path: Path) -> None:
    flags = pa.array([True, False, None])
    path = parquet_file(tmp_path, {"username": list("abc"), "password": list("xyz"), "permanent": flags})
    assert [row.permanent for row in read(path)] == ["true", "false", ""]


@pytest.mark.parametrize("field", ["username", "password", "user_pool_id", "permanent"])
@pytest.mark.parametrize(
    "column",
    [
        pa.array([1234567, 7654321]),
        pa.array([12345.67, 76543.21]),
        pa.array([b"1234567", b"7654321"]),
        pa.array([1234567, 7654321]).dictionary_encode(),
        pa.array([["1234567"], ["7654321"]]),
        pa.array([{"x": "1234567"}, {"x": "7654321"}]),
        pa.array([1234567, 7654321], pa.timestamp("s")),
    ],
    ids=lambda column: str(column.type)[:10],
)
def test_other_types_than_text_are_refused_without_showing_a_value(tmp_path: Path, field: str, column: Any) -> None:  # noqa: ANN401
    columns: dict[str, Any] = {"username": ["a", "b"], "password": ["One-1", "Two-2"], field: column}
    with pytest.raises(InputError, match=f"column '{field}' .* not text") as caught:
        read(parquet_file(tmp_path, columns))
    assert "12345" not in str(caught.value)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    assert ("leading zeros" in caught.value.advice) == (is_number and field != "permanent")


def test_missing_column_is_not_laid_to_a_delimiter(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 column in its schema") as caught:
        read(parquet_file(tmp_path, {"username": ["a"]}))
    assert "delimiter" not in caught.value.advice


@pytest.mark.parametrize("field", ["username", "password", "user_pool_id"])
def test_boolean_is_text_only_in_permanent(tmp_path: Path, field: str) -> None:
    columns: dict[str, Any] = {"username": ["a"], "password": ["One-1"], field: pa.array([True])}
    with pytest.raises(InputError, match="holds bool, not text"):
        read(parquet_file(tmp_path, columns))


def test_other_columns_may_hold_anything(tmp_path: Path) -> None:
    columns = {
        "n": pa.array([1]),
        "username.alias": ["other"],
        "username": ["a"],
        "nested": pa.array([{"password": 5}]),
        "password": ["One-1"],
    }
    assert read(parquet_file(tmp_path, columns)) == [ReadRow(1, "a", "One-1")]


def test_columns_are_renamed_and_trimmed(tmp_path: Path) -> None:
    path = parquet_file(tmp_path, {" mail ": ["a"], "secret.word": ["One-1"]})
    assert pairs(read(path, columns=ColumnsConfig(username="mail", password="secret.word"))) == [("a", "One-1")]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["user", "password"], "no column 'username'"),
        (["username", "pw"], "no column 'password'"),
        (["username", "password", "password"], "'password' 2 times"),
        (["username", "password", "password "], "'password' 2 times"),
    ],
)
def test_unusable_columns_are_named(tmp_path: Path, names: list[str], words: str) -> None:
    path = tmp_path / "users.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["Hidden-1"])] * len(names), names=names), path)
    with pytest.raises(InputError, match=words) as caught:
        read(path)
    assert "Hidden" not in str(caught.value)


@pytest.mark.parametrize("encode", [False, True], ids=["plain", "dictionary"])
def test_row_whose_bytes_are_not_utf8_is_malformed(tmp_path: Path, *, encode: bool) -> None:
    column = raw_text(b"One-1", b"br\xffken", b"surrogate\xed\xa0\x80", b"Gr\xc3\xb6\xc3\x9fe-4")
    password = column.dictionary_encode() if encode else column
    rows = read(parquet_file(tmp_path, {"username": list("abcd"), "password": password}))
    why = "the column 'password' has bytes that are not UTF-8"
    assert rows == [
        ReadRow(1, "a", "One-1"),
        ReadRow(2, "", "", malformed=why),
        ReadRow(3, "", "", malformed=why),
        ReadRow(4, "d", "Größe-4"),
    ]


def test_rows_are_numbered_across_row_groups_and_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BATCH_ROWS", 7)
    names = [f"user{number}" for number in range(50)]
    path = parquet_file(tmp_path, {"username": names, "password": names}, row_group_size=10)
    assert pq.ParquetFile(path).num_row_groups == 5
    rows = read(path)
    assert pairs(rows) == [(name, name) for name in names]
    assert [row.row for row in rows] == list(range(1, 51))


def test_empty_row_groups_are_not_rows(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    full = pa.table({"username": ["a"], "password": ["One-1"]})
    with pq.ParquetWriter(path, full.schema) as writer:
        for table in (full.slice(0, 0), full, full.slice(0, 0), full):
            writer.write_table(table)
    assert pairs(read(path)) == [("a", "One-1")] * 2


def test_file_of_no_rows(tmp_path: Path) -> None:
    empty = pa.array([], pa.string())
    assert read(parquet_file(tmp_path, {"username": empty, "password": empty})) == []


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
def test_every_compression(tmp_path: Path, compression: str) -> None:
    path = parquet_file(tmp_path, {"username": ["a"] * 9, "password": ["One-1"] * 9}, compression=compression)
    assert pairs(read(path)) == [("a", "One-1")] * 9


def test_file_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    path = parquet_file(tmp_path, {"username": ["a", "b"], "password": ["Hidden-1", "Hidden-2"]}, compression="none")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            read(path)
        assert "Hidden" not in str(caught.value)


def test_text_with_a_parquet_name_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    path.write_text("username,password\nann,Hidden-1\n")
    with pytest.raises(InputError, match="is text, not Parquet") as caught:
        read(path)
    assert "Hidden" not in str(caught.value)


def test_long_value_that_is_written_once_and_meant_often_is_cut_before_each_row_has_it(tmp_path: Path) -> None:
    long = "\u20ac" * (1 << 16)
    often = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 1000, pa.int32()), pa.array([long, "Short-1"]))
    table = pa.table({"username": [f"user.{n}" for n in range(2000)], "password": often})
    pq.write_table(table, tmp_path / "in.parquet")
    before = pa.total_allocated_bytes()
    rows = read(tmp_path / "in.parquet")
    assert pa.total_allocated_bytes() - before < 64 << 20
    assert {len(row.password) for row in rows[::2]} == {4 * 1024 // 3}  # bytes, not characters
    assert {row.password for row in rows[1::2]} == {"Short-1"}
    assert not any(row.malformed for row in rows)


def _repeated(path: Path, length: int, rows: int, *others: str) -> None:
    """Write a column with one repeated value, once in its dictionary, and `others` in the last rows."""
    indexes = [0] * rows + list(range(1, len(others) + 1))
    names = pa.DictionaryArray.from_arrays(pa.array(indexes, pa.int32()), pa.array(["x" * length, *others]))
    table = pa.table({"username": names, "password": ["Hidden-1"] * len(names)})
    pq.write_table(table, path, store_schema=False)


def test_dictionary_with_a_long_value_is_not_expanded(tmp_path: Path) -> None:
    _repeated(tmp_path / "in.parquet", 1 << 16, 2000, "ann", "bob")
    assert _steps(tmp_path / "in.parquet") == ([BUDGET // LONGEST_BYTES], ["username"])
    assert [row.username for row in read(tmp_path / "in.parquet")] == ["x" * LONGEST_BYTES] * 2000 + ["ann", "bob"]


def test_dictionary_of_short_values_is_expanded(tmp_path: Path) -> None:
    _repeated(tmp_path / "in.parquet", LONGEST_BYTES, 100, "ann")
    assert _steps(tmp_path / "in.parquet") == ([BUDGET // LONGEST_BYTES], [])


def test_long_value_of_a_dictionary_that_is_not_whole_takes_few_rows_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["x" * (1 << 16)] * 20 + [f"user.{n}" for n in range(2000)]
    table = pa.table({"username": names, "password": ["Hidden-1"] * len(names)})
    path = tmp_path / "in.parquet"
    pq.write_table(table, path, dictionary_pagesize_limit=1 << 10, write_batch_size=10)  # plain pages follow
    assert _steps(path) == ([BUDGET >> 16], [])
    assert [len(row.username) for row in read(path)][:21] == [LONGEST_BYTES] * 20 + [6]
    monkeypatch.setattr(parquet_pages, "MOST_EXPANDED", 9 << 16)
    with pytest.raises(InputError, match=r"repeats a value of 65,536 bytes in its column 'username'"):
        read(path)


def _steps(path: Path) -> Steps:
    content = path.read_bytes()
    footer = content[-8 - int.from_bytes(content[-8:-4], "little") : -8]
    return bounded_steps(io.BufferedReader(io.BytesIO(content)), footer, ["username", "password"])


def test_column_whose_values_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    long = "x" * (1 << 20)
    table = pa.table({"username": [f"user.{n}" for n in range(80)], "password": [long + str(n) for n in range(80)]})
    pq.write_table(table, tmp_path / "in.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(InputError, match=r"has a page of 80 MB in its column 'password'"):
        read(tmp_path / "in.parquet")


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_encoding_and_page_version(tmp_path: Path, encoding: str, version: str) -> None:
    names, secrets = ["ada", "bob", "cyd"], ["Hidden-1", "Hidden-2", "Hidden-3"]
    path = parquet_file(
        tmp_path,
        {"username": names, "password": secrets, "notes": [1, None, 3]},
        use_dictionary=False,
        column_encoding={"username": "PLAIN", "password": encoding},
        data_page_version=version,
    )
    assert pairs(read(path)) == list(zip(names, secrets, strict=True))


def test_file_with_a_wrong_footer_is_refused_or_read(tmp_path: Path) -> None:
    table = pa.table({"username": [f"user.{n}" for n in range(50)], "password": ["Secret-1"] * 50})
    pq.write_table(table, tmp_path / "in.parquet")
    content = (tmp_path / "in.parquet").read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    chances = random.Random(7)
    refused: list[str] = []
    for _ in range(300):
        lying = bytearray(content)
        for _ in range(chances.randint(1, 3)):
            lying[chances.randrange(footer, len(lying))] = chances.randrange(256)
        (tmp_path / "lying.parquet").write_bytes(lying)
        try:
            assert len(read(tmp_path / "lying.parquet")) <= 50
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert not any("Secret" in text or "\n" in text for text in refused)


def test_arrows_message_about_a_damaged_file_is_printable(tmp_path: Path) -> None:
    path = parquet_file(tmp_path, {"username": ["ann"], "password": ["One-1"]})
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[footer] = 0x1F  # a thrift field of an unknown type
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).isprintable()


IDS = [UUID(int=number * 7**40) for number in range(3)]


@pytest.mark.parametrize("kind", [pa.uuid(), pa.binary(16)])
def test_uuids_are_text_if_the_job_says_so(tmp_path: Path, kind: Any) -> None:  # noqa: ANN401
    names = pa.array([*(one.bytes for one in IDS), None], kind)
    path = parquet_file(tmp_path, {"username": names, "password": ["One-1"] * 4})
    assert [row.username for row in read(path, binary="uuid")] == [*map(str, IDS), ""]
    with pytest.raises(InputError, match="not text") as caught:
        read(path)
    assert 'binary = "uuid"' in caught.value.advice


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(5)])
@pytest.mark.parametrize("in_dictionary", [False, True])
def test_bytes_are_text_if_the_job_says_so(tmp_path: Path, kind: Any, *, in_dictionary: bool) -> None:  # noqa: ANN401
    names = pa.array(["zoë1".encode(), None, b"a\xffbcd"], kind)
    if in_dictionary and kind != pa.binary_view():
        names = names.dictionary_encode()
    path = parquet_file(tmp_path, {"username": names, "password": ["One-1"] * 3})
    rows = read(path, binary="utf8")
    assert [(row.username, bool(row.malformed)) for row in rows] == [("zoë1", False), ("", False), ("", True)]
    for other in (None, "uuid"):
        with pytest.raises(InputError, match="not text") as caught:
            read(path, binary=other)
        assert 'binary = "utf8"' in caught.value.advice


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
def test_every_encoding_of_text_is_read(tmp_path: Path, encoding: str, version: str, compression: str) -> None:
    names = [f"user{number}" for number in range(50)]
    path = parquet_file(
        tmp_path,
        {"username": pa.array(names, pa.string_view()), "password": pa.array(names).cast(pa.large_string())},
        use_dictionary=False,
        column_encoding=encoding,
        data_page_version=version,
        compression=compression,
        data_page_size=100,
    )
    assert pairs(read(path)) == list(zip(names, names, strict=True))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_damage_in_a_column_that_is_not_ours_spoils_nothing(tmp_path: Path, version: str) -> None:
    columns = {"username": ["ann"], "other": [{"a": [1, 2]}], "password": ["One-1"]}
    path = parquet_file(tmp_path, columns, data_page_version=version, compression="none")
    group = pq.ParquetFile(path).metadata.row_group(0)
    at = [
        group.column(number)
        for number in range(group.num_columns)
        if group.column(number).path_in_schema[:5] == "other"
    ]
    content = bytearray(path.read_bytes())
    for chunk in at:
        begins = chunk.dictionary_page_offset or chunk.data_page_offset
        content[begins : begins + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    assert at
    path.write_bytes(content)
    assert pairs(read(path)) == [("ann", "One-1")]


class PlainKeys(encryption.KmsClient):
    """A key service that does not encrypt keys."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:  # type: ignore[override]  # noqa: ARG002  (pyarrow names it)
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:  # type: ignore[override]  # noqa: ARG002  (pyarrow names it)
        return base64.b64decode(wrapped_key)


OTHERS = {"username": ["ann"], "password": ["Quiet-1"], "other": ["of no use"]}


@pytest.mark.parametrize("is_footer_plain", [True, False])
def test_encrypted_column_beside_ours_is_not_opened_and_an_encrypted_file_is_refused(
    tmp_path: Path, *, is_footer_plain: bool
) -> None:
    how = encryption.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["other"]}, plaintext_footer=is_footer_plain
    )
    factory = encryption.CryptoFactory(lambda _: PlainKeys())
    made = factory.file_encryption_properties(encryption.KmsConnectionConfig(), how)
    path = parquet_file(tmp_path, OTHERS, encryption_properties=made)
    if is_footer_plain:
        assert pairs(read(path)) == [("ann", "Quiet-1")]
        with pytest.raises(InputError, match="cannot be read"):
            read(path, columns=ColumnsConfig(password="other"))
    else:
        with pytest.raises(InputError, match="encrypted by Parquet's own encryption"):
            read(path)


CONTRADICTION = pytest.mark.skipif(
    int(pa.__version__.split(".")[0]) < 26, reason="pyarrow before 26 refuses the whole file; the run is refused, too"
)


@pytest.mark.parametrize(
    "damage",
    [
        "page",
        pytest.param("logical type", marks=CONTRADICTION),
        "converted type",
        pytest.param("physical type", marks=CONTRADICTION),
    ],
)
def test_column_beside_ours_that_cannot_be_opened_spoils_nothing(tmp_path: Path, damage: str) -> None:
    path = parquet_file(tmp_path, OTHERS, compression="none", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    page = pq.ParquetFile(path).metadata.row_group(0).column(2)
    footer = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    schema = raw.index(b"\x18\x05other", footer)  # field 4 of its element: the name
    where = {
        "page": page.data_page_offset,
        "logical type": raw.index(b"\x4c\x1c", schema) + 1,  # field 10: a union whose member 1 is STRING
        "converted type": raw.index(b"\x25\x00", schema) + 1,  # field 6: 0 is UTF8
        "physical type": raw.rindex(b"\x15\x0c", footer, schema) + 1,  # field 1: 6 is BYTE_ARRAY
    }[damage]
    new = {"page": b"\xff" * page.total_compressed_size, "logical type": b"\xfc", "converted type": b"\x7e"}
    broken = new.get(damage, b"\x02")  # a text marked as INT32
    raw[where : where + len(broken)] = broken
    path.write_bytes(raw)
    assert pairs(read(path)) == [("ann", "Quiet-1")]


def test_footer_with_too_many_values_is_refused_and_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_pages, "MOST_VALUES", 50)
    path = parquet_file(tmp_path, OTHERS)
    with pytest.raises(InputError, match="has a footer of more than 50 values") as caught:
        read(path)
    assert "larger row groups" in caught.value.advice
