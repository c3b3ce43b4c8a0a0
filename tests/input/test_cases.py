"""Files that users of other programs have sent, each with the correct outcome.

Kinds that need more than a file are tested elsewhere: folders, markers and objects of S3 in test_cases_files.py, files
saved by Windows in test_cases_text.py, reports as an input in test_own_files.py, names similar to a user's in
tests/plan/test_similar_names.py, and a schedule that continues after its job is corrected in
tests/run/test_cases_schedule.py.
"""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bulkreset.errors import InputError
from bulkreset.input.input_set import InputSet
from bulkreset.input.suspect_password import HASH, suspicion
from bulkreset.job import InputConfig
from bulkreset.plan.similar_names import written_cause

NAMED = Path(__file__).parent / "cases" / "named"
ADA, BOB, CYD = ("ada@example.com", "bob@example.com", "cyd@example.com")


class Read(NamedTuple):
    """A name or an error text for each row, the suspicion about its password, and the remarks."""

    rows: list[str]
    suspicions: list[str]
    remarks: list[str]
    passwords: list[str]


def read(name: str, **spec: Any) -> Read:  # noqa: ANN401  (the keys of [input])
    found = InputSet.open(InputConfig.model_validate({"path": NAMED / name, **spec}))
    rows, passwords = [], []
    for batch in found.batches():
        names = batch.cells("username")
        rows += [batch.malformed.get(offset) or name for offset, name in enumerate(names)]
        passwords += batch.cells("password")
    return Read(rows, [suspicion(it) for it in passwords if it], list(found.remarks), passwords)


@pytest.mark.parametrize("name", ["delta_byte_array.parquet", "duckdb_v2.parquet", "one_column_delta.parquet"])
def test_parquet_of_any_encoding_is_read(name: str) -> None:
    assert read(name).rows == [ADA, BOB, CYD]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp850"])
def test_byte_order_mark_that_denies_the_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(InputError, match=r"begins as UTF-8 \(byte order mark\)") as caught:
        read("marked.csv", encoding=encoding)
    assert caught.value.advice == 'Set [input] encoding = "utf-8".'
    assert read("marked.csv").passwords == ["Größe9#mKq!", "Prix£9#mKq!"]


def test_passwords_that_an_office_program_has_altered_are_named() -> None:
    assert [why.partition(",")[0] for why in read("wrapped.csv").suspicions] == [
        "wrapped as a spreadsheet formula",
        "curly quotes",
        "wrapped in quotes",
        *["an invisible character at the beginning or the end"] * 2,
        "an HTML escape such as &amp;",
    ]


def test_hashes_are_named() -> None:
    assert read("hashes.csv", columns={"username": "email"}).suspicions == [HASH] * 3


def test_cleared_rows_are_not_rows() -> None:
    assert read("cleared.csv").rows == [ADA]


def test_upload_that_was_cut_is_remarked() -> None:
    assert read("cut.csv").remarks == ["cut.csv: the last line has no line break: is the file whole?"]


@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [
        ("sep.csv", {}, "is Excel's sep=;. Remove it"),
        ("sep.csv", {"delimiter": ";"}, "is Excel's sep=;. Remove it"),
        ("sepq.csv", {}, "is Excel's sep=,"),
        ("type.csv", {}, "is PowerShell's #TYPE line. Remove it, or export with -NoTypeInformation"),
        ("semicolon.csv", {}, "separates its columns with ';'. Set [input] delimiter = \";\""),
        ("user-name.csv", {}, "It has 'User Name'"),
        ("user_name.csv", {}, "It has 'user_name'"),
        ("zwsp.csv", {}, "It has 'username' with an invisible character"),
        ("e-mail.csv", {}, "It has 'E-Mail'"),
        ("denied.csv", {}, "is XML, perhaps the error of a download"),
        ("login.csv", {}, "is a web page"),
        ("users.json", {}, "is JSON"),
        ("u.csv.bz2", {}, "is bzip2"),
        ("u.csv.xz", {}, "is xz"),
        ("u.csv.zst", {}, "is damaged"),
        ("cognito.csv", {"columns": {"username": "cognito:username"}}, "has no column 'password'"),
        ("spark.csv", {}, 'If the file escapes by backslashes, set [input] escape = "\\\\"'),
    ],
)
def test_reason_of_a_refusal_is_the_true_one(name: str, spec: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        read(name, **spec)
    assert expected in str(caught.value)


def test_json_lines_are_read() -> None:
    assert read("u.jsonl").rows == [ADA]


def test_doubled_backslashes_are_remarked_and_read_with_the_key() -> None:
    (remark,) = read("mysql.csv").remarks
    assert "each backslash is doubled" in remark
    assert read("mysql.csv", escape="\\").passwords[0] == "back\\slash-A1!"
    assert read("spark.csv", escape="\\").passwords[0] == 'quo"te-A1!'


def test_near_misses_stay_unchanged_and_get_their_cause() -> None:
    rows = read("near.csv").rows
    assert rows[0] == "Ada@Example.com"
    assert [bool(written_cause(name)) for name in rows] == [False, False, False, True, True, True, True]
