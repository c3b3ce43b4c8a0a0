"""Joined, converted or truncated text files: read correctly, rejected line by line, or refused as a file."""

import codecs
from pathlib import Path

import pytest

from bulkreset.errors import InputError
from bulkreset.input.input_set import InputSet
from bulkreset.job import InputConfig
from tests.input.inputs import ReadRow, csv_file, pairs, read

HEADER = "username,password\n"
MARK = "\ufeff"


def test_all_marks_at_the_beginning_are_dropped(tmp_path: Path) -> None:
    for marks in (MARK, MARK * 2, MARK * 3):
        for header in ("username,password", '"username","password"'):
            assert pairs(read(csv_file(tmp_path, f"{marks}{header}\nann,One-1\n"))) == [("ann", "One-1")]


def test_mark_in_the_middle_is_named_with_its_line(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f'{HEADER}ann,One-1\n{MARK}ben,Two-2\n{MARK}"cat",Three-3\n"{MARK}dan",Four-4\n')
    message = "a byte order mark begins the line: was this file joined from several?"
    assert read(path) == [
        ReadRow(1, "ann", "One-1"),
        ReadRow(2, "", "", malformed=f"line 3: {message}"),
        ReadRow(3, "", "", malformed=f"line 4: {message}"),
        ReadRow(4, f"{MARK}dan", "Four-4"),
    ]


def test_mark_within_a_quoted_value_is_a_part_of_it(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f'username,password,note\nann,One-1,"a\n{MARK}b"\nben,{MARK}Two-2,\n')
    assert pairs(read(path)) == [("ann", "One-1"), ("ben", f"{MARK}Two-2")]


@pytest.mark.parametrize("mark", ["", MARK])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_header_again_is_named_with_its_line(tmp_path: Path, mark: str, end: str) -> None:
    content = f"username,password\nann,One-1\n\n{mark}username,password\nben,Two-2\n".replace("\n", end)
    rows = read(csv_file(tmp_path, content))
    assert rows[1].malformed == "line 4: the header again: was this file joined from several?"
    assert [(row.username, row.password) for row in rows] == [("ann", "One-1"), ("", ""), ("ben", "Two-2")]


def test_header_again_in_another_order_refuses_the_file(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"{HEADER}ann,One-1\n{MARK}password,username\nHidden-2,ben\n")
    with pytest.raises(InputError, match="repeats its header on line 3, with the columns in another order"):
        read(path)


def test_user_who_is_called_as_the_column_is_a_row(tmp_path: Path) -> None:
    assert pairs(read(csv_file(tmp_path, f"{HEADER}username,One-1\n"))) == [("username", "One-1")]


@pytest.mark.parametrize(
    "content",
    [
        "username,password\r\nann,One-1\nben,Two-2\r\ncat,Three-3\n",
        "username,password\nann,One-1\r\nben,Two-2\n\r\ncat,Three-3\r\n",
        "username,password\r\r\nann,One-1\r\r\nben,Two-2\r\r\ncat,Three-3\r\r\n",
        "username,password\rann,One-1\rben,Two-2\rcat,Three-3",
    ],
)
def test_line_endings_that_are_read_rightly(tmp_path: Path, content: str) -> None:
    assert pairs(read(csv_file(tmp_path, content))) == [("ann", "One-1"), ("ben", "Two-2"), ("cat", "Three-3")]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("username,password\nann,One-1\rben,Two-2\ncat,Three-3\n", 2),
        ("username,password\r\nann,One-1\rben,Two-2\rcat,Three-3\r\n", 2),
        ("username,password\rann,One-1\rben,Two-2\r\ncat,Three-3\r\n", 1),
        ("username,password\nann,One-1\n" + "ben,Two-2\r" * 1000, 3),
        ("username,password\r" + "ann,One-1\r" * 10_000 + "ben,Two-2\ncat,Three-3\n", 10_002),
    ],
)
def test_carriage_returns_that_end_some_lines_refuse_the_file(tmp_path: Path, content: str, line: int) -> None:
    with pytest.raises(InputError, match=f"mixes line endings: line {line} has") as caught:
        read(csv_file(tmp_path, content))
    assert "One-1" not in str(caught.value)


@pytest.mark.parametrize(("end", "within"), [("\r\n", "\n"), ("\n", "\r\n")])
def test_value_that_a_line_break_cuts_refuses_the_file(tmp_path: Path, end: str, within: str) -> None:
    content = f"username,note,password{end}ann,x,One-1{end}ben,y,Hid{within}den-2{end}cat,z,Three-3{end}"
    with pytest.raises(InputError, match="line 3 ends unlike the header, and line 4 is not a whole row"):
        read(csv_file(tmp_path, content))


def test_malformed_row_among_mixed_line_endings_stays_a_row(tmp_path: Path) -> None:
    rows = read(csv_file(tmp_path, "username,password\r\nann,One-1\nben\ncat,Three-3\r\n"))
    assert [bool(row.malformed) for row in rows] == [False, True, False]


def test_old_mac_file_with_line_breaks_in_quotes_is_read(tmp_path: Path) -> None:
    content = 'username,password,note\rann,One-1,"two\nlines, ""quoted"""\rben,Two-2,"a\rb"\rcat,Three-3,\r'
    assert pairs(read(csv_file(tmp_path, content))) == [("ann", "One-1"), ("ben", "Two-2"), ("cat", "Three-3")]


def test_old_mac_file_with_escaped_quotes_is_read(tmp_path: Path) -> None:
    content = 'username,password,note\rann,One-1,"\\"\n"\rben,Two-2,\r'
    assert pairs(read(csv_file(tmp_path, content), escape="\\")) == [("ann", "One-1"), ("ben", "Two-2")]


WIDE = [f"utf-{width}-{order}" for width in (16, 32) for order in ("le", "be")]


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("mark", ["", MARK])
def test_wide_text_of_either_byte_order_is_read_if_the_job_says_so(tmp_path: Path, encoding: str, mark: str) -> None:
    path = csv_file(tmp_path, f"{mark}{HEADER}zoë,Größe🚀1\n".encode(encoding))
    assert pairs(read(path, encoding=encoding)) == [("zoë", "Größe🚀1")]
    if mark:
        assert pairs(read(path, encoding=encoding[:6])) == [("zoë", "Größe🚀1")]


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("mark", ["", MARK])
@pytest.mark.parametrize("other", ["utf-8", "latin-1", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_text_is_named_if_the_job_has_another_encoding(
    tmp_path: Path, encoding: str, mark: str, other: str
) -> None:
    if other == encoding:
        return
    path = csv_file(tmp_path, f"{mark}{HEADER}ann,Hidden-1\n".encode(encoding))
    with pytest.raises(InputError) as caught:
        read(path, encoding=other)
    message = str(caught.value)
    assert encoding[:6].upper() in message
    assert f'encoding = "{encoding[:6] if mark else encoding}' in message


@pytest.mark.parametrize(
    ("content", "remarked"),
    [
        (b"username,password\nann,One-1\n", False),
        (b"username,password\r\nann,One-1\r\n", False),
        (b"username,password\rann,One-1\r", False),
        (b"username,password\nann,One-1", True),
        (b"username,password\r\nann,One-1\r\nben,T", True),
        (b"username,password\nann,One-1\n ", True),
        (b"username,password", True),
        (codecs.BOM_UTF8 + b"username,password\n", False),
    ],
)
@pytest.mark.parametrize("name", ["users.csv", "users.csv.gz"])
def test_last_line_without_a_line_break_is_remarked(
    tmp_path: Path, content: bytes, name: str, *, remarked: bool
) -> None:
    rows = InputSet.open(InputConfig(path=csv_file(tmp_path, content, name)))
    list(rows.batches())
    message = (f"{name}: the last line has no line break: is the file whole?",) if remarked else ()
    assert rows.describe()["remarks"] == message


def test_json_lines_need_no_remark(tmp_path: Path) -> None:
    rows = InputSet.open(InputConfig(path=csv_file(tmp_path, '{"username":"a","password":"b"}', "users.jsonl")))
    list(rows.batches())
    assert rows.describe()["remarks"] == ()
