"""Give up an unfinished or undone run: it can never be resumed, and its journal keeps the users who were set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bulkreset.errors import RunDirError
from bulkreset.journal.execution import utc_now
from bulkreset.journal.journal import locked_run
from bulkreset.report.rewrite import rewrite_end
from bulkreset.run.undo import require_undo_ended
from bulkreset.statuses import EXTRACTED, count_of, public_counts
from bulkreset.text import quoted


@dataclass(frozen=True, slots=True)
class AbandonedRun:
    """A run that was given up. `counts` are its rows by status; the users of `perhaps_set` rows are set, or may be.

    `mirror` is the address of its mirror in S3, "" if it has none. `from_pool`: its rows are the pools' users, not an
    input.
    """

    run_dir: Path
    counts: Mapping[str, int]
    perhaps_set: int
    mirror: str = ""
    from_pool: bool = False

    @property
    def list_remaining(self) -> str:
        """Return the command that writes an input of the users who are not set; "" if there are none."""
        return list_remaining(self.run_dir, from_pool=self.from_pool) if count_of(self.counts, EXTRACTED) else ""


def list_remaining(run_dir: Path, *, from_pool: bool = False) -> str:
    """Return the command that writes an input of the users of a run who are not set."""
    where = quoted(run_dir)
    if from_pool:  # there is no input to extract from; the new passwords are generated, so the names are enough
        return f"bulkreset report {where} --only {','.join(EXTRACTED)} -o FILE"
    return f"bulkreset extract {where} -o FILE"


def abandon(path: Path) -> AbandonedRun:
    """Give up the run in `path`, if it is not finished or was undone. Nothing is sent or deleted.

    Raises RunDirError if there is nothing to give up, Busy if a process is working on the run.
    """
    with locked_run(path) as (home, journal):
        state = journal.state
        if state.is_dry_run:
            raise RunDirError(f"{path} is a dry run: it has sent nothing, so there is nothing to give up.")
        require_undo_ended(state, path)
        if state.is_finished and not state.undone:
            raise RunDirError(f"The run {path} is finished: there is nothing to give up.")
        journal.write.change(abandoned_at=state.abandoned_at or utc_now())
        rewrite_end(home, journal)  # they say how the run can be continued
        counts = public_counts(journal.read.counts(), dry_run=False)
        mirror = state.mirror.at if state.mirror else ""
        from_pool = bool(state.job.get("input", {}).get("from_pool"))
        return AbandonedRun(path, counts, journal.read.perhaps_set(), mirror, from_pool)
