"""Explains the errors of a job, key by key, and of a file that is not TOML. A value is shown only if a check names it."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from bulkreset.job.job import Job
from bulkreset.text import show_invisible

_UNIONS = {  # one sentence for all kinds of values of these keys
    "pace.rate": 'must be a number of calls per second above 0 and up to 10000, "auto" or "none"',
    "guards.max_failures": 'must be a number of rows, or a percentage below 100 such as "5%"',
}
_KINDS = {
    "bool_type": "must be true or false, without quotes",
    "int_type": "must be a whole number, without quotes",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number, without quotes",
    "finite_number": "must be a finite number",
    "string_type": "must be text in quotes",
    "path_type": "must be a path in quotes",
    "tuple_type": "must be a list",
    "model_type": "must be a table",
    "missing": "is missing",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_long": "may have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
}


def describe_errors(errors: Sequence[ErrorDetails], flags: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the errors in the values of flags, and those in other keys, each problem once.

    `flags` are the flags by the keys that they set.
    """
    of_flags, of_keys = dict[str, None](), dict[str, None]()
    for detail in errors:
        path = ".".join(str(part) for part in detail["loc"] if not isinstance(part, int))
        if key := _key_of(path, flags):
            what = _fault(detail, key)
            # On the command line, values have no quotes.
            of_flags[f"{flags[key]} {what.removesuffix(', without quotes').removesuffix(' in quotes')}"] = None
        else:
            of_keys[_describe(detail, path)] = None
    return list(of_flags), list(of_keys)


def _key_of(path: str, keys: Iterable[str]) -> str:
    """Return which of the keys the path of an error is, or is below; "" if it is none of them."""
    return next((key for key in keys if path == key or path.startswith(f"{key}.")), "")


def _describe(detail: ErrorDetails, path: str) -> str:
    if detail["type"] == "extra_forbidden":
        return describe_unknown(detail["loc"], detail["input"])
    union = _key_of(path, _UNIONS)
    where = union or ".".join(map(printable, detail["loc"]))
    return f"{where} {_fault(detail, union or path)}".strip()


def _fault(detail: ErrorDetails, key: str) -> str:
    """Return what is wrong with a value, as a sentence without its subject."""
    kind, facts = detail["type"], detail.get("ctx", {})
    if key in _UNIONS:
        return _UNIONS[key]
    if kind == "value_error":
        return show_invisible(str(facts["error"]))  # it may name the value of a key
    if kind == "literal_error":
        return f"must be {facts['expected'].replace(chr(39), chr(34))}{_nearest_word(detail)}"
    if kind == "string_too_short" and facts["min_length"] == 1:
        return "must not be empty"
    if kind in _KINDS:
        return _KINDS[kind].format(**facts)
    return f"is wrong: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _nearest_word(detail: ErrorDetails) -> str:
    """Return the allowed word that the value may be a misspelling of, as a question."""
    words = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
    close = difflib.get_close_matches(str(detail["input"])[:100], words, n=1)
    return f' (did you mean "{close[0]}"?)' if close else ""


def describe_unknown(location: Sequence[int | str], value: object) -> str:
    """Return the error for an unknown key or table: where it belongs, or a similar key."""
    *tables, leaf = location
    model: Any = Job
    for part in tables:
        if isinstance(part, str):
            model = table_of(model.model_fields[part].annotation)
    where = ".".join(map(printable, location))
    close = difflib.get_close_matches(str(leaf), list(model.model_fields), n=1)
    entries = value if isinstance(value, list) and value else [value]
    if not tables and all(isinstance(entry, dict) for entry in entries):
        meant = f"; did you mean {_as_header(close[0])}?" if close else ""
        return f"[{where}] is not a known table{meant}"
    if homes := [table for table, key, _ in keys_of(Job) if key == leaf]:
        homes = [f"in {_as_header(home)}" if home else "at the top of the file, above all tables" for home in homes]
        return f"{where} is not a known key; {printable(leaf)} belongs {' or '.join(homes)}"
    return f"{where} is not a known key" + (f" (did you mean {close[0]}?)" if close else "")


def _as_header(table: str) -> str:
    return f"[[{table}]]" if table == "targets" else f"[{table}]"


def keys_of(model: Any, table: str = "") -> Iterator[tuple[str, str, object]]:  # noqa: ANN401  (any table's class)
    """Yield each key of the job as (table, key, annotation). Tables in tables come with dots."""
    for name, field in model.model_fields.items():
        if inner := table_of(field.annotation):
            yield from keys_of(inner, f"{table}.{name}" if table else name)
        else:
            yield table, name, field.annotation


def table_of(annotation: object) -> type[BaseModel] | None:
    """Return the class of the table, or of the list of tables, that a key with this annotation holds; else None."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def printable(part: int | str) -> str:
    """Return a part of a key so that it is one line that changes nothing on a terminal."""
    text = str(part)
    return text if text.isprintable() else repr(text)


# The messages of tomllib, and what they mean to the author of the line.
_REASONS = (
    (r"Illegal character '\\[nr]", "the closing quote is missing"),
    (r"Illegal character", "a control character"),
    (r"Unterminated string|Expected \"'''\"|Expected '\"\"\"'", "the closing quotes are missing"),
    (r"Expected '='", 'there is no "=" after the key'),
    (r"Invalid value", 'the value is missing, or is text without quotes (name = "text")'),
    (r"Expected '\]\]?' at the end", 'the closing "]" of the table is missing'),
    (r"Unclosed array", 'the closing "]" of the list is missing'),
    (r"Unclosed inline table", 'the closing "}" is missing'),
    (r"Expected newline or end of document", "there is something after the value; text needs quotes around all of it"),
    (r"Invalid statement", "this is neither a key, nor a [table], nor a # comment"),
    (r"Cannot declare|Cannot overwrite|Cannot mutate|Duplicate", "this key or table occurs twice"),
    (r"Unescaped '\\'|hex", r'a "\" in text must be doubled, or the text put in single quotes'),
)


def describe_syntax(error: ValueError, text: str) -> str:
    """Return the line and the reason of a TOML syntax error, without any content of the line."""
    message = str(error)
    found = re.search(r"\(at line (\d+), column \d+\)$", message)
    line = int(found[1]) if found else max(1, len(text.splitlines()))
    written = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
    if re.search(r"Invalid (value|statement)|Expected|Illegal", message) and re.search(
        "[\u201c-\u201f\u2018-\u201b]", written
    ):
        return f"line {line}: the quotes are curly, as an office program or a chat writes them: type straight ones"
    reason = next((means for pattern, means in _REASONS if re.search(pattern, message)), "the syntax is wrong")
    return f"line {line}: {reason}"
