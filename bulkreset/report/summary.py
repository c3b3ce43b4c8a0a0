"""The summary of a run: its figures from the journal, how it ended, its exit code, and the file summary.json."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bulkreset.causes import resume_helps
from bulkreset.errors import EXIT_OK, EXIT_ROWS, BulkresetError, Interrupted, RowLimit, TimeLimit, WavePause
from bulkreset.files import atomic_writer
from bulkreset.journal.journal import Journal
from bulkreset.journal.records import StepCounts
from bulkreset.journal.run_state import End, RunState
from bulkreset.models import EndState, LaneSummary, Status, Summary
from bulkreset.statuses import REMAINING, are_done, count_of, public_counts
from bulkreset.steps import COLUMNS, STEPS, Counted
from bulkreset.text import json_safe, quoted


def is_resumable(state: RunState, counts: Mapping[str, int], steps: Counted) -> bool:
    """Return whether resuming an ended run can help: it has work left, and its job is not what is wrong."""
    stopped = state.end is not None and state.end.state is EndState.STOPPED
    code = state.stopped_by.code if stopped and state.stopped_by else ""
    return not state.undos_forbid_sending and has_work_left(state, counts, steps) and resume_helps(code)


def has_work_left(state: RunState, counts: Mapping[str, int], steps: Counted) -> bool:
    """Return whether an ended run has work left.

    That is: rows to send, steps to take, an incomplete plan, or a mirror or report that is not up to date.
    `state` and `counts` are the journal's; `steps` is from `step_counts`.
    """
    if state.abandoned_at:
        return False
    if not state.is_planned:
        return True
    if state.is_dry_run:
        return not state.is_finished
    left = bool(count_of(counts, REMAINING)) or any(step["pending"] for step in steps.values())
    return left or state.mirror_stale or state.reports_stale


# The first match counts: a pause between waves is a kind of row limit.
_END_STATES = {
    Interrupted: EndState.INTERRUPTED,
    TimeLimit: EndState.TIME_LIMIT,
    WavePause: EndState.WAVE,
    RowLimit: EndState.ROW_LIMIT,
}


def end_state(ended: BulkresetError | None) -> EndState:
    """Return how an execution ended, from the error that ended it early; None for a normal end."""
    if ended is None:
        return EndState.FINISHED
    return next((state for kind, state in _END_STATES.items() if isinstance(ended, kind)), EndState.STOPPED)


def exit_code_of(
    ended: BulkresetError | None,
    counts: Mapping[str, int],
    *,
    dry_run: bool,
    steps: Counted = MappingProxyType({}),
) -> int:
    """Return the exit code: that of the error that ended the run, 0 if every row is done, otherwise 1.

    A row is done if it is set or skipped; in a dry run also if it is ready. If a step that the job asked for failed
    or is pending, its row is not done.
    """
    if ended is not None:
        return ended.exit_code
    if any(step["failed"] or step["pending"] for step in steps.values()) and not dry_run:
        return EXIT_ROWS
    return EXIT_OK if are_done(counts, dry_run=dry_run) else EXIT_ROWS


def step_counts(journal: Journal) -> dict[str, dict[str, int]]:
    """Return the users of each step by its state, by the step's column. A dry run takes no steps."""
    counted: dict[str, dict[str, int]] = {}
    for name, pools in {} if journal.state.is_dry_run else journal.state.steps.items():
        found = [one for pool, one in journal.read.step_counts(STEPS[name].column).items() if pool in pools]
        counted[STEPS[name].column] = {key: sum(getattr(one, key) for one in found) for key in StepCounts._fields}
    return counted


def lane_summaries(journal: Journal, *, public: bool = True) -> tuple[LaneSummary, ...]:
    """Return each lane with its counts from the journal, with the report's statuses if `public`."""
    if not journal.state.lanes:
        return ()
    counted: dict[str, dict[str, int]] = {}
    for pool, status, rows in journal.read.pool_counts(dead=public):
        counted.setdefault(pool, {})[status] = rows
    changes = journal.read.rate_changes()
    lanes = []
    for lane in journal.state.lanes:
        counts: Counter[str] = Counter()
        for pool in lane.pools:
            counts.update(counted.get(pool, {}))
        shown = public_counts(counts, dry_run=journal.state.is_dry_run) if public else dict(counts)
        noted = changes.get((lane.account, lane.region), 0)
        lanes.append(LaneSummary(**dict(lane), counts=shown, changes=noted))
    return tuple(lanes)


def build_summary(journal: Journal, end: End, found: Mapping[str, int] | None = None) -> Summary:
    """Build the summary from the journal, so that it shows only what was committed.

    `found` are its counts, if known.
    """
    state = journal.state
    found = journal.read.counts() if found is None else found
    counts = public_counts(found, dry_run=state.is_dry_run)
    totals = journal.read.totals()
    steps = step_counts(journal)
    sending = state.sending_seconds
    return Summary(
        run_id=state.run_id,
        job=state.job_name,
        mode=state.mode,
        emulated=state.emulated,
        state=end.state.value,
        exit_code=end.exit_code,
        resumable=is_resumable(state, found, steps),
        started_at=state.started_at,
        finished_at=end.finished_at,
        seconds=round(state.seconds, 3),
        rows=sum(counts.values()),
        plan_complete=state.is_planned,
        counts=counts,
        codes=journal.read.codes(),
        attempts=totals.attempts,
        throttled=totals.throttled,
        resent=state.resent,
        rows_per_second=round(counts.get(Status.SET, 0) / sending, 2) if sending else 0.0,
        sending_seconds=round(sending, 3),
        lanes=lane_summaries(journal),
        input=state.input.model_dump(mode="json"),
        targets=tuple(target.model_dump() for target in state.targets),
        report=state.report_name,
        unchecked=state.unchecked or None,
        approved=state.approved.model_dump(exclude_none=True) if state.approved else None,
        stopped_by=end.stopped_by,
        undone=state.undone or None,
        **steps,
    )


# Omitted from summary.json if empty.
_WHERE_KNOWN = {"resent", "unchecked", "approved", *COLUMNS, "stopped_by", "undone"}


def summary_figures(summary: Summary) -> dict[str, Any]:
    """Return the content of summary.json."""
    return {key: value for key, value in asdict(summary).items() if key not in _WHERE_KNOWN or value}


def write_summary(summary: Summary, path: Path) -> None:
    """Write summary.json. Raises RecordError if it cannot be written."""
    with atomic_writer(path, rewrite_advice(path)) as file:
        file.write(json_safe(json.dumps(summary_figures(summary), indent=2, ensure_ascii=False)) + "\n")


def rewrite_advice(path: Path, form: str = "") -> str:
    """Return the advice if a file of a run directory cannot be written: the command to write it in this `form`."""
    return f"Free disk space, then run: bulkreset report {quoted(path.parent)}{f' --format {form}' if form else ''}."
