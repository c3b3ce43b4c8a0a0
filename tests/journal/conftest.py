"""Settings for the tests of the journal."""

import sqlite3
from pathlib import Path

import pytest

from bulkreset.journal import database


@pytest.fixture(autouse=True)
def _no_order_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SQLite return rows that no statement orders the other way round, so that no test passes by chance."""

    def connect(path: Path, mode: str) -> sqlite3.Connection:
        connection = database.connect(path, mode)
        connection.execute("PRAGMA reverse_unordered_selects = ON")
        return connection

    monkeypatch.setattr("bulkreset.journal.journal.connect", connect)
