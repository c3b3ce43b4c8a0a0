"""The progress of a live or an ended run, read from its journal."""

import os
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bulkreset.errors import BulkresetError, StoppedBy
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.wrong_path import is_without_journal
from bulkreset.models import LaneSummary
from bulkreset.report.headline import next_commands, undo_text, wave_texts
from bulkreset.report.summary import is_resumable, lane_summaries, step_counts
from bulkreset.statuses import REMAINING, count_of, public_counts

RECENT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run as its journal shows it.

    `state` is the journal's, or `crashed` if the run has not ended and no process holds it. `rows_left` counts the rows
    to send and the steps to take. `steps` counts the users of each step after the password by its state; it is empty in
    a dry run. `rate` is the rows finished per second in the last RECENT_SECONDS; `seconds_left` is None if `rate` or
    `rows_left` is 0. `finished_at`, `exit_code` and `stopped_by` (code, message, advice) describe the end of the last
    execution; they are None while the run is running and after a crash. `undo` says that the run was undone; `waves`
    describes the users of each wave. `commands` continue the run. `control` are the orders to the running run, the
    oldest first. If the plan is not complete, `rows` and `counts` cover only the rows read so far.
    """

    run_dir: str
    job: str
    mode: str
    state: str
    alive: bool
    started_at: str
    rows: int
    plan_complete: bool = field(default=True, kw_only=True)
    counts: dict[str, int]
    codes: dict[str, int]
    attempts: int
    throttled: int
    rows_left: int
    rate: float
    seconds_left: float | None
    resumable: bool
    finished_at: str | None = None
    exit_code: int | None = None
    stopped_by: StoppedBy | None = None
    commands: tuple[str, ...] = ()
    steps: dict[str, dict[str, int]] = field(default_factory=dict)
    lanes: tuple[LaneSummary, ...] = ()
    control: tuple[dict[str, str], ...] = ()
    undo: str = ""
    waves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnreadableRun:
    """A run whose journal cannot be read. `problem` says why and what to do."""

    run_dir: str
    problem: str
    state: str = "unreadable"


def read_status(path: Path) -> RunStatus:
    """Return the status of the run in `path`. Raises RunDirError if it has no run, RecordError if it cannot be read."""
    home = RunDir.open(path)
    alive = home.is_held()
    with closing(Journal.open(home.journal, read_only=True)) as journal:
        facts = journal.state
        found = journal.read.counts(dead=not alive)
        totals = journal.read.totals()
        rate = journal.read.recent_rate(RECENT_SECONDS) if alive else 0.0
        codes = journal.read.codes()
        steps = step_counts(journal)
        lanes = lane_summaries(journal, public=not alive)
    if lanes and all(lane.limit == 0 for lane in lanes):  # paused, so the last minute says nothing about the next
        rate = 0.0
    crashed = not (facts.end or facts.abandoned_at or alive)
    left = 0 if facts.is_dry_run else count_of(found, REMAINING)
    left += sum(step["pending"] for step in steps.values())
    resumable = not alive and (
        is_resumable(facts, found, steps)
        or (not (facts.is_dry_run or facts.undos_forbid_sending) and (crashed or facts.mirror_pending))
    )
    counts = found if alive else public_counts(found, dry_run=facts.is_dry_run)
    ways = [] if alive else next_commands(facts, counts, path, resumable=resumable, steps=steps)
    end = None if alive else facts.end
    return RunStatus(
        run_dir=str(path),
        job=facts.job_name,
        mode=facts.mode,
        state="crashed" if crashed else facts.state,
        alive=alive,
        started_at=facts.started_at,
        rows=sum(found.values()),
        plan_complete=facts.is_planned,
        counts=counts,
        codes=codes,
        attempts=totals.attempts,
        throttled=totals.throttled,
        rows_left=left,
        rate=round(rate, 2),
        seconds_left=round(left / rate, 1) if rate and left else None,
        resumable=resumable,
        finished_at=end.finished_at if end else None,
        exit_code=end.exit_code if end else None,
        stopped_by=facts.stopped_by if end else None,
        commands=tuple(command for _, command in ways),
        steps=steps,
        lanes=lanes,
        control=tuple(order.model_dump() for order in facts.control),
        undo=undo_text(facts).strip(),
        waves=wave_texts(facts),
    )


def list_runs(folder: Path) -> tuple[list[RunStatus], list[UnreadableRun]]:
    """Return (statuses, unreadable runs) of all runs in `folder`, the statuses oldest first.

    Entries that are not runs are ignored.
    """
    found, unreadable = [], []
    for path in sorted(folder.iterdir()) if os.path.isdir(folder) else []:  # noqa: PTH112  (Path.is_dir may raise)
        if path.name.startswith("."):  # a run directory that was not created completely
            continue
        try:
            found.append(read_status(path))
        except BulkresetError as error:
            if os.path.isfile(RunDir(path).journal) or is_without_journal(path):  # noqa: PTH113  (as above)
                unreadable.append(UnreadableRun(str(path), str(error)))
    return sorted(found, key=lambda status: status.started_at), unreadable
