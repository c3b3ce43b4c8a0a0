"""The access: whether a run has a mirror and where it is, and a run brought here from one. Without a mirror none of it is imported."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkreset.errors import BulkresetError, RunDirError
from bulkreset.job import S3, Job
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.log import Log

if TYPE_CHECKING:
    from bulkreset.mirror.mirror import JournalMirror


def mirror_facts(job: Job, path: Path, *, emulated: bool) -> dict[str, Any] | None:
    """What a new run's journal notes of its mirror; None where it has none. Raises JobError where it cannot have the one it is to have."""
    if not job.mirror.to or emulated:
        return None
    from bulkreset.mirror.mirror import require_usable  # noqa: PLC0415  (no mirror, no import)

    at = job.mirror.at(path.absolute().name)
    require_usable(job.mirror, at)
    return {"at": at, "generation": 0, "commit": 0}


@contextmanager
def open_mirror(
    job: Job, facts: Mapping[str, Any], home: RunDir, journal: Journal, log: Log
) -> Iterator["JournalMirror | None"]:
    """The run's mirror, held by this process within the block; None where it has none.

    Raises Busy where another machine goes on with the run, RunDirError where one has.
    """
    if not facts.get("mirror"):
        yield None
        return
    from bulkreset.mirror.mirror import JournalMirror  # noqa: PLC0415  (no mirror, no import)

    mirror = JournalMirror(
        job.mirror, facts["mirror"]["at"], home, journal, lambda problem: log.warning("mirror_behind", problem=problem)
    )
    try:
        mirror.acquire()
        yield mirror
    finally:
        mirror.release()


def finish_mirror(mirror: "JournalMirror", log: Log) -> BulkresetError | None:
    """Put what the run ends with; why that was not possible, None where it was."""
    try:
        mirror.finish()
    except BulkresetError as error:
        log.warning("mirror_behind", problem=error.message)
        return error
    return None


def fetch_run_dir(run: str, path: Path | None) -> Path:
    """The run directory: the one that is named, or a new one at `path` made from the mirror that is. Raises RunDirError."""
    if not run.startswith(S3):
        if path:
            raise RunDirError("--run-dir goes with the address of a mirror.", f"Leave it out: bulkreset resume {run}.")
        return Path(run)
    from bulkreset.mirror.restore import restore  # noqa: PLC0415  (as above)

    new = path or Path(name_of(run))
    restore(run, new)
    return new


def name_of(uri: str) -> str:
    """What a mirrored run is called."""
    return uri.rstrip("/").rpartition("/")[2]
