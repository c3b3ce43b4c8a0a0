"""Opens a run's mirror and fetches a run from one. Mirror modules are imported only if the run has a mirror."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bulkreset.errors import BulkresetError, JobError, RecordError, RunDirError
from bulkreset.job import S3, Job
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RUNS, RunDir
from bulkreset.journal.run_state import MirrorProgress
from bulkreset.log import Log

if TYPE_CHECKING:
    from bulkreset.mirror.mirror import JournalMirror


def mirror_facts(job: Job, path: Path, *, emulated: bool, dry_run: bool) -> MirrorProgress | None:
    """Return the mirror facts for a new run's journal; None without a mirror. Raises JobError if it is unusable.

    A dry run checks that the mirror can be read, and has none unless the job asks for it: it writes nothing to S3.
    """
    if not job.mirror.to or emulated:
        return None
    from bulkreset.mirror.mirror import require_usable  # noqa: PLC0415  (no mirror, no import)

    at = job.mirror.at(path.absolute().name)
    require_usable(job.mirror, at)
    return None if dry_run and not job.mirror.dry_run else MirrorProgress(at=at)


@contextmanager
def open_mirror(
    job: Job, home: RunDir, journal: Journal, warn: Callable[[str], None]
) -> Iterator["JournalMirror | None"]:
    """Yield the run's mirror, held by this process in the block; None if it has none. `warn` gets later problems.

    Raises RecordError or JobError if the mirror cannot be used, Busy if another machine is running the run, RunDirError if another one has continued it since.
    """
    if not journal.state.mirror:
        yield None
        return
    from bulkreset.mirror.mirror import JournalMirror  # noqa: PLC0415  (no mirror, no import)

    mirror = JournalMirror(job.mirror, journal.state.mirror.at, home, journal, warn)
    try:
        mirror.acquire()
        yield mirror
    finally:
        mirror.release()


def upload_at_end(upload: Callable[[], None], log: Log) -> BulkresetError | None:
    """Make an upload of an ended run. If it fails, log the error and return it; else return None."""
    try:
        upload()
    except BulkresetError as error:
        log.warning("mirror_behind", problem=error.message)
        return error
    return None


def leave_mirror(job: Job, home: RunDir, journal: Journal) -> None:
    """Let a run have no mirror from now on, because its mirror is permanently gone.

    If the mirror exists after all, raises Busy if another process holds it, RunDirError if one has continued the run.
    """
    if not journal.state.mirror:
        return
    with suppress(RecordError, JobError), open_mirror(job, home, journal, lambda _problem: None):
        pass  # nobody else holds it
    journal.write.change(mirror=None, mirror_stale=False, mirror_pending=False)


def fetch_run_dir(run: str, path: Path | None) -> Path:
    """Return the run directory `run`; if it is a mirror's address, restore it to `path` (default: its name, in RUNS).

    Raises RunDirError.
    """
    if not run.startswith(S3):
        if path:
            raise RunDirError("--run-dir needs the address of a mirror.", f"Leave it out: bulkreset resume {run}.")
        return Path(run)
    from bulkreset.mirror.restore import restore  # noqa: PLC0415  (as above)

    new = path or RUNS / run.rstrip("/").rpartition("/")[2]
    restore(run, new)
    return new
