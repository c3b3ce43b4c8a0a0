"""Journals of whole runs, for the tests of the page; the page as a browser's parser reads it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import html5lib

from bulkreset.errors import GuardTripped
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import RunState
from bulkreset.models import Outcome, RateChange, Status
from bulkreset.report.page import write_page
from tests.journal.journals import OTHER, POOL, commit, run_state

BEGUN = 1_795_262_400_000  # 2026-11-21T12:00:00Z
ARN = "arn:aws:sts::111111111111:assumed-role/reset/ann"
EXECUTION = {
    "started_at": "2026-11-21T12:00:00.000Z",
    "user": "ops",
    "host": "batch-1",
    "version": "0.1.0",
    "callers": {POOL: ARN},
}
Planned = tuple[int, str, str, bool | None, str, str, str]


def lane(pool: str = POOL, account: str = "111111111111", **facts: object) -> dict[str, Any]:
    """Return a lane as the journal stores it."""
    known = {"account": account, "region": pool.partition("_")[0], "rate": 23.5, "quota": 30.0, "ceiling": 24.0}
    return known | {"pools": [pool], "rows": 1, "stopped_by": None} | facts


def facts_of(**facts: Any) -> RunState:  # noqa: ANN401  (of the run state)
    """Return the run state of a run that has ended."""
    targets = [
        {"user_pool_id": pool, "region": pool.partition("_")[0], "endpoint": "https://cognito.example", "account": "1"}
        for pool in (POOL, OTHER)
    ]
    known: dict[str, Any] = {
        "state": "finished",
        "run_id": "3f2c",
        "job": {"name": "nightly", "permanent": True, "guards": {"max_rows": 5000, "protected": {"usernames": ["a"]}}},
        "confirmed": True,
        "exit_code": 1,
        "started_at": EXECUTION["started_at"],
        "finished_at": "2026-11-21T12:10:00.000Z",
        "seconds": 600.0,
        "sending_seconds": 590.0,
        "rows": 1,
        "input": {"path": "/data/users.csv", "size": 2048, "sha256": "ab" * 32},
        "targets": targets,
        "lanes": [lane()],
        "executions": [EXECUTION],
    }
    return run_state(**{key: value for key, value in (known | facts).items() if value is not ...})


def journal_of(
    folder: Path,
    plan: Iterable[Planned] = (),
    outcomes: Sequence[Outcome] = (),
    rates: Sequence[RateChange] = (),
    **facts: Any,  # noqa: ANN401  (as above)
) -> Journal:
    """Make a journal of these rows and their outcomes. A fact of ... is left out."""
    journal = Journal.create(folder / "journal.sqlite", (POOL, OTHER), facts_of(**facts))
    journal.write.add_rows(plan)
    commit(journal, [], outcomes, (), rates)
    return journal


def ready(count: int, pool: str = POOL) -> list[Planned]:
    """Return rows that would be sent."""
    return [(row, pool, f"user{row:04d}", True, "ready", "", "") for row in range(1, count + 1)]


def sent(row: int, status: Status = Status.SET, *, at: int = 0, latency: int = 40, **facts: Any) -> Outcome:  # noqa: ANN401
    """Return a row that was sent `at` ms after the run began."""
    begun = BEGUN + at
    return Outcome(
        row,
        status,
        attempts=1,
        latency_ms=latency,
        started_at=begun,
        finished_at=begun + latency,
        request_id=f"q{row}",
        **facts,
    )


def of_all_kinds(folder: Path, count: int = 1700) -> Journal:
    """Make a run of `count` rows in two pools with every kind of result. The last hundred were not sent."""
    rows: list[Planned] = []
    for row in range(1, count + 1):
        pool = (POOL, OTHER)[row % 2]
        rows.append((row, pool, f"user{row:04d}@example.com", True, "ready", "", ""))
        if row % 10 == 0:
            rows[-1] = (row, pool, f"user{row:04d}", True, "rejected", "password_policy", "needs a digit")
        if row % 15 == 0:
            rows[-1] = (row, pool, f"gäst{row:04d}", True, "skipped", "federated", "the user signs in elsewhere")
    outcomes = [
        sent(
            row,
            *((Status.FAILED,) if row % 3 == 0 else (Status.IN_DOUBT,) if row % 401 == 0 else ()),
            at=row * 40,
            latency=20 + row * 7 % 90,
            throttled=row % 11 == 0 and row < 800,
            code="UserNotFoundException" if row % 3 == 0 else "ReadTimeoutError" if row % 401 == 0 else "",
            message="User does not exist." if row % 3 == 0 else "",
        )
        for row in range(1, count - 99)
        if row % 10 and row % 15
    ]
    rates = [
        RateChange(
            BEGUN + second * 1000,
            "111111111111",
            "eu-west-1",
            24.0 - second % 7,
            "throttled" if second % 7 else "at the ceiling",
        )
        for second in range(2, 30)
    ]
    stopped = GuardTripped("More than 1% of the rows failed.", "Fix the cause, then resume.").describe()
    lanes = [lane(), lane(OTHER, stopped_by=stopped)]
    return journal_of(
        folder, rows, outcomes, rates, rows=count, lanes=lanes, state="stopped", exit_code=3, stopped_by=stopped
    )


def page_text(journal: Journal, **how: Any) -> str:  # noqa: ANN401
    """Return the page."""
    home = journal.path.parent
    write_page(journal, home / "report.html", home, **how)
    return (home / "report.html").read_text(encoding="utf-8")


def parsed(page: str) -> Element:
    """Parse the page strictly: invalid HTML is an error."""
    tree: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    return tree


def text_of(tree: Element) -> str:
    """Return the visible text, in one line."""
    body = tree.find("body")
    assert body is not None
    return " ".join("".join(_shown(body)).split())


def _shown(element: Element) -> Iterable[str]:
    if element.tag not in {"script", "style"}:
        yield " " if element.tag not in _INLINE else ""
        yield element.text or ""
        for child in element:
            yield from _shown(child)
            yield child.tail or ""
        yield " " if element.tag not in _INLINE else ""


_INLINE = {"a", "b", "bdi", "code", "span"}
