"""JSON Lines: exact values, malformed lines as rows, and the real kind of other JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from bulkreset.errors import InputError
from bulkreset.input.reader import open_rows
from bulkreset.job import ColumnsConfig, InputConfig
from tests.input.inputs import ReadRow, csv_file, pairs, read
from tests.input.test_csv_reader import ODD

FIRST = '{"username": "first", "password": "One-1"}'


def jsonl_file(folder: Path, *lines: str, name: str = "users.jsonl") -> Path:
    return csv_file(folder, "".join(f"{line}\n" for line in lines), name)


@pytest.mark.parametrize("name", ["users.jsonl", "users.ndjson", "USERS.JSONL", "users.jsonl.gz"])
def test_objects_are_rows(tmp_path: Path, name: str) -> None:
    path = jsonl_file(
        tmp_path,
        '{"username":"ann","password":"Größe-1","permanent":true,"user_pool_id":"eu-west-1_A","other":{"a":[1,{}]}}',
        "",
        '{"permanent": false, "password": "Two-2", "username": "ben", "user_pool_id": null}',
        '  { "username" : "\\u0063at" , " password " : "a\\tb", "permanent": "yes" }  \r',
        name=name,
    )
    assert read(path) == [
        ReadRow(1, "ann", "Größe-1", "true", "eu-west-1_A"),
        ReadRow(2, "ben", "Two-2", "false"),
        ReadRow(3, "cat", "a\tb", "yes"),
    ]


@pytest.mark.parametrize("ascii_only", [True, False])
def test_unusual_values_are_read_back(tmp_path: Path, *, ascii_only: bool) -> None:
    odd = [*ODD, "a\nb", '"', "\ufefflead", "\u2028"]
    rows = [{"username": value, "password": f"{value}-1"} for value in odd]
    path = jsonl_file(tmp_path, *(json.dumps(row, ensure_ascii=ascii_only) for row in rows))
    assert pairs(read(path)) == [(value[:1024], f"{value}-1"[:1024]) for value in odd]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"username": "a", "password": 7}', "'password' holds a number, not text"),
        ('{"username": 0.5, "password": "x"}', "'username' holds a number, not text"),
        ('{"username": "a", "password": true}', "'password' holds a boolean, not text"),
        ('{"username": "a", "password": ["Hidden-1"]}', "'password' holds an array, not text"),
        ('{"username": "a", "password": {"S": "Hidden-1"}}', "'password' holds an object, not text"),
        ('{"username": "a", "password": "x", "permanent": 1}', "'permanent' holds a number, not text"),
        ('{"username": "a", "password": "x", "user_pool_id": false}', "'user_pool_id' holds a boolean, not text"),
        ('{"username": "a", "password": "x", "password": "Hidden-1"}', "'password' is there 2 times"),
        ('{"username": "a", "password": "x", "password ": "Hidden-1"}', "'password' is there 2 times"),
        ('{"username": "a", "Password": "Hidden-1"}', "no 'password', but a name like it"),
        ('{"username": "a", "password": "\\ud83d"}', "one half of a surrogate pair"),
        ('{"username": "a", "password": "Hidden-1"', "not JSON (at character"),
        ('{"username": "a", "password": "Hidden-1"} {}', "not JSON (at character"),
        ("{'username': 'a', 'password': 'Hidden-1'}", "not JSON (at character 2)"),
        ('{"username": "a", "password": "Hidden\t1"}', "not JSON (at character"),
        ('{"username": "a", "password": "x", "n": NaN}', "not JSON (NaN"),
        ('{"username": "a", "password": "x", "n": ' + "[" * 100_000, "nested too deeply"),
        ('"Hidden-1"', "not an object"),
        ("7" * 5000, "not an object"),
        ("[]", "not an object"),
    ],
)
def test_malformed_line_is_one_row_without_values(tmp_path: Path, line: str, expected: str) -> None:
    rows = read(jsonl_file(tmp_path, FIRST, line, FIRST))
    assert rows[1][:5] == (2, "", "", "", "")
    assert rows[1].malformed.startswith("line 2: ")
    assert expected in rows[1].malformed
    assert "Hidden" not in rows[1].malformed
    assert [row.password for row in rows] == ["One-1", "", "One-1"]


def test_bytes_that_are_not_utf8_are_one_row(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f'{FIRST}\n{{"username":"a","password":"Hid\xffden"}}\n'.encode("latin-1"), "u.jsonl")
    assert read(path, encoding="latin-1")[1].malformed == "line 2: bytes that are not utf-8"


def test_byte_order_marks_change_nothing(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"\ufeff\ufeff{FIRST}\n\ufeff{FIRST}\n", "u.jsonl")
    assert pairs(read(path)) == [("first", "One-1")] * 2


def test_field_may_be_absent_from_the_first_lines_but_not_from_all(tmp_path: Path) -> None:
    path = jsonl_file(tmp_path, '{"username": "ann"}', FIRST)
    assert pairs(read(path)) == [("ann", ""), ("first", "One-1")]
    with pytest.raises(InputError, match=r"has no column 'password' \(1 column in its first lines\)"):
        read(jsonl_file(tmp_path, '{"username": "ann"}'))
    with pytest.raises(InputError, match="It has 'Username': column names are case-sensitive"):
        read(jsonl_file(tmp_path, '{"Username": "ann", "password": "Hidden-1"}'))


def test_optional_field_that_is_spelt_otherwise_refuses_the_file_on_any_line(tmp_path: Path) -> None:
    lines = [FIRST] * 300 + ['{"username": "ann", "password": "Hidden-1", "Permanent": true}']
    with pytest.raises(InputError, match=r"line 301, has no column 'permanent', but it has 'Permanent'"):
        read(jsonl_file(tmp_path, *lines))


def test_passwords_are_refused_on_any_line_if_the_job_generates_them(tmp_path: Path) -> None:
    path = jsonl_file(tmp_path, *['{"username": "ann"}'] * 300, '{"username": "ann", "Password": "Hidden-1"}')
    with pytest.raises(InputError, match="line 301, has a column of passwords") as caught:
        list(open_rows(InputConfig(path=path), with_passwords=False).batches())
    assert "Hidden" not in str(caught.value)


def test_columns_are_renamed_by_the_job(tmp_path: Path) -> None:
    path = jsonl_file(tmp_path, '{"mail": "ann", "pw": "One-1", "username": 7}')
    assert pairs(read(path, columns=ColumnsConfig(username="mail", password="pw"))) == [("ann", "One-1")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (json.dumps([{"username": "a", "password": "Hidden-1"}]), "is a JSON array"),
        ('[\n{"username": "a", "password": "Hidden-1"},\n{"username": "b", "password": "x"}\n]\n', "is a JSON array"),
        (json.dumps({"username": "a", "password": "Hidden-1"}, indent=2), "no whole JSON object in its first lines"),
        ("username,password\na,Hidden-1\n", "is CSV, not JSON Lines"),
        ("<html>Sign in", "is a web page"),
        ("\n\n", "has only blank lines"),
        ("", "is empty"),
        ("PK\x03\x04", "is a spreadsheet"),
        (FIRST.encode("utf-16").decode("latin-1"), "looks like UTF-16"),
    ],
)
def test_file_that_is_not_json_lines_is_named_by_its_format(tmp_path: Path, content: str, expected: str) -> None:
    path = csv_file(tmp_path, content.encode("latin-1"), "users.jsonl")
    with pytest.raises(InputError) as caught:
        read(path)
    assert expected in caught.value.message
    assert caught.value.advice
    assert "Hidden" not in str(caught.value)


def test_jsonl_named_csv_gets_the_advice_to_rename_it_or_set_the_format(tmp_path: Path) -> None:
    path = jsonl_file(tmp_path, FIRST, name="users.csv")
    with pytest.raises(InputError, match="is JSON Lines, and its name does not say so"):
        read(path)
    assert pairs(read(path, format="jsonl")) == [("first", "One-1")]


def test_endless_line_is_refused(tmp_path: Path) -> None:
    path = csv_file(tmp_path, FIRST + "\n" + '{"username": "' + "x" * (1 << 20), "users.jsonl")
    with pytest.raises(InputError, match=r"Line 2 .* is longer than 1,048,576 characters"):
        read(path)


def test_long_values_are_cut_and_shapes_are_bounded(tmp_path: Path) -> None:
    def lines() -> Any:  # noqa: ANN401
        for number in range(1000):
            yield json.dumps({"username": "a" * 5000, "password": "p", f"field{number}": 1})

    rows = read(jsonl_file(tmp_path, *lines()))
    assert {len(row.username) for row in rows} == {1024}
