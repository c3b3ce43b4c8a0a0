"""The mirror during an undo: records the undo before it begins, and when it ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bulkreset.errors import JobError, RecordError
from bulkreset.job import Job
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.mirror.factory import open_mirror

if TYPE_CHECKING:
    from bulkreset.mirror.mirror import JournalMirror


class ToldMirror:
    """A run's mirror during an undo, if it has one. If S3 fails, the undo continues without it and reports that."""

    def __init__(self, mirror: "JournalMirror | None", notice: Callable[[str], None]) -> None:
        self._mirror = mirror
        self._notice = notice

    def tell(self) -> None:
        """Upload the journal, which records the begin of the undo. A restored run can then only continue it."""
        if self._mirror:
            self._try(self._mirror.start_generation)

    def finish(self) -> None:
        """Upload the journal and the reports."""
        if self._mirror:
            self._try(self._mirror.finish)

    def _try(self, upload: Callable[[], None]) -> None:
        try:
            upload()
        except RecordError as error:
            self._mirror = None
            self._notice(_untold(error))


@contextmanager
def open_told_mirror(job: Job, home: RunDir, journal: Journal, notice: Callable[[str], None]) -> Iterator[ToldMirror]:
    """Yield the run's mirror, held by this process in the block.

    Raises Busy if another machine is working on the run, RunDirError if another one has continued it since.
    """
    mirror = None
    with ExitStack() as stack:
        try:
            if job.mirror.to:
                mirror = stack.enter_context(open_mirror(job, home, journal, notice))
        except (RecordError, JobError) as error:
            notice(_untold(error))
        yield ToldMirror(mirror, notice)


def _untold(error: RecordError | JobError) -> str:
    return f"WARNING: the mirror does not record the undo: {error.message} Do not resume the run from it."
