"""Check that tests notice a change of the journal's SQL: `python -m tests.journal.statements [STATEMENT …]`.

mutmut changes neither SQL nor code outside functions. This program changes each statement of journal/schema.py in one
place at a time, in the memory of a new process, and runs the tests that read it, the fastest first.
"""

import json
import os
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import pytest
from _pytest.runner import runtestprotocol

from bulkreset.journal import schema

TESTS = [
    *(f"tests/journal/test_{name}.py" for name in ("journal", "findings", "queries", "schema")),
    "tests/report/test_timeline.py",
]
STATEMENTS = [name for name, it in vars(schema).items() if name.isupper() and name[0] != "_" and isinstance(it, str)]
_READ: set[str] = set()
_MOST_CPU = 120  # seconds
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
    """Return the replacements as (begin, end, text). Invalid SQL shows when it is run."""
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
        if word in {"WHERE", "ON", "("} and words[behind + 1] in {"AND", "OR"}:  # remove the first condition
            yield end, tokens[behind][2], " "
        # remove a later condition
        elif word in {"AND", "OR"} or (word == "WHERE" and words[behind + 1] not in _ENDS - _CLAUSES):
            yield begin, tokens[behind - 1][2], " "
        if word.startswith("'"):
            yield begin, end, "'XX'"
        elif word.isdecimal() and (before, after) != ("SELECT", "FROM"):  # any value says that there is such a row
            yield begin, end, "NULL" if clause in {"GROUP", "ORDER"} else str(int(word) + 1)
        elif re.fullmatch(r"[a-z_.]+", word) and after != "(":
            # Without an order rows come the other way round: see conftest.py. ORDER BY NULL would keep them as they are.
            alone = (clause, before) == ("ORDER", "BY") and after != ","
            yield tokens[place - 2][1] if alone else begin, end, "" if alone else "NULL"
        elif word in _INSTEAD and (word, clause) != ("=", "SET") and ("NULL" not in {word, after} or before == "IS"):
            yield begin, end, _INSTEAD[word]
        if before == "BY" and clause == "ORDER":
            yield end, end, " DESC"


def _operand_end(words: Sequence[str], place: int) -> int:
    """Return where the operand after a position ends."""
    depth, between = 0, False
    for number in range(place + 1, len(words)):
        word = words[number]
        depth += (word == "(") - (word == ")")
        if depth < 0 or (depth == 0 and word in _ENDS and not (between and word == "AND")):
            return number
        between = word == "BETWEEN" or (between and word != "AND")
    return len(words)


class _RecordingModule(ModuleType):
    """The module, which records which of its names are read."""

    def __getattribute__(self, name: str) -> object:
        _READ.add(name)
        return super().__getattribute__(name)


def _in_new_process(work: Callable[[], object]) -> object:
    """Return the result of a function in a new process, so that nothing remains in this one."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        resource.setrlimit(resource.RLIMIT_CPU, (_MOST_CPU, _MOST_CPU))  # a changed statement may never end
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
    """Find which tests read each statement: (seconds, test).

    Return the output of a test that fails without a change.
    """
    readers: dict[str, list[tuple[float, int]]] = {}
    schema.__class__ = _RecordingModule
    for place, item in enumerate(items):
        began = time.monotonic()
        if failure := _failure(item):
            return failure
        for name in _READ.intersection(STATEMENTS):
            readers.setdefault(name, []).append((round(time.monotonic() - began, 3), place))
        _READ.clear()
    return readers


def _first_failure(name: str, changed: str, items: Sequence[pytest.Item]) -> str:
    """Return the output of the first test that fails, or nothing."""
    setattr(schema, name, changed)
    return next(filter(None, map(_failure, items)), "")


class MutationPlugin:
    """A plugin of pytest that runs the collected tests again and again."""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Make one change after the other. Report the unnoticed ones and their number."""
        readers, total = _in_new_process(lambda: _readers(session.items)), Counter[str]()
        assert isinstance(readers, dict), f"a test fails without a change: {readers}"
        for name in sys.argv[1:] or STATEMENTS:
            items = [session.items[place] for _, place in sorted(readers.get(name, []))]
            for begin, end, text in dict.fromkeys(changes(sql := getattr(schema, name))):
                said = str(_in_new_process(lambda: _first_failure(name, sql[:begin] + text + sql[end:], items)))  # noqa: B023
                total["no SQL" if _NO_SQL.search(said) else "killed" if said else "lived"] += 1
                if not said:
                    where = f"{sql[:begin][-60:]}[{sql[begin:end]} -> {text}]{sql[end:][:60]}"
                    sys.stdout.write(f"{name} lived: {' '.join(where.split())}\n")
        sys.stdout.write(f"journal/schema.py: {total['killed']} killed, {total['lived']} lived\n")
        return True


if __name__ == "__main__":
    options = ["-s", "-qq", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-profile=mutants", "--timeout=30"]
    sys.exit(pytest.main([*options, *TESTS], [MutationPlugin()]))
