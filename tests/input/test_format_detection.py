"""A file with a name of one format and first bytes of another: the message names the real format and the next step."""

import gzip
import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkreset.errors import EmptyInput, InputError
from bulkreset.input.format_detection import binary_kind, first_object, is_json_lines, sniffed_ending, text_kind
from tests.input.inputs import csv_file, pairs, read

ROW = "username,password\nann,Quiet-1\n"
OBJECT = '{"username": "ann", "password": "Quiet-1"}\n'


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"username": ["ann"], "password": ["Quiet-1"]}), out)
    return out.getvalue()


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        member = tarfile.TarInfo("users.csv")
        member.size = len(ROW)
        file.addfile(member, io.BytesIO(ROW.encode()))
    return out.getvalue()


PARQUET, TAR, GZIP = parquet(), tar(), gzip.compress(ROW.encode(), mtime=0)
AGAIN = "Copy or write the file again."


@pytest.mark.parametrize(
    ("name", "content", "what", "advice"),
    [
        ("u.parquet", ROW, "is text, not Parquet", "ends in .csv or .jsonl"),
        ("u.parquet", OBJECT, "is JSON Lines, not Parquet", "ends in .csv or .jsonl"),
        ("u.parquet", "<!DOCTYPE html><p>Sign in", "is a web page, not Parquet", "signed in"),
        ("u.parquet", GZIP, "is gzip, not Parquet", ".csv.gz"),
        ("u.pq", b"PK\x03\x04..", "is a spreadsheet or a ZIP archive, not Parquet", "Save it as CSV"),
        ("u.parquet", b"\x07\x00\x01garbage", "is damaged or of an unknown format, not Parquet", AGAIN),
        ("u.parquet", PARQUET[:-9], "is cut off or damaged: it does not end as a Parquet file", AGAIN),
        ("u.parquet", b"PAR1" + bytes(40) + b"PARE", "is encrypted by Parquet's own encryption", "with age"),
        ("u.csv.zst", ROW, "is text, not Zstandard", "Remove .zst from its name"),
        ("u.csv.zst", GZIP, "is gzip, not Zstandard", ".csv.gz"),
        ("u.jsonl", PARQUET, "is Parquet, and its name does not say so", "ends in .parquet"),
        ("u.jsonl", ROW, "is CSV, not JSON Lines", "ends in .csv"),
        ("u.csv", OBJECT, "is JSON Lines, and its name does not say so", "ends in .jsonl"),
        ("u.csv", '{"Users": [{"Username": "ann"}]}', "is JSON, and", "jq -c"),
        ("u.csv", '{"message": "Forbidden"}', "is JSON, perhaps the error of a download", "download the file again"),
        ("u.csv", TAR, "is a tar archive", "tar -x"),
        ("u.csv", bytes(4096), "is nothing but NUL bytes", AGAIN),
        ("u.csv", "-- MySQL dump 10.13\nINSERT INTO users VALUES ('a','b');\n", "is SQL", "Export the table as CSV"),
        (
            "u.csv",
            "version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            "is a pointer of Git LFS",
            "git lfs pull",
        ),
        ("u.csv", "dn: uid=ann,dc=example\nuid: ann\n", "is LDIF", "Write it as CSV"),
        ("u.csv", "---\n- username: ann\n", "is YAML", "Write it as CSV"),
        ("u.csv", "<<<<<<< HEAD\n" + ROW, "is the two sides of a merge conflict", "Resolve"),
        ("u.csv", "{\\rtf1 username,password}", "is RTF, a text document", "Save it as CSV"),
        ("u.csv", "-----BEGIN PGP MESSAGE-----\n", "is encrypted with PGP", "Decrypt it"),
        ("u.csv", b"Rar!\x1a\x07\x00..", "is a RAR archive", "Unpack it"),
        ("u.csv", b"\x1f\x9d\x90...", "is compress (.Z)", "uncompress"),
        ("u.csv", bytes(8) + b"DUCK" + bytes(90), "is a database", "Export the table as CSV"),
        ("u.csv", b"ORC\x08\x03", "is ORC", "Write it as CSV"),
    ],
)
def test_file_is_named_by_its_real_format(
    tmp_path: Path, name: str, content: str | bytes, what: str, advice: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert f"{path} {what}" in caught.value.message
    assert advice in caught.value.advice
    assert "Quiet" not in str(caught.value)


@pytest.mark.parametrize(("content", "what"), [(PARQUET, "Parquet"), (TAR, "a tar archive"), (OBJECT, "JSON Lines")])
def test_compressed_file_is_named_by_its_format(tmp_path: Path, content: str | bytes, what: str) -> None:
    with pytest.raises(InputError, match=f"is {what}, packed, and its name does not say so") as caught:
        read(csv_file(tmp_path, content, "u.csv.gz"))
    assert caught.value.advice.startswith("Unpack it. ")


def test_file_that_is_packed_twice_is_unpacked_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is packed twice"):
        read(csv_file(tmp_path, GZIP, "u.csv.gz"))


def test_parquet_without_a_byte_is_empty(tmp_path: Path) -> None:
    with pytest.raises(EmptyInput, match="is empty"):
        read(csv_file(tmp_path, b"", "u.parquet"))


@pytest.mark.parametrize("name", ["u.json", "part-00000", "u.json.gz", "data_0_0_0.gz"])
def test_json_lines_are_read_under_any_name_that_says_no_other_format(tmp_path: Path, name: str) -> None:
    assert pairs(read(csv_file(tmp_path, OBJECT * 2, name))) == [("ann", "Quiet-1")] * 2


@pytest.mark.parametrize("more", ['"groups": ["a", "b"]', '"message": "welcome"', '"error": null'])
def test_fields_of_other_programs_do_not_keep_json_lines_from_being_read(tmp_path: Path, more: str) -> None:
    line = '{"username": "ann", "password": "Quiet-1", ' + more + "}\n"
    assert pairs(read(csv_file(tmp_path, line * 2, "users"))) == [("ann", "Quiet-1")] * 2


def test_header_may_begin_like_a_format(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "ORCID,username,password\n1,ann,Quiet-1\n")
    assert pairs(read(path)) == [("ann", "Quiet-1")]
    with pytest.raises(InputError, match="has no column 'password'"):
        read(csv_file(tmp_path, "ORCID,username\n1,ann\n"))


@pytest.mark.parametrize(
    "text", [b"", b"a", b"{", b"{}", b"{\n", b'{"a": [1]}', b"[" * 5000, b'{"a": ' * 5000, b"\xef\xbb\xbf"]
)
def test_any_beginning_has_an_answer(text: bytes) -> None:
    assert not is_json_lines(text)
    assert sniffed_ending(text) == ""
    assert binary_kind(text) is None
    assert text_kind(text) is None or text.lstrip()[:1] in b"{["
    assert first_object(text) in ({}, {"a": [1]})
