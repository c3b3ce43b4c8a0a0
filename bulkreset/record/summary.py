"""The summary: a run in figures, drawn from its journal."""

from collections.abc import Mapping
from typing import Any

from bulkreset.errors import EXIT_OK, EXIT_ROWS, BulkresetError, Interrupted, ServiceError, TimeLimit
from bulkreset.record.journal import Journal
from bulkreset.rows import LaneSummary, Status, Summary

_DONE = frozenset({Status.SET, Status.SKIPPED})


def public_counts(counts: Mapping[str, int], *, dry_run: bool) -> dict[str, int]:
    """The journal's counts in the report's words: what was claimed is in doubt, what was not sent is unprocessed."""
    words = {"claimed": "in_doubt"} | ({} if dry_run else {"ready": "unprocessed"})
    public: dict[str, int] = {}
    for status, rows in counts.items():
        word = words.get(status, status)
        public[word] = public.get(word, 0) + rows
    return public


def is_resumable(facts: Mapping[str, Any], counts: Mapping[str, int]) -> bool:
    """Whether an ended run has something to go on with: rows still to be sent, or a plan that is not whole.

    `facts` and `counts` are the journal's.
    """
    if "rows" not in facts:
        return True
    return facts["mode"] == "run" and any(counts.get(status) for status in ("ready", "claimed", "in_doubt"))


def state_of(ended: BulkresetError | None) -> str:
    """The summary's state for the way in which a run ended."""
    if ended is None:
        return "finished"
    return (
        "interrupted" if isinstance(ended, Interrupted) else "time_limit" if isinstance(ended, TimeLimit) else "stopped"
    )


def exit_code_of(ended: BulkresetError | None, counts: Mapping[str, int], *, dry_run: bool) -> int:
    """0 where every row is set or skipped (in a dry run: ready or skipped), 1 where not, or the code of what ended the run."""
    if ended is not None:
        return ended.exit_code
    done = _DONE | {Status.READY} if dry_run else _DONE
    return EXIT_OK if all(status in done for status, rows in counts.items() if rows) else EXIT_ROWS


def summarise(journal: Journal, ended: BulkresetError | None) -> Summary:
    """Count everything once more in the journal: what the summary says is what was committed."""
    facts: dict[str, Any] = journal.meta()
    found = journal.counts()
    counts = public_counts(found, dry_run=facts["mode"] == "dry_run")
    totals = journal.totals()
    sending = facts.get("sending_seconds", 0.0)
    stopped_by = None
    if ended is not None:
        code = ended.code if isinstance(ended, ServiceError) else type(ended).__name__
        stopped_by = {"code": code, "message": ended.message, "advice": ended.advice}
    return Summary(
        run_id=facts["run_id"],
        job=facts["job"]["name"],
        mode=facts["mode"],
        emulated=facts["emulated"],
        state=facts["state"],
        exit_code=facts["exit_code"],
        resumable=is_resumable(facts, found),
        started_at=facts["started_at"],
        finished_at=facts["finished_at"],
        seconds=round(facts["seconds"], 3),
        rows=sum(counts.values()),
        counts=counts,
        codes=journal.codes(),
        attempts=totals.attempts,
        throttled=totals.throttled,
        rows_per_second=round(counts.get(Status.SET, 0) / sending, 2) if sending else 0.0,
        sending_seconds=round(sending, 3),
        lanes=tuple(LaneSummary(**lane) for lane in facts.get("lanes", [])),
        input=facts["input"],
        targets=tuple(facts["targets"]),
        approved=facts.get("approved"),
        stopped_by=stopped_by,
    )
