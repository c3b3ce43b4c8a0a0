"""A damaged journal: refused with our own error, or every finished row is still finished and not sent again."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

from bulkreset.errors import RecordError, RunDirError
from bulkreset.job import Job
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import RunState
from bulkreset.models import Outcome, RateChange, Status
from bulkreset.report.page import write_page
from bulkreset.report.rewrite import ReportRequest, rewrite_report
from bulkreset.report.run_status import read_status
from tests.fuzz.edits import edited
from tests.fuzz.scratch import folder
from tests.journal.journals import commit, run_state, sendable

_POOL = "eu-west-1_Fuzzed001"
ROWS = 60
SETTLED = 40
_BYTES, _LOG, _FACTS, _CELLS = range(4)
_META = (
    "job",
    "mode",
    "phase",
    "rows",
    "mirror",
    "lanes",
    "targets",
    "executions",
    "started_at",
    "input",
    "emulated",
)
_COLUMNS = ("pool", "username", "permanent", "code", "message", "attempts", "latency_ms", "started_at", "finished_at")
_VALUES: tuple[Any, ...] = (None, [], {}, "x", 1, -1, 1e300, [{}], {"name": 1}, "dry_run")
WORDS = tuple(json.dumps(value).encode() for value in _VALUES)


def one(data: bytes) -> None:
    """The first byte chooses the damage: bytes of the file or its log, a fact of the run, a cell of a row."""
    kind, edits = (data[0] if data else 0) % 4, data[1:]
    home = _whole()
    path = home / "journal.sqlite"
    for name, content in _contents(home).items():
        (home / name).write_bytes(content)
    if kind in {_BYTES, _LOG}:
        damaged = path if kind == _BYTES else home / "journal.sqlite-wal"
        damaged.write_bytes(edited(damaged.read_bytes(), edits))
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection, suppress(sqlite3.Error):
            (_fact if kind == _FACTS else _cell)(connection, edits)
    for look in (lambda: read_status(home), lambda: rewrite_report(home, ReportRequest(), 1)):
        _works_or_refuses(look)
    _works_or_refuses(lambda: _resumed(path, home, log_is_whole=kind != _LOG))


def _works_or_refuses(look: Callable[[], Any]) -> None:
    """Check that it works, or that the error says in a line why not."""
    with suppress(RecordError, RunDirError):
        look()


def _resumed(path: Path, home: Path, *, log_is_whole: bool) -> None:
    """Do what resume does before it sends anything, and write the page as at its end."""
    with closing(Journal.open(path)) as journal:
        state = journal.state
        journal.check()
        journal.write.mark_claimed_in_doubt()
        journal.write.retry_failed()
        left = sendable(journal, 1, ROWS)
        pages = list(journal.read.sendable_pages(10))
        reported = [found[0] for found in journal.read.report_rows(dry_run=False)]
        write_page(journal, home / "report.html", home)
    if state.is_planned and state.rows == ROWS:
        # SQLite accepts a truncated log as a shorter one: whole commits may be missing, never a part of one.
        again = {row.number for row in left} & _settled()
        assert not again or (not log_is_whole and again == _settled())
        assert reported == list(range(1, ROWS + 1))
        assert sum(count for *_, count in pages) == len(left)


def _settled() -> set[int]:
    return {row for row in range(1, SETTLED + 1) if row % 9}


def _fact(connection: sqlite3.Connection, edits: bytes) -> None:
    key = _META[(edits[0] if edits else 0) % len(_META)]
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (edits[1:].decode("utf-8", "replace"), key))


def _cell(connection: sqlite3.Connection, edits: bytes) -> None:
    column, kind, row = (edits[:3] + b"\0\0\0")[:3]
    raw = edits[3:]
    values: tuple[Any, ...] = (raw, raw.decode("utf-8", "replace"), int.from_bytes(raw[:8], "big", signed=True), None)
    name = _COLUMNS[column % len(_COLUMNS)]
    connection.execute(f"UPDATE rows SET {name} = ? WHERE row = ?", (values[kind % 4], row % ROWS + 1))  # noqa: S608


@cache
def _whole() -> Path:
    """Make the directory of a run that stopped midway; the last outcomes are still in the log."""
    home = folder() / "run"
    home.mkdir()
    path = home / "journal.sqlite"
    journal = Journal.create(path, [_POOL], _state())
    journal.write.add_rows(
        (row, _POOL, f"user.{row:03d}", True, "ready", "", "")
        if row % 9
        else (row, "other", "", None, "rejected", "bad_value", "line 1")
        for row in range(1, ROWS + 1)
    )
    journal._db.execute("PRAGMA wal_autocheckpoint = 0")
    sent = [row for row in range(1, ROWS + 1) if row % 9]
    commit(journal, sent, [], rates=[RateChange(1_700_000_000_000, "1", "eu-west-1", 24.0, "throttled")])
    at = 1_700_000_000_000
    commit(
        journal,
        [],
        [
            Outcome(row, Status.SET, attempts=1, latency_ms=60 + row, started_at=at + row, finished_at=at + row + 60)
            for row in sorted(_settled())
        ],
    )
    _contents(home)
    journal.close()
    return home


@cache
def _contents(home: Path) -> dict[str, bytes]:
    """Return the files of that directory as a kill would leave them."""
    return {name: (home / name).read_bytes() for name in ("journal.sqlite", "journal.sqlite-wal")}


def _state() -> RunState:
    job = Job.model_validate({"name": "fuzz", "input": {"path": "/in.csv"}, "targets": [{"user_pool_id": _POOL}]})
    lane = {"account": "1", "region": "eu-west-1", "rate": 24.0, "quota": 30.0, "ceiling": 24.0, "pools": [_POOL]}
    return run_state(
        "applying",
        rows=ROWS,
        job=job.model_dump(mode="json"),
        confirmed=True,
        temporary_days={_POOL: 7},
        input={"path": "/in.csv", "size": 1, "sha256": "0"},
        targets=[{"user_pool_id": _POOL, "region": "eu-west-1", "endpoint": "https://x", "account": "1"}],
        lanes=[lane],
    )
