"""Journals for the tests."""

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import Phase, RunState
from bulkreset.models import Claimed, EndState, Outcome, RateChange, Row, Secret, Status, StepOutcome

POOL = "eu-west-1_Here00001"
OTHER = "us-east-1_There0001"
BEGUN = "2024-01-31T00:00:00.000Z"
ENDED = "2024-01-31T00:01:00.000Z"
EXECUTION = {"started_at": BEGUN, "user": "ops", "host": "batch-1", "version": "0.1.0"}
PASSWORD = Secret("one for all")


def planned(folder: Path, *names: str, pool: str = POOL, pools: Sequence[str] = (POOL, OTHER)) -> Journal:
    """Make a journal of ready rows, one for each name."""
    journal = Journal.create(folder / "journal.sqlite", pools, run_state())
    journal.write.add_rows([(number, pool, name, True, "ready", "", "") for number, name in enumerate(names, 1)])
    return journal


def sendable(journal: Journal, first: int, last: int) -> list[Row]:
    """Return the rows to send; all have the same password."""
    return journal.read.sendable(first, last, lambda *_row: PASSWORD)


def sendable_after(journal: Journal, row: int, pools: Collection[str], most: int) -> list[Row]:
    """Return the rows to send after a row."""
    return journal.read.sendable_after(row, pools, most, lambda *_row: PASSWORD)


def statuses(journal: Journal) -> list[str]:
    """Return the statuses of all rows as the report shows them."""
    return [row[3] for row in journal.read.report_rows(dry_run=False)]


def done(row: int, **facts: object) -> Outcome:
    """Return the outcome of a row that was set."""
    return Outcome(row, Status.SET, **facts)  # type: ignore[arg-type]


def run_state(state: str = "planned", **facts: Any) -> RunState:  # noqa: ANN401  (fields of RunState, or of its end)
    """Return a run state: planning, planned, applying or ended. Its plan is complete if it has rows."""
    phase = "applying" if state == "applying" else "planned" if "rows" in facts else "reading"
    end = {key: facts.pop(key) for key in ("exit_code", "finished_at", "stopped_by") if key in facts}
    known: dict[str, Any] = {"run_id": "r", "job": {"name": "nightly"}, "mode": "run", "phase": phase}
    known |= {"started_at": BEGUN, "executions": [EXECUTION]} | facts
    if state in set(EndState):
        last = known["executions"][-1] | {"end": {"exit_code": 0, "finished_at": ENDED, "state": state} | end}
        known["executions"] = [*known["executions"][:-1], last]
    return RunState.model_validate(known)


def commit(
    ledger: Any,  # noqa: ANN401  (whatever commits events)
    claims: Iterable[int] = (),
    outcomes: Iterable[Outcome] = (),
    signed_out: Iterable[StepOutcome] = (),
    rates: Iterable[RateChange] = (),
    claimed_at: int | None = None,
) -> None:
    """Commit to a journal or a mirror."""
    getattr(ledger, "write", ledger).commit(
        [*outcomes, *signed_out, *(Claimed(row, claimed_at) for row in claims), *rates]
    )


def check(journal: Journal, rows: int | None) -> None:
    """Check a journal whose plan has so many rows, or whose plan is incomplete."""
    journal.write.change(rows=rows or 0, phase=Phase.READING if rows is None else Phase.PLANNED)
    journal.check()


def damage(journal: Journal, **facts: object) -> None:
    """Write facts to the journal that no run writes."""
    for key, value in facts.items():
        journal._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))
