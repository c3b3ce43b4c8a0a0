"""Journals for the tests."""

from collections.abc import Sequence
from pathlib import Path

from bulkreset.journal.journal import Journal
from bulkreset.models import Outcome, Status

POOL = "eu-west-1_Here00001"
OTHER = "us-east-1_There0001"


def planned(folder: Path, *names: str, pool: str = POOL, pools: Sequence[str] = (POOL, OTHER)) -> Journal:
    """A journal of ready rows, one for each name."""
    journal = Journal.create(folder / "journal.sqlite", pools, {"run_id": "r"})
    journal.add_rows([(number, pool, name, True, "ready", "", "") for number, name in enumerate(names, 1)])
    return journal


def statuses(journal: Journal) -> list[str]:
    """The statuses of all rows in the report's words."""
    return [row[3] for row in journal.report_rows("unprocessed")]


def done(row: int, **facts: object) -> Outcome:
    """A row that was set."""
    return Outcome(row, Status.SET, **facts)  # type: ignore[arg-type]
