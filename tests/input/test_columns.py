"""The columns of an input without passwords: a username is enough, and a column of passwords is refused."""

from pathlib import Path
from typing import Any

import pytest

from bulkreset.errors import InputError
from bulkreset.input.batch import FIELDS, find_columns
from bulkreset.input.reader import open_rows
from bulkreset.job import ColumnsConfig, InputConfig
from tests.input.inputs import csv_file, parquet_file

NONE = ColumnsConfig(password=None)
HERE = Path("users.csv")


def usernames(path: Path, **spec: Any) -> list[str]:  # noqa: ANN401  (the keys of [input])
    """Return the usernames for a job with generated passwords; every other field must be empty."""
    found: list[str] = []
    for chunk in open_rows(InputConfig(path=path, **spec), with_passwords=False).batches():
        assert list(chunk.frame.columns) == list(FIELDS)
        assert set(chunk.frame["password"]) <= {""}
        assert not chunk.malformed
        found += chunk.frame["username"].tolist()
    return found


def test_username_is_enough() -> None:
    assert find_columns(["username"], NONE, HERE) == {"username": 0}
    assert find_columns(["x", " username ", "permanent"], NONE, HERE) == {"username": 1, "permanent": 2}
    with pytest.raises(InputError, match="has no column 'password'"):
        find_columns(["username"], ColumnsConfig(), HERE)


@pytest.mark.parametrize("name", ["password", "Password", " PASSWORD "])
def test_column_of_passwords_is_refused_in_any_case(name: str) -> None:
    with pytest.raises(InputError, match="has a column of passwords, but the job generates passwords"):
        find_columns(["username", name], NONE, HERE)


@pytest.mark.parametrize(
    ("found", "field"),
    [
        *((name, "permanent") for name in ("Permanent", " PERMANENT ", "perma-nent", "per manent")),
        *(
            (name, "user_pool_id")
            for name in ("UserPoolId", "userPoolID", "user pool id", "USER-POOL_ID", "userpoolid")
        ),
    ],
)
def test_optional_column_that_is_spelt_otherwise_is_not_passed_over(tmp_path: Path, found: str, field: str) -> None:
    cells = {"username": ["ann"], "password": ["Quiet-1"], found: ["true"]}
    written = csv_file(tmp_path, f"username,password,{found}\nann,Quiet-1,true\n"), parquet_file(tmp_path, cells)
    for path in written:
        with pytest.raises(InputError) as caught:
            list(open_rows(InputConfig(path=path)).batches())
        assert repr(found.strip()) in caught.value.message
        assert f"Rename it to {field!r}, set [input] columns.{field} to" in caught.value.advice
        named = ColumnsConfig(**{field: found.strip()})
        (chunk,) = open_rows(InputConfig(path=path, columns=named)).batches()
        assert chunk.frame[field].tolist() == ["true"]


def test_named_or_only_similar_column_is_not_a_misspelling() -> None:
    header = ["Permanent", "password", "permanently", "user_pool", "permanent2 x"]
    assert find_columns(header, ColumnsConfig(username="Permanent"), HERE) == {"username": 0, "password": 1}
    both = ["username", "password", "Permanent", "permanent"]
    assert find_columns(both, ColumnsConfig(), HERE) == {"username": 0, "password": 1, "permanent": 3}


def test_input_without_a_header_is_refused_without_showing_it() -> None:
    with pytest.raises(InputError, match=r"has no column 'username' \(1 column in") as caught:
        find_columns(["ann@example.com"], NONE, HERE)
    assert "ann@" not in str(caught.value)


@pytest.mark.parametrize("name", ["users.csv", "users.csv.gz", "users.csv.zst"])
def test_csv_with_only_usernames_is_read(tmp_path: Path, name: str) -> None:
    text = 'username\nann\n\n"o\'hara, pat"\n王小明\n'
    assert usernames(csv_file(tmp_path, text, name)) == ["ann", "o'hara, pat", "王小明"]


def test_parquet_with_only_usernames_is_read(tmp_path: Path) -> None:
    assert usernames(parquet_file(tmp_path, {"username": ["ann", None, "007"]})) == ["ann", "", "007"]


def test_input_with_passwords_is_refused_in_every_format(tmp_path: Path) -> None:
    for path in (
        csv_file(tmp_path, "username,password\nann,Quiet-1\n"),
        parquet_file(tmp_path, {"username": ["ann"], "password": ["Quiet-1"]}),
    ):
        with pytest.raises(InputError, match="column of passwords") as caught:
            usernames(path)
        assert "Quiet" not in str(caught.value)


def test_renamed_columns_are_found(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "mail;note\nann;x\n")
    assert usernames(path, delimiter=";", columns=ColumnsConfig(username="mail")) == ["ann"]
