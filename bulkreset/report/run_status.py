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
from bulkreset.report.headline import next_commands
from bulkreset.report.summary import is_resumable, lane_summaries, sign_out_counts
from bulkreset.statuses import REMAINING, count_of, public_counts

RECENT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run as its journal shows it.

    `state` is the journal's, or `crashed` if the run should be under way and no process holds it. `rows_left` counts
    the rows to send and the users to sign out. `sign_outs` is None if the job asks for none, and in a dry run. `rate`
    is the rows settled per second in the last RECENT_SECONDS; `seconds_left` is None if `rate` or `rows_left` is 0.
    `finished_at`, `exit_code` and `stopped_by` (code, message, advice) tell how the last execution ended; they are None
    while the run is running and after a crash. `commands` are the commands that continue the run.
    If the plan is not complete, `rows` and `counts` cover only the rows read so far.
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
    sign_outs: dict[str, int] | None = None
    lanes: tuple[LaneSummary, ...] = ()


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
        sign_outs = sign_out_counts(journal)
        lanes = lane_summaries(journal, public=not alive)
    crashed = not (facts.end or facts.abandoned_at or alive)
    left = 0 if facts.is_dry_run else count_of(found, REMAINING)
    left += sign_outs["pending"] if sign_outs else 0
    resumable = not alive and (
        is_resumable(facts, found, sign_outs) or (not facts.is_dry_run and (crashed or facts.mirror_pending))
    )
    counts = found if alive else public_counts(found, dry_run=facts.is_dry_run)
    stayed = sign_outs["failed"] if sign_outs else 0
    ways = [] if alive else next_commands(facts, counts, path, resumable=resumable, stayed=stayed)
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
        stopped_by=end.stopped_by if end else None,
        commands=tuple(command for _, command in ways),
        sign_outs=sign_outs,
        lanes=lanes,
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
