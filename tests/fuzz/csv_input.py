"""The CSV reader: every record becomes an exact row or a malformed row, or the file is refused."""

from bulkreset.errors import InputError
from bulkreset.input.batch import MAX_VALUE_LENGTH
from tests.fuzz.reading import Line, read, small
from tests.fuzz.scratch import written

_ENCODINGS = ("utf-8", "utf-8", "latin-1", "utf-16", "shift_jis", "ascii", "utf-8", "cp1252")
_DELIMITERS = (",", ",", ";", "\t")
_FIELDS = ("username", "password", "permanent", "user_pool_id")


def one(data: bytes) -> None:
    """The first byte chooses encoding and delimiter, the second the order of the pages; the rest is the file."""
    how, order, content = data[:1] or b"\0", data[1:2] or b"\1", data[2:]
    encoding, delimiter = _ENCODINGS[how[0] & 7], _DELIMITERS[how[0] >> 3 & 3]
    path = written("in.csv", content)
    with small():
        found = read(path, [order[0], order[0] // 3, 0, order[0] // 7], encoding=encoding, delimiter=delimiter)
    expected = _plainly(content, encoding, delimiter)
    if expected is None:
        return
    assert not isinstance(found, InputError), found
    assert [line._replace(malformed="") for line in found] == expected
    assert [bool(line.malformed) for line in found] == [line == Line("", "", "", "", "") for line in expected] or any(
        not any(line) for line in found
    )


def _plainly(content: bytes, encoding: str, delimiter: str) -> list[Line] | None:
    """Return the rows of a file that can be parsed by splitting; None for any other file."""
    if encoding != "utf-8" or b'"' in content or b"\r" in content or b"\0" in content or len(content) > 1 << 16:
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    lines = [line for line in text.split("\n") if line.strip(delimiter)]
    names = [name.strip() for name in lines[0].split(delimiter)] if lines else []
    if any(names.count(field) > 1 for field in _FIELDS) or not {"username", "password"} <= set(names):
        return None
    if {"".join(filter(str.isalpha, name.casefold())) for name in {*names} - {*_FIELDS}} & {"permanent", "userpoolid"}:
        return None
    rows = []
    for line in lines[1:]:
        cells = line.split(delimiter)
        by_name = dict(zip(names, cells, strict=False)) if len(cells) == len(names) else {}
        rows.append(Line._make([*(by_name.get(field, "")[:MAX_VALUE_LENGTH] for field in _FIELDS), ""]))
    return rows
