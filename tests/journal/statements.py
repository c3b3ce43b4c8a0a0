"""Whether the tests notice a change of the journal's SQL: `python -m tests.journal.statements [STATEMENT …]`.

mutmut knows no SQL, and leaves out what stands outside functions. Here each statement of journal/schema.py is changed in
one place at a time, in the memory of a process of its own, and the tests that read it are run, the quickest first.
"""

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import pytest
from _pytest.runner import runtestprotocol

from bulkreset.journal import schema

TESTS = [
    *(f"tests/journal/test_{name}.py" for name in ("journal", "checked", "queries")),
    "tests/report/test_timeline.py",
]
STATEMENTS = [name for name, it in vars(schema).items() if name.isupper() and name[0] != "_" and isinstance(it, str)]
_READ: set[str] = set()
_TOKEN = re.compile(r"'[^']*'|\w+(?:\.\w+)?|<>|<=|>=|\|\||[:?]\w*|\S")
_PAIRS = ("= <>", "< <=", "> >=", "+ -", "/ *", "AND OR", "min max", "total count", "avg sum", "DESC ASC")
_INSTEAD = {
    **{one: other for pair in _PAIRS for one, other in (pair.split(), pair.split()[::-1])},
    **{word: f"1 + {word}" for word in ("count", "coalesce", "nullif")},
    **{word: f"{word} 1 +" for word in ("LIMIT", "BETWEEN")},
    **{word: f"NOT {word}" for word in ("IN", "EXISTS", "NULL")},
    **dict.fromkeys(("NOT", "LEFT", "UNIQUE"), ""),
}
_CLAUSES = {"SELECT", "FROM", "SET", "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT"}
_ENDS = _CLAUSES | {"JOIN", "LEFT", "ON", "WHEN", "THEN", "ELSE", "END", "AND", "OR", ",", ";"}
_NO_SQL = re.compile(r'near "|no such|incomplete input|misuse of|number of arguments|number of bindings')


def changes(sql: str) -> Iterator[tuple[int, int, str]]:
    """What is put in place of which part: (begin, end, text). What is no SQL shows as that when it is run."""
    tokens = [(found[0], found.start(), found.end()) for found in _TOKEN.finditer(sql)]
    words = ["", *(word for word, _, _ in tokens), ""]
    clause, between = "", False
    for place, (word, begin, end) in enumerate(tokens):
        before, after = words[place], words[place + 2]
        clause = word if word in _CLAUSES else clause
        if word == "AND" and between:
            yield end, end, " -1 +"
            between = False
            continue
        between |= word == "BETWEEN"
        behind = _operand_end(words[1:-1], place)
        if word in {"WHERE", "ON", "("} and words[behind + 1] in {"AND", "OR"}:  # a condition goes, the first
            yield end, tokens[behind][2], " "
        elif word in {"AND", "OR"} or (word == "WHERE" and words[behind + 1] not in _ENDS - _CLAUSES):  # or another
            yield begin, tokens[behind - 1][2], " "
        if word.startswith("'"):
            yield begin, end, "'XX'"
        elif word.isdecimal():
            yield begin, end, "NULL" if clause in {"GROUP", "ORDER"} else str(int(word) + 1)
        elif re.fullmatch(r"[a-z_.]+", word) and after != "(":
            yield begin, end, "NULL"
        elif word in _INSTEAD and (word, clause) != ("=", "SET") and ("NULL" not in {word, after} or before == "IS"):
            yield begin, end, _INSTEAD[word]
        if before == "BY" and clause == "ORDER":
            yield end, end, " DESC"


def _operand_end(words: Sequence[str], place: int) -> int:
    """Where the operand behind a place ends."""
    depth, between = 0, False
    for number in range(place + 1, len(words)):
        word = words[number]
        depth += (word == "(") - (word == ")")
        if depth < 0 or (depth == 0 and word in _ENDS and not (between and word == "AND")):
            return number
        between = word == "BETWEEN" or (between and word != "AND")
    return len(words)


class _Read(ModuleType):
    """The module, which notes what is read of it."""

    def __getattribute__(self, name: str) -> object:
        _READ.add(name)
        return super().__getattribute__(name)


def _apart(work: Callable[[], object]) -> object:
    """What comes of it in a process of its own, which leaves nothing behind in this one."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        found = said.read()
    os.waitpid(child, 0)
    return json.loads(found or '"the process died"')


def _failure(item: pytest.Item) -> str:
    return next((str(report.longrepr)[-1000:] for report in runtestprotocol(item, log=False) if report.failed), "")


def _readers(items: Sequence[pytest.Item]) -> dict[str, list[tuple[float, int]]] | str:
    """Which tests read each statement: (seconds, place); what one says that fails without a change."""
    readers: dict[str, list[tuple[float, int]]] = {}
    schema.__class__ = _Read
    for place, item in enumerate(items):
        began = time.monotonic()
        if failure := _failure(item):
            return failure
        for name in _READ.intersection(STATEMENTS):
            readers.setdefault(name, []).append((round(time.monotonic() - began, 3), place))
        _READ.clear()
    return readers


def _noticed(name: str, changed: str, items: Sequence[pytest.Item]) -> str:
    """What the first test that fails says; nothing where none does."""
    setattr(schema, name, changed)
    return next(filter(None, map(_failure, items)), "")


class Changing:
    """A plugin of pytest: runs the tests that were found again and again."""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Change one thing after the other; tell what lived, and how much did not."""
        readers, total = _apart(lambda: _readers(session.items)), Counter[str]()
        assert isinstance(readers, dict), f"a test fails without a change: {readers}"
        for name in sys.argv[1:] or STATEMENTS:
            items = [session.items[place] for _, place in sorted(readers.get(name, []))]
            for begin, end, text in dict.fromkeys(changes(sql := getattr(schema, name))):
                said = str(_apart(lambda: _noticed(name, sql[:begin] + text + sql[end:], items)))  # noqa: B023
                total["no SQL" if _NO_SQL.search(said) else "killed" if said else "lived"] += 1
                if not said:
                    where = f"{sql[:begin][-60:]}[{sql[begin:end]} -> {text}]{sql[end:][:60]}"
                    sys.stdout.write(f"{name} lived: {' '.join(where.split())}\n")
        sys.stdout.write(f"journal/schema.py: {total['killed']} killed, {total['lived']} lived\n")
        return True


if __name__ == "__main__":
    options = ["-s", "-qq", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-profile=mutants", "--timeout=30"]
    sys.exit(pytest.main([*options, *TESTS], [Changing()]))
