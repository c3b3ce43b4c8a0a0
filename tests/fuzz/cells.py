"""The report's cells: every cell is read back unchanged, and no spreadsheet runs one as a formula."""

import csv
import unicodedata
from collections.abc import Iterator

from bulkreset.journal.journal import Journal
from bulkreset.models import REPORT_COLUMNS, Outcome, Status
from bulkreset.report.report_writers import write_report
from bulkreset.text import printable_cell
from tests.fuzz.scratch import folder
from tests.journal.journals import commit, run_state

_POOL = "eu-west-1_Fuzzed001"
_RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  (they are the point)
_TEXTS = 5
WORDS = tuple(text.encode() for text in (*_RUN, "'", '"', '"",', "\x1e", "\x0b", "\x0c", "\x85", "\u2028"))


def one(data: bytes) -> None:
    """Texts, each ended by a record separator: pool, username, code, message and request id of each row."""
    texts = data.decode("utf-8", "replace").split("\x1e")
    rows = list(_rows(texts))
    path, report = folder() / "cells.sqlite", folder() / "cells.csv"
    for leftover in folder().glob("cells.sqlite*"):
        leftover.unlink()
    journal = Journal.create(path, [_POOL], run_state())
    try:
        journal.write.add_rows(
            (number, pool, username, True, "ready", "", "") for number, (pool, username, *_) in enumerate(rows, 1)
        )
        commit(
            journal,
            [],
            [
                Outcome(number, Status.FAILED, code, message, request_id=request_id)
                for number, (_, _, code, message, request_id) in enumerate(rows, 1)
            ],
        )
        write_report(journal, report, dry_run=False)
    finally:
        journal.close()
    with report.open(encoding="utf-8", newline="") as file:
        header, *found = csv.reader(file, strict=True)
    assert tuple(header) == REPORT_COLUMNS
    assert len(found) == len(rows)
    for number, (cells, expected) in enumerate(zip(found, rows, strict=True), 1):
        by_name = dict(zip(REPORT_COLUMNS, cells, strict=True))
        assert by_name["row"] == str(number)
        shown = [by_name[name] for name in ("user_pool_id", "username", "code", "message", "request_id")]
        assert not [cell for cell in cells if cell.startswith(_RUN)]
        assert not any(unicodedata.category(letter) == "Cc" and letter not in "\t\n" for letter in "".join(shown))
        assert shown == [printable_cell("'" + text if text.lstrip("'").startswith(_RUN) else text) for text in expected]


def _rows(texts: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(texts), _TEXTS):
        row = texts[first : first + _TEXTS]
        yield row + [""] * (_TEXTS - len(row))
