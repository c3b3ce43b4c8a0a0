"""Finds other runs that have set passwords: of the same input, which would be set again, or since a run began."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from bulkreset.errors import BulkresetError
from bulkreset.journal.execution import unix_ms
from bulkreset.journal.journal import Journal
from bulkreset.journal.reader import JournalReader
from bulkreset.journal.run_dir import RUNS, RunDir
from bulkreset.journal.run_state import Phase, RunState
from bulkreset.models import Status
from bulkreset.statuses import REMAINING, UNCERTAIN, count_of
from bulkreset.text import format_time

MOST = 500  # runs of a folder that are read, the newest first


@dataclass(frozen=True, slots=True)
class OtherRun:
    """Another run that has set passwords, or may have.

    `undone`: a pool was restored to the time before it. `resumable`: it has rows left, and may go on.
    """

    run_dir: str
    started_at: str
    set_rows: int
    in_doubt: int
    undone: bool = False
    resumable: bool = False

    def __str__(self) -> str:
        doubt = f", {self.in_doubt:,} in doubt" if self.in_doubt else ""
        return f"run on {format_time(self.started_at)} in {self.run_dir}: {self.set_rows:,} set{doubt}{', undone since' if self.undone else ''}"


def find_earlier_runs(state: RunState, path: Path) -> tuple[OtherRun, ...]:
    """Return the earlier runs of a run's input, newest first: those in RUNS, and in its own folder if it has that name.

    If the rows are the pools' users, there is no input and no earlier run.
    """
    pools = {target.user_pool_id for target in state.targets}
    if not state.input.sha256:
        return ()

    def rows_of(other: RunState, journal: JournalReader) -> Mapping[str, int]:
        same = other.input.sha256 == state.input.sha256 and any(it.user_pool_id in pools for it in other.targets)
        return journal.counts() if same and other.phase is Phase.APPLYING else {}

    return _other_runs(state, path, rows_of, beside=path.absolute().parent.name == RUNS.name)


def find_later_runs(state: RunState, path: Path, pool: str) -> tuple[OtherRun, ...]:
    """Return the runs that have set passwords in a pool since a run's recovery point, newest first.

    They are looked for in RUNS and beside `path`.
    """
    since = unix_ms(state.recovery_point) if state.recovery_point else 0

    def rows_of(other: RunState, journal: JournalReader) -> Mapping[str, int]:
        if not other.recovery_point or pool in other.undone:
            return {}
        later = unix_ms(other.recovery_point) >= since or journal.sent_since(since)
        return {status: rows for at, status, rows in journal.pool_counts() if at == pool} if later else {}

    return _other_runs(state, path, rows_of, beside=True)


def _other_runs(
    state: RunState, path: Path, rows_of: Callable[[RunState, JournalReader], Mapping[str, int]], *, beside: bool
) -> tuple[OtherRun, ...]:
    """Return the other real runs that have set passwords, newest first. `rows_of` returns the rows to see, by status.

    A run whose journal cannot be read is skipped.
    """
    found = []
    for place in _run_dirs(path, beside=beside):
        with (
            suppress(BulkresetError, OSError),
            closing(Journal.open(RunDir.open(place).journal, read_only=True)) as journal,
        ):
            other = journal.state
            if other.run_id != state.run_id and not other.emulated:
                found.append(_described(place, other, rows_of(other, journal.read)))
    return tuple(sorted((run for run in found if run), key=lambda run: run.started_at, reverse=True))


def _run_dirs(path: Path, *, beside: bool) -> Iterator[Path]:
    """Yield the directories in RUNS, and with `beside` those in the folder of `path`."""
    folders = {os.path.realpath(RUNS): RUNS}
    if beside:
        folders.setdefault(os.path.realpath(path.absolute().parent), path.parent)
    for folder in folders.values():
        entries: Sequence[os.DirEntry[str]] = []
        try:
            with os.scandir(folder) as listed:
                entries = [entry for entry in listed if not entry.name.startswith(".") and entry.is_dir()]
            entries = sorted(entries, key=lambda entry: entry.stat().st_mtime, reverse=True)[:MOST]
        except OSError:
            continue
        yield from (Path(entry.path) for entry in entries)


def _described(place: Path, other: RunState, counts: Mapping[str, int]) -> OtherRun | None:
    """Return a run with these rows by status, None if it has set no password."""
    over = other.abandoned_at or other.undos_forbid_sending
    run = OtherRun(
        run_dir=str(place),
        started_at=other.started_at,
        set_rows=counts.get(Status.SET, 0),
        in_doubt=count_of(counts, UNCERTAIN),
        undone=bool(other.undone),
        resumable=not over and bool(count_of(counts, REMAINING)),
    )
    return run if run.set_rows or run.in_doubt else None
