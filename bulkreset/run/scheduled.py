"""Scheduled runs of a job: each input is processed once, and an unfinished run is finished first."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from bulkreset.cancellation import CancelToken, UserInterface
from bulkreset.clock import SINCE_BOOT, Clock
from bulkreset.errors import BulkresetError, InputError, JobError, RecordError, Refused, RunDirError, Stopped
from bulkreset.input.discovery import SHOWN, InputMissing, describe_unread, discover_existing, escape_pattern
from bulkreset.input.location import Fingerprint, InputFile
from bulkreset.job import Job, Location
from bulkreset.job.file import job_from_journal
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir, RunMissing, give_back, new_path, require_free, reserve_path
from bulkreset.mirror.factory import fetch_run_dir
from bulkreset.models import format_rows
from bulkreset.notify.execution_reporter import ExecutionReporter
from bulkreset.plan.approval import flatten
from bulkreset.run.abandon import abandon, list_remaining
from bulkreset.run.archive import archive_input, find_unarchived
from bulkreset.run.context import RunEnd, RunOptions
from bulkreset.run.readiness import held_back
from bulkreset.run.run import run
from bulkreset.run.schedule_state import ABANDONED, CompletedInput, OpenRun, ScheduleState, SetAside, StateStore
from bulkreset.run.start_and_resume import new_run, resume, start
from bulkreset.run.undo import require_undo_ended
from bulkreset.s3 import Bucket
from bulkreset.text import format_iso, quoted


@dataclass(slots=True)
class LeftOut:
    """The inputs that a scheduled run leaves out, each in a sentence: `held` are not read yet, `set_aside` are bad."""

    held: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)


def run_job(
    job: Job,
    path: Path | None,
    options: RunOptions,
    ui: UserInterface,
    stop: CancelToken,
    left_out: LeftOut | None = None,
) -> Iterator[RunEnd]:
    """Run a job in the new run directory `path` (default: in RUNS). Yields the end of each run.

    A job without a state runs once. With a state it runs each input once: it may finish an earlier run first, and it
    runs nothing if no input is new; `left_out` is filled with the inputs that it does not run. Raises the errors of
    `start` and `ScheduledJob.run`.
    """
    if job.schedule.state:
        scheduled = ScheduledJob(job, job.schedule.state, options, ui, stop, left_out=left_out)
        yield from scheduled.run(lambda: path or new_path(job.name))
    else:
        at = path or reserve_path(job.name)
        try:
            yield start(job, at, options, ui, stop)
        finally:
            give_back(at)


class ScheduledJob:
    """One scheduled run of a job with a state. Dry runs and emulated runs do not change the state.

    `clock` measures the state's lease, `wall` is Unix time. After `run`, `left_out` has the inputs that it did not run.
    """

    def __init__(
        self,
        job: Job,
        state: Location,
        mode: RunOptions,
        ui: UserInterface,
        stop: CancelToken,
        clock: Clock = SINCE_BOOT,
        wall: Callable[[], float] = time.time,
        left_out: LeftOut | None = None,
    ) -> None:
        self._job = job
        self._mode = mode
        self._ui = ui
        self._stop = stop
        self._bucket = Bucket(job.input.profile, job.input.region)
        self._kept = StateStore(state, self._bucket, clock)
        self._state = ScheduleState()
        self._wall = wall
        self._unread: list[str] = []  # a sentence about the files that are not inputs
        self.left_out = left_out or LeftOut()

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
                self._require_last_run_not_undone()
            finished = self._finish_open_run(self._state.open_run) if self._state.open_run else None
            if finished:
                yield finished
                if finished.error:
                    return
            self._archive_completed()
            yield from self._start_run(named, remembered=True, one_ran=finished is not None)

    def _require_last_run_not_undone(self) -> None:
        """Raise RunDirError if the unfinished or the last run was undone, unless it was given up since.

        Its passwords were reverted. The next run could set them again, or depend on them.
        """
        open_run = self._state.open_run
        path = Path(open_run.run_dir if open_run else self._state.last_run)
        if not path.name or _is_gone(path):
            return
        try:
            state = Journal.state_in(RunDir.open(path).journal)
        except (RunDirError, RecordError) as error:
            if open_run:
                raise
            # A finished run's journal is not needed any more; it may have another version.
            self._ui.notice(f"It is not known whether the last run {path} was undone. {error}")
            return
        if state.undos_forbid_sending and not state.abandoned_at:
            require_undo_ended(state, path)
            raise RunDirError(
                f"The last run {path} was undone: its users have the passwords that they had before it. Nothing is run until"
                " you decide about its inputs and the next ones.",
                f"Then give the run up: bulkreset abandon {quoted(path)}. Its inputs are not run again, the next"
                " ones are.",
            )

    def _finish_open_run(self, begun: OpenRun) -> RunEnd | None:
        """Resume the unfinished run. Returns None if it had already finished, or cannot be resumed."""
        path = Path(begun.run_dir)
        if _is_gone(path) and not _restored_from_mirror(begun):
            self._require_nothing_sent(begun)
            self._forget_open_run()
            return None
        state = Journal.state_in(RunDir.open(path).journal)
        if state.is_finished and not state.mirror_pending:
            self._note_completed(begun)
            return None
        if state.abandoned_at or (not state.is_finished and self._gives_up(path)):
            self._close_abandoned(begun)
            return None
        try:
            end = resume(path, self._mode, {}, self._ui, self._stop)
        except InputError as error:
            self._ui.notice(
                f"The unfinished run {path} cannot be continued: {error.message}"
                f" Its report says what it has sent: bulkreset report {quoted(path)}. Its inputs that still exist count as new, with all rows."
            )
            self._forget_open_run()
            return None
        if not end.error:
            self._note_completed(begun)
        return end

    def _gives_up(self, path: Path) -> bool:
        """Give up the unfinished run if the job has changed since and no user was set.

        Return whether it was given up.
        """
        changed = _changed_keys(path, self._job)
        if not changed:
            return False
        what = f"The job has changed since the unfinished run {path} was begun ({', '.join(changed)})."
        if perhaps := _perhaps_set(path):
            self._ui.notice(
                f"{what} {format_rows(perhaps)} of it are set, or may be, so it is resumed with its own job."
                f" To give it up: bulkreset abandon {quoted(path)}"
            )
            return False
        abandon(path)
        self._ui.notice(f"{what} It has set no user, so it is given up.")
        return True

    def _close_abandoned(self, begun: OpenRun) -> None:
        """Remove a run that was given up. Its inputs count as new only if no user was set."""
        path = Path(begun.run_dir)
        perhaps = _perhaps_set(path)
        if not perhaps:
            self._ui.notice(f"The run {path} was given up and has set no user: its inputs are new.")
            self._forget_open_run()
            return
        self._ui.notice(
            f"The run {path} was given up: {format_rows(perhaps)} of it are set, or may be, so its inputs are not new."
            f" To write an input of the users who are not set: {list_remaining(path)}"
        )
        self._note_completed(begun, archived_at=ABANDONED)

    def _require_nothing_sent(self, begun: OpenRun) -> None:
        """Raise RunDirError if a missing run may have sent rows.

        A run with a mirror uploads its data before it sends a row, so a run missing in its mirror has sent nothing.
        """
        if not begun.created:
            return
        if begun.mirror:
            self._ui.notice(
                f"Nothing of the unfinished run {begun.run_dir} is in its mirror, so it had sent nothing: its inputs are new."
            )
            return
        with self._report_execution(counts=True):
            raise RunDirError(
                f"The unfinished run {begun.run_dir} is missing. It may have set passwords, and a new run would set them again.",
                "Restore the directory, or run the job on the machine that has it. If it is lost and the users may be set again,"
                f' set "open_run" to null in the state {self._kept.where}.',
            )

    def _start_run(self, named: Callable[[], Path], *, remembered: bool, one_ran: bool = False) -> Iterator[RunEnd]:
        with self._report_execution(counts=remembered) as report:
            new = self._new_inputs()
            for sentence in self.left_out.set_aside:
                self._ui.notice(sentence)
            if not new:
                if remembered:  # keep the file identities, so that known inputs need not be read again
                    self._kept.write(self._state)
                if self._job.schedule.expected and not one_ran:
                    raise InputMissing(
                        f"There is no new input at {self._job.input.named}, and one is expected.",
                        " ".join([*self.left_out.held, *self.left_out.set_aside, *self._unread])
                        or "Check the export, then run the job again.",
                    )
                if not one_ran:  # otherwise the metrics of that run stay
                    report.idle()
                return
        yield self._run_readable(new, named, remembered=remembered)

    def _run_readable(self, new: list[InputFile], named: Callable[[], Path], *, remembered: bool) -> RunEnd:
        """Run the inputs as one run. If the job says so, set unreadable ones aside.

        If none can be read, none is set aside, because the job may be wrong.
        """
        bad: dict[str, SetAside] = {}
        while True:
            try:
                ended = self._run_inputs(new, named(), remembered=remembered)
                break
            except InputError as error:
                place = next((one for one in new if str(one.where) == error.where), None)
                if place is None or len(new) == 1:
                    raise
                if self._job.schedule.on_bad_input == "stop":
                    wait = "1 other new input waits" if len(new) == 2 else f"{len(new) - 1:,} other new inputs wait"  # noqa: PLR2004
                    error.advice += f' Until then {wait}; schedule.on_bad_input = "skip" runs the others.'
                    raise
                new = [one for one in new if one is not place]
                now = format_iso(self._wall() * 1000, "seconds")
                bad[error.where] = SetAside(_identity_of(place), self._reading, error.message, now)
                sentence = (
                    f"The input {place.where} is set aside until it or the job's [input] changes: {error.message}"
                )
                self.left_out.set_aside.append(sentence)
                self._ui.notice(f"{sentence} {error.advice}".strip())
        if remembered and bad:
            self._state.aside |= bad
            self._kept.write(self._state)
        return ended

    def _run_inputs(self, new: list[InputFile], path: Path, *, remembered: bool) -> RunEnd:
        """Run these inputs as one run. Raises what `start` raises."""
        if [place.where for place in new] == [self._job.input.path]:
            spec = self._job.input  # the job names this one file
        else:
            given = {"path": tuple(escape_pattern(place.where) for place in new)}
            spec = self._job.input.model_validate(self._job.input.model_dump() | given)
        begun = None
        if remembered:
            with self._report_execution(counts=True):
                require_free(path)  # otherwise the state would name another run
            mirror = self._job.mirror.at(path.absolute().name) if self._job.mirror.to else ""
            begun = OpenRun(str(path.absolute()), [str(place.where) for place in new], mirror, created=False)
            self._state.open_run = begun
            self._kept.write(self._state)
        job = self._job.model_copy(update={"input": spec})
        mode = replace(self._mode, remarks=(*self._unread, *self.left_out.held, *self.left_out.set_aside))
        try:
            with new_run(job, path, mode, self._ui, self._stop) as context:
                if begun:
                    begun.created = True
                    self._kept.write(self._state)
                end = run(context)
        except Refused:
            if begun and begun.created and _is_gone(path):  # its directory was deleted: it sent nothing
                try:
                    self._forget_open_run()
                except BulkresetError as error:  # the reason for the refusal must stay the final error
                    self._ui.notice(str(error))
            raise
        if begun and not end.error:
            self._note_completed(begun)
            self._archive_completed()
        return end

    def _report_execution(self, *, counts: bool) -> ExecutionReporter:
        """Return a context manager for work outside a run. It reports an error as a run's error would be reported."""
        return ExecutionReporter(self._job, Path(), self._mode.out, self._ui.notice, counts=counts)

    def _new_inputs(self) -> list[InputFile]:
        """Return the inputs that are new, or changed since completion, and may be read now.

        Raises InputError if one cannot be read.
        """
        schedule = self._job.schedule
        try:
            with self._stop.watching():
                found = discover_existing(self._job.input)
                new = [place for place in found.files if not (self._is_own(place.where) or self._is_known(place))]
                held = held_back(schedule, new, self._bucket, self._wall())
        except Stopped as error:
            raise InputError(error.message, error.advice) from None
        unread = describe_unread([one for one in found.unread if not self._is_own(one.where)])
        self._unread = [unread] if unread else []
        if unread:
            self._ui.notice(unread)
        self.left_out.held = [f"The input {where} is not read yet: {why}." for where, why in [*held.items()][:SHOWN]]
        if len(held) > SHOWN:
            self.left_out.held.append(f"{len(held) - SHOWN:,} more inputs are not read yet.")
        aside = {
            place.where: f"The input {place.where} is still set aside: {known.why}"
            for place in new
            if (known := self._state.aside.get(str(place.where)))
            and (known.identity, known.job) == (_identity_of(place), self._reading)
        }
        self.left_out.set_aside = list(aside.values())
        return [place for place in new if place.where not in held and place.where not in aside]

    def _is_own(self, where: Location) -> bool:
        """Return whether a file beside the inputs is the schedule's own: state, lock, marker, or finished input."""
        schedule, path = self._job.schedule, str(where).rstrip("/")
        done = str(schedule.done).rstrip("/") if schedule.done else None
        own = {f"{self._kept.where}{suffix}" for suffix in ("", ".lock", ".lease")}
        is_done = done is not None and (path == done or path.startswith(f"{done}/"))
        return path in own or is_done or path.rpartition("/")[2] == schedule.marker

    @property
    def _reading(self) -> str:
        """Return what identifies the settings with which inputs are read, including the current key file."""
        spec = self._job.input
        try:
            key = spec.identity.stat() if spec.identity else None
        except OSError:
            key = None
        settings = spec.model_dump(mode="json", exclude={"path"}) | {"key": key and [key.st_size, key.st_mtime_ns]}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

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

    def _note_completed(self, begun: OpenRun, archived_at: str = "") -> None:
        """Record the inputs of a finished run as completed, with the fingerprints in its journal."""
        self._state.last_run = begun.run_dir
        with closing(Journal.open(RunDir(Path(begun.run_dir)).journal, read_only=True)) as journal:
            files, run_id = journal.read.files(), journal.state.run_id
        now = format_iso(time.time() * 1000, "seconds")
        for where, file in zip(begun.inputs, files, strict=True):
            self._state.completed[where] = CompletedInput(
                file.size, file.sha256, file.version, [], run_id, now, archived_at
            )
            self._state.aside.pop(where, None)
        self._forget_open_run()

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


def _restored_from_mirror(begun: OpenRun) -> bool:
    """Return whether a missing run could be fetched from its mirror."""
    try:
        return bool(begun.mirror and fetch_run_dir(begun.mirror, Path(begun.run_dir)))
    except RunMissing:
        return False


def _perhaps_set(path: Path) -> int:
    """Return how many rows of a run are set, or may be."""
    with closing(Journal.open(RunDir(path).journal, read_only=True)) as journal:
        return journal.read.perhaps_set()


def _identity_of(place: InputFile) -> list[object]:
    """Return values that change when an input is written again, in JSON form. The content need not be readable."""
    return [*place.identity()] if isinstance(place.where, Path) else [place.version, place.size()]


def _changed_keys(path: Path, job: Job) -> list[str]:
    """Return the keys in which the job differs from that of an unfinished run, except its inputs and schedule."""
    tables = Journal.state_in(RunDir(path).journal).job
    try:
        was = job_from_journal(tables, {}).model_dump(mode="json")
    except JobError:
        was = tables  # a job that is no longer valid
    old, new = dict(flatten(was)), dict(flatten(job.model_dump(mode="json")))
    return [
        key
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(("input.path", "schedule."))
    ]
