"""Scheduled runs of a job: each input is processed once, and an unfinished run is finished first."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from bulkreset.cancellation import CancelToken, UserInterface
from bulkreset.clock import Clock
from bulkreset.errors import BulkresetError, InputError, RecordError, Refused, RunDirError, Stopped
from bulkreset.input.discovery import InputMissing, escape_pattern, find_existing
from bulkreset.input.location import Fingerprint, InputFile
from bulkreset.job import Job, Location
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir, RunMissing, give_back, new_path, require_free, reserve_path
from bulkreset.mirror.factory import fetch_run_dir
from bulkreset.mirror.lease import SINCE_BOOT
from bulkreset.notify.execution_reporter import ExecutionReporter
from bulkreset.run.archive import archive_input, find_unarchived
from bulkreset.run.context import RunEnd, RunOptions
from bulkreset.run.run import run
from bulkreset.run.schedule_state import CompletedInput, OpenRun, ScheduleState, StateStore
from bulkreset.run.start import new_run, resume, start
from bulkreset.s3 import Bucket
from bulkreset.text import format_iso


def run_job(job: Job, path: Path | None, options: RunOptions, ui: UserInterface, stop: CancelToken) -> Iterator[RunEnd]:
    """Run a job in the new run directory `path` (default: in RUNS). Yields the end of each run.

    A job without a state runs once. With a state it runs each input once: it may finish an earlier run first, and it
    runs nothing if no input is new. Raises the errors of `start` and `ScheduledJob.run`.
    """
    if job.schedule.state:
        yield from ScheduledJob(job, job.schedule.state, options, ui, stop).run(lambda: path or new_path(job.name))
    else:
        at = path or reserve_path(job.name)
        try:
            yield start(job, at, options, ui, stop)
        finally:
            give_back(at)


class ScheduledJob:
    """One scheduled run of a job with a state. Dry runs and emulated runs do not change the state.

    `clock` measures the state's lease.
    """

    def __init__(
        self,
        job: Job,
        state: Location,
        mode: RunOptions,
        ui: UserInterface,
        stop: CancelToken,
        clock: Clock = SINCE_BOOT,
    ) -> None:
        self._job = job
        self._mode = mode
        self._ui = ui
        self._stop = stop
        self._bucket = Bucket(job.input.profile, job.input.region)
        self._kept = StateStore(state, self._bucket, clock)
        self._state = ScheduleState()

    def run(self, named: Callable[[], Path]) -> Iterator[RunEnd]:
        """Finish the unfinished run, then run all new inputs as one run. Yields the end of each.

        `named` returns a new run directory. Raises what a run raises, Busy if another scheduled run is in progress or
        has taken over the state, InputMissing if an input is expected and none is new.
        """
        if self._mode.dry_run or self._mode.emulate:
            self._state = self._kept.read()
            yield from self._start_run(named, remembered=False)
            return
        with self._kept.locked(), self._stop.add_check(self._kept.check):
            with self._report_execution(counts=True):
                self._state = self._kept.read()
            finished = self._finish_open_run() if self._state.open_run else None
            if finished:
                yield finished
                if finished.error:
                    return
            self._archive_completed()
            yield from self._start_run(named, remembered=True, one_ran=finished is not None)

    def _finish_open_run(self) -> RunEnd | None:
        """Resume the unfinished run. Returns None if it had finished already, or cannot be resumed."""
        path = Path(self._state.open_run.run_dir) if self._state.open_run else Path()
        if _is_gone(path) and not self._restored_from_mirror(path):
            self._require_nothing_sent(path)
            self._forget_open_run()
            return None
        if Journal.state_in(RunDir.open(path).journal).is_finished:
            self._note_completed(path)
            return None
        try:
            end = resume(path, self._mode, {}, self._ui, self._stop)
        except InputError as error:
            self._ui.notice(
                f"The unfinished run {path} cannot be gone on with: {error.message}"
                f" Its report says what it has sent: bulkreset report {path}. Those of its inputs that are there are new, as a whole."
            )
            self._forget_open_run()
            return None
        if not end.error:
            self._note_completed(path)
        return end

    def _require_nothing_sent(self, path: Path) -> None:
        """Raise RunDirError if a missing run may have sent rows.

        A run with a mirror uploads its data before it sends a row, so a run missing in its mirror has sent nothing.
        """
        begun = self._state.open_run
        if not begun or not begun.created:
            return
        if begun.mirror:
            self._ui.notice(
                f"Nothing of the unfinished run {path} is in its mirror, so it had sent nothing: its inputs are new."
            )
            return
        with self._report_execution(counts=True):
            raise RunDirError(
                f"The unfinished run {path} is not there any more. It may have set users, whom a new run would set again.",
                "Bring the directory back, or run the job on the machine that has it. If it is lost and they may be set again,"
                f' set "open_run" to null in the state {self._kept.where}.',
            )

    def _restored_from_mirror(self, path: Path) -> bool:
        """Return whether the run could be fetched from its mirror."""
        begun = self._state.open_run
        if not begun or not begun.mirror:
            return False
        try:
            fetch_run_dir(begun.mirror, path)
        except RunMissing:
            return False
        return True

    def _start_run(self, named: Callable[[], Path], *, remembered: bool, one_ran: bool = False) -> Iterator[RunEnd]:
        with self._report_execution(counts=remembered) as told:
            new = self._new_inputs()
            if not new:
                if remembered:  # keeps the file identities, so that known inputs need not be read again
                    self._kept.write(self._state)
                if self._job.schedule.expected and not one_ran:
                    raise InputMissing(
                        f"There is no new input at {self._job.input.named}, and one is expected.",
                        "Look at the export; then run the job again.",
                    )
                if not one_ran:  # otherwise the metrics of that run stay
                    told.idle()
                return
        given = {"path": tuple(escape_pattern(place.where) for place in new)}
        spec = self._job.input.model_validate(self._job.input.model_dump() | given)
        path = named()
        if remembered:
            with self._report_execution(counts=True):
                require_free(path)  # otherwise the state would name another run
            self._state.open_run = OpenRun(
                str(path.absolute()), [str(place.where) for place in new], self._mirror_of(path)
            )
            self._kept.write(self._state)
        job = self._job.model_copy(update={"input": spec})
        try:
            with new_run(job, path, self._mode, self._ui, self._stop) as context:
                if remembered:
                    self._note_run_created()
                end = run(context)
        except Refused:
            if remembered:
                self._forget_refused_run(path)
            raise
        if remembered and not end.error:
            self._note_completed(path)
            self._archive_completed()
        yield end

    def _report_execution(self, *, counts: bool) -> ExecutionReporter:
        """Return a context manager for work outside a run. It reports an error as a run's error would be reported."""
        return ExecutionReporter(self._job, Path(), self._mode.out, self._ui.notice, counts=counts)

    def _mirror_of(self, path: Path) -> str:
        return self._job.mirror.at(path.absolute().name) if self._job.mirror.to else ""

    def _new_inputs(self) -> list[InputFile]:
        """Return the inputs that are new, or changed since completion. Raises InputError if one cannot be read."""
        try:
            with self._stop.watching():
                return [place for place in find_existing(self._job.input) if not self._is_known(place)]
        except Stopped as error:
            raise InputError(error.message, error.advice) from None

    def _is_known(self, place: InputFile) -> bool:
        was = self._state.completed.get(str(place.where))
        if was is None:
            return False
        seen = [*place.identity()] if isinstance(place.where, Path) else []
        if seen and was.identity == seen:
            return True
        if not place.is_unchanged(Fingerprint(was.size, was.sha256, was.version)):
            return False
        was.identity = seen
        return True

    def _note_completed(self, path: Path) -> None:
        """Record the inputs of a finished run as completed, with the fingerprints in its journal."""
        begun = self._state.open_run
        with closing(Journal.open(RunDir(path).journal, read_only=True)) as journal:
            files, run_id = journal.read.files(), journal.state.run_id
        now = format_iso(time.time() * 1000, "seconds")
        for where, file in zip(begun.inputs if begun else (), files, strict=True):
            self._state.completed[where] = CompletedInput(file.size, file.sha256, file.version, [], run_id, now)
        self._forget_open_run()

    def _note_run_created(self) -> None:
        """Record that the run's directory exists."""
        if self._state.open_run:
            self._state.open_run.created = True
            self._kept.write(self._state)

    def _forget_refused_run(self, path: Path) -> None:
        """Forget a refused run if its directory was deleted again: it sent nothing."""
        begun = self._state.open_run
        if begun and begun.created and _is_gone(path):
            try:
                self._forget_open_run()
            except BulkresetError as error:  # the reason for the refusal must stay the final error
                self._ui.notice(str(error))

    def _forget_open_run(self) -> None:
        self._state.open_run = None
        self._kept.write(self._state)

    def _archive_completed(self) -> None:
        """Move or tag completed inputs that are still in place. Failures are reported and retried next time."""
        done = self._job.schedule.done
        if done is None:
            return
        for where, one in self._state.completed.items():
            if one.archived_at:
                continue
            try:
                place = find_unarchived(where, self._bucket)
                mark = Fingerprint(one.size, one.sha256, one.version)
                one.archived_at = archive_input(place, mark, done, one.run_id, self._bucket) if place else "gone"
            except RecordError as error:
                self._ui.notice(str(error))
        self._kept.write(self._state)


def _is_gone(path: Path) -> bool:
    """Return whether the run is missing. A run that cannot be checked counts as present."""
    try:
        return not RunDir(path).journal.is_file()
    except OSError:
        return False
