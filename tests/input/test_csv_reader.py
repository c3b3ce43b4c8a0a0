"""CSV: values are read as written, a malformed line is a row that says so, and nothing is lost silently."""

import codecs
import gzip
import itertools
import tracemalloc
from pathlib import Path

import pytest

from bulkreset.errors import InputError
from bulkreset.input import text_lines
from bulkreset.job import ColumnsConfig, InputConfig
from tests.input.inputs import ReadRow, csv_file, open_csv, pairs, read

ODD = [
    *(
        "007",
        "00",
        "NA",
        "N/A",
        "null",
        "NaN",
        "None",
        "nil",
        "1e5",
        "1.0",
        "1_000",
        "TRUE",
        "false",
        "0x1F",
        "inf",
        "-1",
    ),
    *(
        "2024-01-31",
        "12345678901234567890",
        "#REF!",
        "#comment",
        "=1+1",
        "+44",
        "@x",
        "\\N",
        "a\\",
        "%s",
        "'",
        "''",
        "`",
    ),
    *(
        " lead",
        "trail ",
        " ",
        "\ttab",
        "two  spaces",
        "no\u00a0break",
        "zero\u200bwidth",
        "mark\ufeffinside",
        "\x00",
        "a\x00b",
    ),
    *(
        "rocket🚀",
        "👩\u200d👧",
        "é",
        "e\u0301",
        "王小明",
        "مريم",
        "שירה",
        "प्रिया",
        "Наталья",
        "\U0010ffff",
        "\x7f",
        "\x85",
        "\u2028",
    ),
    *("a;b", "a|b", "a:b", "it's", "x" * 1024),
]


@pytest.mark.parametrize("value", ODD)
def test_value_arrives_as_written(tmp_path: Path, value: str) -> None:
    path = csv_file(tmp_path, f"username,password\n{value},{value}\nnext,row\n")
    assert pairs(read(path)) == [(value, value), ("next", "row")]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"a,b"', "a,b"),
        ('"say ""hi"""', 'say "hi"'),
        ('""""', '"'),
        ('""', ""),
        ('" a "', " a "),
        ('in"side', 'in"side'),
        ('end"', 'end"'),
        ('"line\nbreak"', "line\nbreak"),
        ('"line\r\nbreak"', "line\r\nbreak"),
        ('"line\rbreak"', "line\rbreak"),
        ('"blank\n\nline"', "blank\n\nline"),
        ('"NA"', "NA"),
    ],
)
def test_quoted_value_arrives_without_its_quotes(tmp_path: Path, written: str, value: str) -> None:
    path = csv_file(tmp_path, f"username,password\nann,{written}\nbob,Next-1\n")
    assert pairs(read(path)) == [("ann", value), ("bob", "Next-1")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_every_line_ending_ends_a_line(tmp_path: Path, end: str, *, last: bool) -> None:
    text = end.join(["username,password", "ann,One-1", "bob,Two-2"]) + (end if last else "")
    assert pairs(read(csv_file(tmp_path, text))) == [("ann", "One-1"), ("bob", "Two-2")]


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf_8", "U8", "utf-8-sig"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("header", [b"username,password", b'"username","password"'])
def test_byte_order_mark_is_not_a_part_of_the_header(tmp_path: Path, encoding: str, mark: bytes, header: bytes) -> None:
    path = csv_file(tmp_path, mark + header + b"\nann,\xef\xbb\xbfOne-1\n")
    assert pairs(read(path, encoding=encoding)) == [("ann", "\ufeffOne-1")]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "cp850"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    path = csv_file(tmp_path, "username,password\nrenée,Größe-1\n".encode(encoding))
    assert pairs(read(path, encoding=encoding)) == [("renée", "Größe-1")]


SIMPLE = "username,password\nann,One-1\n"


@pytest.mark.parametrize(
    ("content", "what", "advice"),
    [
        (b"", "is empty.", "export"),
        (SIMPLE.encode("utf-16"), "looks like UTF-16.", '"utf-16"'),
        (SIMPLE.encode("utf-16-le"), "looks like UTF-16.", '"utf-16-le"'),
        (SIMPLE.encode("utf-16-be"), "looks like UTF-16.", '"utf-16-be"'),
        (SIMPLE.encode("utf-32"), "looks like UTF-32.", '"utf-32"'),
        (gzip.compress(SIMPLE.encode(), mtime=0), "is gzip", ".csv.gz"),
        (b"PK\x03\x04\x14\0\x06\0\n\n", "is a spreadsheet or a ZIP archive", "Save it as CSV"),
        (b"PAR1\x15\x04\xff\n", "is Parquet", ".parquet"),
    ],
)
def test_file_that_is_not_csv_is_named_by_its_first_bytes(
    tmp_path: Path, content: bytes, what: str, advice: str
) -> None:
    written = csv_file(tmp_path, content), csv_file(tmp_path, content, "users.csv.gz")
    for path, encoding in itertools.product(written, ("utf-8", "latin-1")):
        with pytest.raises(InputError) as caught:
            read(path, encoding=encoding)
        assert f"{path} {what}" in caught.value.message
        assert advice in caught.value.advice


@pytest.mark.parametrize("mark", ["PK\x03\x04", "PAR1", "ÿþ"])
def test_first_bytes_say_nothing_of_a_file_that_is_csv(tmp_path: Path, mark: str) -> None:
    path = csv_file(tmp_path, f"{mark},username,password\nx,ann,One-1\n".encode("latin-1"))
    assert pairs(read(path, encoding="latin-1")) == [("ann", "One-1")]


def test_wrong_encoding_never_passes_for_the_right_one(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "username,password\nann,Plain-1\nrenée,One-1\n".encode("latin-1"))
    assert read(path) == [
        ReadRow(1, "ann", "Plain-1"),
        ReadRow(2, "", "", malformed="line 3: bytes that are not utf-8"),
    ]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ":", " ", "é"])
def test_other_delimiters(tmp_path: Path, delimiter: str) -> None:
    path = csv_file(tmp_path, f'username{delimiter}password\nann,b{delimiter}"One{delimiter}1"\n')
    assert pairs(read(path, delimiter=delimiter)) == [("ann,b", f"One{delimiter}1")]


@pytest.mark.parametrize("name", ["users.csv.gz", "USERS.CSV.GZ", "users.gz"])
def test_gzipped_file_is_read_by_its_name(tmp_path: Path, name: str) -> None:
    path = csv_file(tmp_path, "username,password\nann,Größe-1\n", name)
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert pairs(read(path)) == [("ann", "Größe-1")]


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "users.csv.gz"
    path.write_bytes(gzip.compress(b"username,password\nann,One-1\nbob,") + gzip.compress(b"Two-2\n"))
    assert pairs(read(path)) == [("ann", "One-1"), ("bob", "Two-2")]


def test_blank_lines_are_not_rows(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "\n\nusername,password\n\nann,One-1\n\r\n\n\nbob,Two-2\n\n")
    assert pairs(read(path)) == [("ann", "One-1"), ("bob", "Two-2")]


@pytest.mark.parametrize("line", [" ", "\t"])
def test_line_that_only_looks_blank_is_a_row(tmp_path: Path, line: str) -> None:
    rows = read(csv_file(tmp_path, f"username,password\n{line}\nann,One-1\n"))
    assert rows[0].malformed == "line 2: 1 fields where the header has 2"
    assert rows[1] == ReadRow(2, "ann", "One-1")


def test_columns_are_found_by_name_and_others_ignored(tmp_path: Path) -> None:
    text = 'note,user_pool_id, password ,permanent,username,note\n"a,b",eu-west-1_A,One-1,false,ann,"x\ny"\n'
    assert read(csv_file(tmp_path, text)) == [ReadRow(1, "ann", "One-1", "false", "eu-west-1_A")]


def test_columns_are_renamed_by_the_job(tmp_path: Path) -> None:
    columns = ColumnsConfig(username="E-Mail", password="Kennwort", permanent="fest", user_pool_id="Pool")
    text = "username,Kennwort,fest,Pool,E-Mail\nwrong,One-1,true,eu-west-1_A,ann\n"
    assert read(csv_file(tmp_path, text), columns=columns) == [ReadRow(1, "ann", "One-1", "true", "eu-west-1_A")]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("user,password", ["no column 'username'", "columns.username"]),
        ("username,Password", ["no column 'password'", "It has 'Password': column names are case-sensitive"]),
        ("e-mail,password", ["no column 'username'", "It has 'e-mail'", 'columns.username = "e-mail"']),
        ("username,Kennwort", ["no column 'password'", "It has 'Kennwort'", 'columns.password = "Kennwort"']),
        ("username,pass\0wd", [r"It has 'pass\x00wd'. If that is it: set [input] columns.password to the name in"]),
        ("username;password", ["separates its columns with ';'", "delimiter"]),
        ("username,password,username", ["'username' 2 times"]),
        ("username,password,password,password ", ["'password' 3 times"]),
        ("username,password,permanent,permanent", ["'permanent' 2 times"]),
        ("username,password,user_pool_id,user_pool_id", ["'user_pool_id' 2 times"]),
    ],
)
def test_unusable_header_is_named(tmp_path: Path, header: str, words: list[str]) -> None:
    path = csv_file(tmp_path, f"{header}\nann,Hidden-1\n")
    with pytest.raises(InputError) as caught:
        read(path)
    assert all(word in str(caught.value) for word in [*words, str(path)])
    assert "Hidden-1" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\n\n", b"\xef\xbb\xbf"])
def test_empty_file_has_no_columns(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="has only blank lines"):
        read(csv_file(tmp_path, content))


def test_file_without_a_header_does_not_show_its_first_row(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'username'") as caught:
        read(csv_file(tmp_path, "ann,Hidden-1\nbob,Hidden-2\n"))
    assert not [word for word in ("ann", "Hidden") if word in str(caught.value).replace(str(tmp_path), "")]


@pytest.mark.parametrize("header", ['username,"password', 'user"name,"x"y', "username,password,n\xff"])
def test_malformed_header_is_not_a_row(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError, match=r"header .* malformed|quote on line 1"):
        read(csv_file(tmp_path, header.encode("latin-1")))


def test_file_with_only_a_header_has_no_rows(tmp_path: Path) -> None:
    assert read(csv_file(tmp_path, "username,password\n")) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"short", "1 fields where the header has 2"),
        (b"ann,Com,ma-1", "3 fields where the header has 2"),
        (b"ann,One-1,", "3 fields where the header has 2"),
        (b"jos\xe9,One-1", "line 3: bytes that are not utf-8"),
        (b"ann,One\xff\xfe", "line 3: bytes that are not utf-8"),
        (b"ann,cut-short\xe2\x82", "line 3: bytes that are not utf-8"),
        (b"ann,surrogate\xed\xa0\x80", "line 3: bytes that are not utf-8"),
        (b'"ann"x,One-1', "line 3: broken quoting"),
        (b'ann,"One"-1', "line 3: broken quoting"),
    ],
)
def test_malformed_line_is_one_row_without_values(tmp_path: Path, line: bytes, words: str) -> None:
    path = csv_file(tmp_path, b"username,password\nfirst,One-1\n" + line + b"\nlast,Two-2\n")
    first, broken, last = read(path)
    assert (first, last) == (ReadRow(1, "first", "One-1"), ReadRow(3, "last", "Two-2"))
    assert broken[:5] == (2, "", "", "", "")
    assert words in broken.malformed
    assert "One" not in broken.malformed


def test_line_with_two_faults_does_not_take_the_next_one(tmp_path: Path) -> None:
    path = csv_file(tmp_path, b'username,password\n"a"b\xff,x\nbob,Good-1\n')
    broken, next_one = read(path)
    assert broken.malformed
    assert next_one == ReadRow(2, "bob", "Good-1")


@pytest.mark.parametrize("line", ["ann", "ann,One-1,more"])
def test_line_with_fewer_or_more_fields_is_named(tmp_path: Path, line: str) -> None:
    (row,) = read(csv_file(tmp_path, f"username,password\n{line}\n"))
    assert row.malformed.startswith("line 2: ")


def test_value_that_is_too_long_is_called_so(tmp_path: Path) -> None:
    rows = read(csv_file(tmp_path, "username,password,note\nann,One-1," + "x" * 140_000 + "\nbob,Two-2,\n"))
    assert rows[0].malformed == "line 2: a value of more than 131,072 characters"
    assert rows[1] == ReadRow(2, "bob", "Two-2")


@pytest.mark.parametrize("cut", ["Long\rPass-1", "\rPass-1", "Long\r"])
def test_carriage_return_in_a_value_never_shortens_it(tmp_path: Path, cut: str) -> None:
    path = csv_file(tmp_path, f"username,password,note\nann,{cut},x\nbob,Two-2,y\n")
    broken, next_one = read(path)
    assert broken == ReadRow(1, "", "", malformed="line 2: a carriage return inside a value that is not quoted")
    assert next_one == ReadRow(2, "bob", "Two-2")


def test_line_number_counts_lines_and_not_rows(tmp_path: Path) -> None:
    path = csv_file(tmp_path, b'username,password,note\n\nann,One-1,"two\nlines"\nbob,Tw\xff,x\n')
    assert [row.malformed for row in read(path)] == ["", "line 5: bytes that are not utf-8"]


def test_unclosed_quote_on_the_last_line_is_a_malformed_row(tmp_path: Path) -> None:
    rows = read(csv_file(tmp_path, 'username,password\nann,One-1\nbob,"Two-2'))
    assert rows[0] == ReadRow(1, "ann", "One-1")
    assert "line 3: broken quoting" in rows[1].malformed


@pytest.mark.parametrize(
    "tail",
    [
        'bob,"Swallow-2\ncat,Three-3\ndan,Four-4\n',
        'bob,"Swallow-2\ncat,"Three-3"\n',
        'bob,"Swallow-2\n' + "cat,Three-3\n" * 20_000,
    ],
)
def test_quote_that_includes_lines_is_an_error_with_its_first_line(tmp_path: Path, tail: str) -> None:
    path = csv_file(tmp_path, "username,password\nann,One-1\n" + tail)
    with pytest.raises(InputError, match="unclosed quote on line 3") as caught:
        read(path)
    assert not [word for word in ("Swallow", "Three", "bob", "cat") if word in str(caught.value)]


def test_rest_of_a_broken_record_of_several_lines_is_not_a_row(tmp_path: Path) -> None:
    path = csv_file(tmp_path, b'username,password,note\n"ann"x,Pw-1,"note starts\nbob,Evil-1,rest"\n')
    with pytest.raises(InputError, match="unclosed quote on line 2") as caught:
        read(path)
    assert "Evil" not in str(caught.value)


def test_endless_line_is_refused_before_it_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LONGEST_LINE", 1000)
    path = csv_file(tmp_path, "username,password\nann,One-1\nbob," + "x" * 1024)
    with pytest.raises(InputError, match=r"Line 3 .* longer than 1,000 characters"):
        read(path)
    fits = csv_file(tmp_path, "username,password\nbob," + "x" * 990 + "\n")
    assert len(read(fits)[0].password) == 990


def test_binary_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read(csv_file(tmp_path, bytes(range(256)) * 20))


def test_invalid_gzip_is_refused_without_showing_a_byte(tmp_path: Path) -> None:
    path = tmp_path / "users.csv.gz"
    path.write_bytes(b"QZann,Hidden-1\n")
    with pytest.raises(InputError, match="not gzip") as caught:
        read(path)
    assert "QZ" not in str(caught.value).replace(str(tmp_path), "")


def test_gzip_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(b"username,password\nann,One-1\nbob,Two-2\n", mtime=0)
    path = tmp_path / "users.csv.gz"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read(path)


def test_gzip_with_one_damaged_byte_never_passes_for_whole(tmp_path: Path) -> None:
    whole = gzip.compress(b"username,password\nann,One-1\nbob,Two-2\n", mtime=0)
    path = tmp_path / "users.csv.gz"
    for place in range(10, len(whole)):  # the header before it has a time stamp and flags
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with pytest.raises(InputError):
            read(path)


def test_text_with_a_gzip_name_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "users.csv.gz"
    path.write_text("username,password\nann,One-1\n")
    with pytest.raises(InputError, match=r"is text, not gzip\. Remove \.gz from its name"):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_file_that_cannot_decode_any_further_is_an_error(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(InputError, match=f"is not valid {encoding} near line"):
        read(csv_file(tmp_path, "username,password\nann,One-1\n".encode(encoding)[:-1]), encoding=encoding)


def test_chunk_does_not_show_its_rows(tmp_path: Path) -> None:
    rows = open_csv(InputConfig(path=csv_file(tmp_path, "username,password\nann,Hidden-1\n")))
    assert [repr(chunk) for chunk in rows.batches()] == ["RowBatch(rows 1 to 1)"]


def test_rows_can_be_read_again_from_the_start(tmp_path: Path) -> None:
    rows = open_csv(InputConfig(path=csv_file(tmp_path, "username,password\nann,One-1\n")))
    assert [[chunk.first for chunk in rows.batches()] for _ in range(2)] == [[1], [1]]


def test_many_columns_and_long_values_are_not_kept(tmp_path: Path) -> None:
    header = ",".join(["note" + str(n) for n in range(10_000)] + ["password", "username"])
    line = ",".join(["x"] * 10_000 + ["y" * 100_000, "ann"])
    path = csv_file(tmp_path, "\n".join([header, *[line] * 40, ""]))
    tracemalloc.start()
    rows = read(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(row.username, len(row.password)) for row in rows] == [("ann", 1024)] * 40
    assert most < 8 << 20


@pytest.mark.parametrize(
    ("mark", "encoding", "expected"),
    [
        (codecs.BOM_UTF8, "latin-1", "UTF-8"),
        (codecs.BOM_UTF8, "cp1252", "UTF-8"),
        (codecs.BOM_UTF8, "utf-16", "UTF-8"),
        (codecs.BOM_UTF16_LE, "utf-32", "UTF-16"),
        (codecs.BOM_UTF32_LE, "utf-16", "UTF-32"),
    ],
)
def test_mark_that_denies_the_encoding_is_refused(tmp_path: Path, mark: bytes, encoding: str, expected: str) -> None:
    path = csv_file(tmp_path, mark + b"notes,username,password\n,ann,Gr\xc3\xb6\xc3\x9fe-1\n")
    with pytest.raises(InputError, match=f"begins as {expected} .byte order mark., but the job says {encoding}"):
        read(path, encoding=encoding)


def test_row_of_nothing_but_delimiters_is_blank(tmp_path: Path) -> None:
    path = csv_file(tmp_path, 'username,password,notes\n,,\nann,One-1,\n""\n"",,""\n,,,,\n,,x\n')
    assert [(row.username, row.malformed) for row in read(path)] == [("ann", ""), ("", "")]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("sep=;\nusername;password", "is Excel's sep=;"),
        ('"sep=,"\nusername,password', "is Excel's sep=,"),
        ("#TYPE System.Object\nusername,password", "is PowerShell's #TYPE line"),
        ("username;password", "separates its columns with ';'"),
        ("username\tpassword", "separates its columns with "),
        ("User Name,password", "It has 'User Name': it is spelled differently"),
        ("user_name,password", "It has 'user_name': it is"),
        ("\u200busername,password", "It has 'username' with an invisible character"),
        ("sep=\t\nusername\tpassword", "is Excel's sep=\\t"),
        ("username:password", "separates its columns with ':'"),
        ("username^password", "separates its columns with '^'"),
        ("username\x01password", "separates its columns with '\\u0001'"),
        ("username password", "separates its columns with ' '"),
        ("# written 2026-01-31\nusername,password", "is its line 2, not its first line"),
        ("Users of Example Inc.\n\nusername,password", "is its line 3, not its first line"),
        ("+----------+\n| username | password |\n+----------+", "is its line 2, not its first line"),
        ("username*,password", "It has 'username*': it is spelled differently"),
        ("'username','password'", "It has \"'username'\": it is spelled differently"),
        ("\uff55sername,password", "It has '\uff55sername': it is spelled differently"),
        ("userPrincipalName,password", "It has 'userPrincipalName'."),
        ("username,contraseña", "It has 'contraseña'."),
        ("username,Password:", "It has 'Password:': it is spelled differently"),
        ("<!DOCTYPE html>", "is a web page"),
        ('<?xml version="1.0"?>', "is XML"),
        ('{"Users": []}', "is JSON"),
        ("BZh91AY", "is bzip2"),
    ],
)
def test_kind_of_the_first_line_is_named(tmp_path: Path, first: str, expected: str) -> None:
    path = csv_file(tmp_path, f"{first}\nann,Hidden-1\n")
    with pytest.raises(InputError) as caught:
        read(path)
    assert expected in caught.value.message
    assert caught.value.advice


@pytest.mark.parametrize(
    ("header", "hidden"), [("username,Password1!", "Password1"), ("ann@example.com,password#", "password#")]
)
def test_password_in_place_of_a_header_is_not_shown(tmp_path: Path, header: str, hidden: str) -> None:
    with pytest.raises(InputError) as caught:
        read(csv_file(tmp_path, f"{header}\nann,Hidden-1\n"))
    assert hidden not in str(caught.value)


@pytest.mark.parametrize("raw", [b"\x84\x31\x95\x33username,password\n", "username,password\n".encode("cp037")])
def test_header_in_an_unknown_encoding_asks_for_the_encoding(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(InputError, match=r"bytes that are not utf-8\. Set \[input\] encoding"):
        read(csv_file(tmp_path, raw))


@pytest.mark.parametrize(
    ("rows", "doubled"),
    [
        ('"ann","back\\\\slash-A1!"\n"bob","Quiet-1"\n', True),
        ('"ann","back\\\\slash-A1!"\n"bob","one\\1"\n', False),
        ('"ann","back\\\\\\slash-A1!"\n', False),
        ("ann,Quiet-1\n", False),
    ],
)
def test_doubled_backslashes_are_remarked(tmp_path: Path, rows: str, *, doubled: bool) -> None:
    path = csv_file(tmp_path, f"username,password\n{rows}")
    reader = open_csv(InputConfig(path=path))
    assert [*reader.batches()]
    assert ("each backslash is doubled" in reader.remark) is doubled
    escaped = open_csv(InputConfig(path=path, escape="\\"))
    assert [*escaped.batches()]
    assert not escaped.remark


def test_other_signs_of_escapes_name_the_key(tmp_path: Path) -> None:
    (row,) = read(csv_file(tmp_path, "username,password\nann,one\\,two\n"))
    assert row.malformed.endswith('a delimiter after a backslash: if the file escapes so, set [input] escape = "\\\\"')
    with pytest.raises(InputError, match="If the file escapes by backslashes, set"):
        read(csv_file(tmp_path, 'username,password\nann,"quo\\"te-1"\nbob,x\n'))


def test_backslash_escapes_if_the_job_says_so(tmp_path: Path) -> None:
    content = (
        'username,password,notes\nann,"back\\\\slash-1","a\\"b"\nben,"quo\\"te-1",x\\, y\ncat,\\N,z\ndan,end-1\\\\N,z\n'
    )
    rows = read(csv_file(tmp_path, content), escape="\\")
    assert [(row.username, row.password) for row in rows] == [
        ("ann", "back\\slash-1"),
        ("ben", 'quo"te-1'),
        ("", ""),
        ("dan", "end-1\\N"),
    ]
    assert rows[2].malformed == "line 4: a letter or a digit is escaped, and what that means is not known"
    assert read(csv_file(tmp_path, "username,password\nann,one\\-1\n")) == [ReadRow(1, "ann", "one\\-1")]
