"""Finds runs that have set passwords of the same input in the same pools: running it again would set them again."""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bulkreset.errors import BulkresetError
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RUNS, RunDir
from bulkreset.journal.run_state import Phase, RunState
from bulkreset.models import Status
from bulkreset.statuses import UNCERTAIN, count_of
from bulkreset.text import format_time

MOST = 500  # runs of a folder that are read, the newest first


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """A run of the same input that has set passwords, or may have."""

    run_dir: str
    started_at: str
    set_rows: int
    in_doubt: int

    def __str__(self) -> str:
        doubt = f", {self.in_doubt:,} in doubt" if self.in_doubt else ""
        return f"run on {format_time(self.started_at)} in {self.run_dir}: {self.set_rows:,} set{doubt}"


def find_earlier_runs(state: RunState, path: Path) -> tuple[EarlierRun, ...]:
    """Return the earlier runs of a run's input, newest first: those in RUNS, and in its own folder if it has that name.

    A run with an unreadable journal is skipped. If the rows are the pools' users, there is no input and no earlier run.
    """
    pools = {target.user_pool_id for target in state.targets}
    if not state.input.sha256:
        return ()
    found = [run for place in _run_dirs(path) if (run := _read(place, state, pools))]
    return tuple(sorted(found, key=lambda run: run.started_at, reverse=True))


def _run_dirs(path: Path) -> Iterator[Path]:
    folders = {os.path.realpath(RUNS): RUNS}
    if path.absolute().parent.name == RUNS.name:
        folders.setdefault(os.path.realpath(path.parent), path.parent)
    for folder in folders.values():
        entries: Sequence[os.DirEntry[str]] = []
        try:
            with os.scandir(folder) as listed:
                entries = [entry for entry in listed if not entry.name.startswith(".") and entry.is_dir()]
            entries = sorted(entries, key=lambda entry: entry.stat().st_mtime, reverse=True)[:MOST]
        except OSError:
            continue
        yield from (Path(entry.path) for entry in entries)


def _read(place: Path, state: RunState, pools: Collection[str]) -> EarlierRun | None:
    journal_path = RunDir(place).journal
    try:
        if not journal_path.is_file():
            return None
        with closing(Journal.open(journal_path, read_only=True)) as journal:
            other = journal.state
            same = other.input.sha256 == state.input.sha256 and any(it.user_pool_id in pools for it in other.targets)
            if not same or other.run_id == state.run_id or other.emulated or other.phase is not Phase.APPLYING:
                return None
            counts = journal.read.counts()
    except (BulkresetError, OSError):
        return None
    run = EarlierRun(str(place), other.started_at, counts.get(Status.SET, 0), count_of(counts, UNCERTAIN))
    return run if run.set_rows or run.in_doubt else None
