"""Read the journal of a live run."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def query(run_dir: Path, question: str) -> list[Any]:
    """Return the rows that a query finds, or none if the run has no journal yet."""
    path = run_dir / "journal.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
        return journal.execute(question).fetchall()


def rows_set(run_dir: Path) -> int:
    """Return how many rows are set."""
    return len(query(run_dir, "SELECT row FROM rows WHERE status = 'set'"))


def signed_out(run_dir: Path) -> set[str]:
    """Return the users whose sign-out is done."""
    return {name for (name,) in query(run_dir, "SELECT username FROM rows WHERE signed_out = 1")}
