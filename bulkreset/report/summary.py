"""The summary of a run in figures, built from its journal."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from bulkreset.errors import EXIT_OK, EXIT_ROWS, BulkresetError, Interrupted, RowLimit, ServiceError, TimeLimit
from bulkreset.journal.journal import Journal
from bulkreset.journal.queries import SignOutCounts
from bulkreset.journal.run_dir import report_name
from bulkreset.models import LaneSummary, Status, Summary

ABANDONED = "abandoned"  # the state of a run that was given up
_DONE = frozenset({Status.SET, Status.SKIPPED})


def public_counts(counts: Mapping[str, int], *, dry_run: bool) -> dict[str, int]:
    """Return the journal's counts as report statuses: claimed is in_doubt; ready is unprocessed (not in a dry run)."""
    words = {"claimed": "in_doubt"} | ({} if dry_run else {"ready": "unprocessed"})
    public: dict[str, int] = {}
    for status, rows in counts.items():
        word = words.get(status, status)
        public[word] = public.get(word, 0) + rows
    return public


def is_planned(facts: Mapping[str, Any]) -> bool:
    """Return whether the plan is complete. The journal stores the number of rows last."""
    return "rows" in facts


def is_resumable(facts: Mapping[str, Any], counts: Mapping[str, int], sign_outs: Mapping[str, int] | None) -> bool:
    """Return whether an ended run has work left.

    That is: rows to send, users to sign out, an incomplete plan, or a mirror or report that is not up to date.
    `facts` and `counts` are the journal's; `sign_outs` is None if the job asks for none.
    """
    if facts["state"] == ABANDONED:
        return False
    if not is_planned(facts):
        return True
    if facts["mode"] == "dry_run":
        return bool(facts["state"] != "finished")
    left = any(counts.get(status) for status in ("ready", "claimed", "in_doubt"))
    return left or bool(sign_outs and sign_outs["pending"]) or bool(facts.get("unmirrored") or facts.get("undrawn"))


_STATES = {Interrupted: "interrupted", TimeLimit: "time_limit", RowLimit: "row_limit"}


def state_of(ended: BulkresetError | None) -> str:
    """Return the summary's state for the error that ended the run, None for a normal end."""
    if ended is None:
        return "finished"
    return next((state for kind, state in _STATES.items() if isinstance(ended, kind)), "stopped")


def exit_code_of(
    ended: BulkresetError | None,
    counts: Mapping[str, int],
    *,
    dry_run: bool,
    signed_out: Mapping[str, int] | None = None,
) -> int:
    """Return the exit code: that of the error that ended the run, 0 if every row is done, otherwise 1.

    A row is done if it is set or skipped; in a dry run also if it is ready. If a sign-out that the job asked for failed
    or is pending, its row is not done.
    """
    if ended is not None:
        return ended.exit_code
    if signed_out and (signed_out["failed"] or signed_out["pending"]) and not dry_run:
        return EXIT_ROWS
    done = _DONE | {Status.READY} if dry_run else _DONE
    return EXIT_OK if all(status in done for status, rows in counts.items() if rows) else EXIT_ROWS


def sign_out_counts(journal: Journal, facts: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the sign-outs by state. None if the job asks for none, and in a dry run, which signs nobody out."""
    if not facts.get("signs_out") or facts["mode"] == "dry_run":
        return None
    found = journal.sign_outs().values()
    return {name: sum(getattr(one, name) for one in found) for name in SignOutCounts._fields}


def describe_error(ended: BulkresetError | None) -> dict[str, str] | None:
    """Return the error as the summary shows it: code, message and advice. None if there was no error."""
    if ended is None:
        return None
    code = ended.code if isinstance(ended, ServiceError) else type(ended).__name__
    return {"code": code, "message": ended.message, "advice": ended.advice}


def lane_summaries(journal: Journal, facts: Mapping[str, Any], *, public: bool = True) -> tuple[LaneSummary, ...]:
    """Return each lane with its counts from the journal, with the report's statuses if `public`."""
    dry_run = facts["mode"] == "dry_run"
    counted: dict[str, dict[str, int]] = {}
    for pool, status, rows in journal.pool_counts():
        counted.setdefault(pool, {})[status] = rows
    changes = journal.rate_changes()
    lanes = []
    for known in facts.get("lanes", []):
        counts: Counter[str] = Counter()
        for pool in known.get("pools", ()):
            counts.update(counted.get(pool, {}))
        shown = public_counts(counts, dry_run=dry_run) if public else dict(counts)
        noted = changes.get((known["account"], known["region"]), 0)
        lanes.append(LaneSummary(**known | {"counts": shown, "changes": noted}))
    return tuple(lanes)


def build_summary(journal: Journal, ended: BulkresetError | None) -> Summary:
    """Build the summary by counting the journal again, so that it shows only what was committed."""
    facts: dict[str, Any] = journal.meta()
    found = journal.counts()
    counts = public_counts(found, dry_run=facts["mode"] == "dry_run")
    totals = journal.totals()
    leavers = sign_out_counts(journal, facts)
    sending = facts.get("sending_seconds", 0.0)
    return Summary(
        run_id=facts["run_id"],
        job=facts["job"]["name"],
        mode=facts["mode"],
        emulated=facts["emulated"],
        state=facts["state"],
        exit_code=facts["exit_code"],
        resumable=is_resumable(facts, found, leavers),
        started_at=facts["started_at"],
        finished_at=facts["finished_at"],
        seconds=round(facts["seconds"], 3),
        rows=sum(counts.values()),
        plan_complete=is_planned(facts),
        counts=counts,
        codes=journal.codes(),
        attempts=totals.attempts,
        throttled=totals.throttled,
        rows_per_second=round(counts.get(Status.SET, 0) / sending, 2) if sending else 0.0,
        sending_seconds=round(sending, 3),
        lanes=lane_summaries(journal, facts),
        input=facts["input"],
        targets=tuple(facts["targets"]),
        report=report_name(facts["job"]),
        unchecked=facts.get("unchecked") or None,
        approved=facts.get("approved"),
        signed_out=leavers,
        stopped_by=describe_error(ended),
    )
