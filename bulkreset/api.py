"""The Python interface: what the command line does, without printing, asking or handling signals."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from bulkreset.cancellation import CancelToken, SendProgress
from bulkreset.errors import BulkresetError, JobError, Refused, RunDirError
from bulkreset.files import read_small_file
from bulkreset.input.discovery import InputMissing
from bulkreset.job import Job
from bulkreset.job.file import build
from bulkreset.job.file import load as load_file
from bulkreset.journal.run_dir import RUNS, RunDir, give_back, new_path, reserve_path
from bulkreset.journal.run_state import UndoFacts
from bulkreset.mirror.factory import fetch_run_dir
from bulkreset.models import Summary
from bulkreset.plan.preflight import Preflight
from bulkreset.plan.preflight_text import preflight_lines
from bulkreset.process_hardening import apart
from bulkreset.report.contacts import write_contacts
from bulkreset.report.extract import ExtractRequest, ExtractResult
from bulkreset.report.extract import extract as extract_rows
from bulkreset.report.passwords_export import IssuedPassword, read_passwords
from bulkreset.report.rewrite import STANDARD_OUTPUT, ReportRequest, parse_statuses, rewrite_report
from bulkreset.report.run_status import RunStatus, UnreadableRun, read_status
from bulkreset.report.run_status import list_runs as list_runs_in
from bulkreset.report.verify import VerifyRequest, VerifyResult
from bulkreset.report.verify import verify as verify_run
from bulkreset.run.abandon import AbandonedRun
from bulkreset.run.abandon import abandon as abandon_run
from bulkreset.run.context import RunEnd, RunOptions
from bulkreset.run.control import ControlOrder, give_order, new_order, orders_of
from bulkreset.run.scheduled import run_job as run_job_in
from bulkreset.run.start_and_resume import resume as resume_run
from bulkreset.run.undo import undo as undo_run
from bulkreset.statuses import EXTRACTED

__all__ = [
    "AbandonedRun",
    "ApiProgress",
    "CancelToken",
    "ControlOrder",
    "DryRun",
    "ExtractResult",
    "IssuedPassword",
    "Job",
    "Preflight",
    "Result",
    "RunStatus",
    "Summary",
    "UndoFacts",
    "VerifyResult",
    "abandon",
    "apply",
    "contacts",
    "control",
    "dry_run",
    "extract",
    "list_runs",
    "load",
    "passwords",
    "resume",
    "run_job",
    "status",
    "undo",
    "verify",
    "write_report",
]

MOST_SUMMARY = 1 << 24  # bytes; a summary has a few hundred for each lane
PathLike = str | os.PathLike[str]
Confirm = Callable[[Preflight], bool]


@dataclass(frozen=True, slots=True)
class ApiProgress:
    """The progress of a run. `phase` is planning, checking or sending.

    `done` and `total` are rows, or API calls while checking; `total` is None if unknown. `counts` are the rows that
    this execution finished, by status.
    """

    phase: str
    done: int
    total: int | None
    counts: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0
    throttled: int = 0


OnProgress = Callable[[ApiProgress], None]


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run: its directory and its summary."""

    run_dir: Path
    summary: Summary

    @classmethod
    def load(cls, run_dir: PathLike) -> Self:
        """Return the result of a finished run, also of another process. Raises RunDirError if there is none."""
        path = Path(run_dir)
        try:
            figures = json.loads(read_small_file(RunDir(path).summary, MOST_SUMMARY))
            return cls(path, TypeAdapter(Summary).validate_python(figures))
        except (OSError, ValueError, RecursionError):
            raise RunDirError(f"{path} has no summary.", "Look at it: bulkreset status " + str(path) + ".") from None

    @property
    def exit_code(self) -> int:
        """Return the exit code that the command would have had."""
        return self.summary.exit_code

    @property
    def ok(self) -> bool:
        """Return whether every row is set or skipped; for a dry run, ready or skipped."""
        return self.summary.exit_code == 0

    @property
    def report(self) -> Path:
        """Return the path of the report, which has one line for every row."""
        return self.run_dir / self.summary.report


@dataclass(frozen=True, slots=True)
class DryRun(Result):
    """A finished dry run. `preflight` describes what a run would do. Pass the DryRun to `apply` to run it."""

    job: Job
    preflight: Preflight

    @property
    def briefing(self) -> str:
        """Return what a run would do, as lines of text for the person who approves it."""
        return preflight_lines(self.preflight)


def load(job: PathLike | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Job:
    """Return a job from a TOML file, or from a mapping with the same tables.

    `overrides` ({"pace.rate": 24}) replace keys. Paths in a file are relative to the file; paths in a mapping, to the
    working directory. Raises JobError, which names every wrong key.
    """
    if isinstance(job, Mapping):
        return build(deepcopy(dict(job)), overrides or {}, "The job")
    return load_file(Path(job), overrides or {})


def dry_run(
    job: Job,
    *,
    run_dir: PathLike | None = None,
    on_progress: OnProgress | None = None,
    stop: CancelToken | None = None,
    emulate: bool = False,
) -> DryRun:
    """Make a dry run: read, screen and look up every row, and send nothing.

    `run_dir` must be new; the default is `runs/<job>-<UTC time>`. `on_progress` is called on the calling thread,
    several times a second. Raises Refused if nothing can be planned (InputError if a scheduled job has no new input),
    or the error that stopped it: GuardTripped, ServiceError, RecordError, Interrupted.
    """
    listener = _Listener(on_progress, stop, confirm=False)
    results = _run_job(job, run_dir, RunOptions(None, dry_run=True, emulate=emulate), listener)
    if not results or listener.preflight is None:
        raise InputMissing(f"There is no new input at {job.input.named}.", "There is nothing to plan.")
    return DryRun(results[0].run_dir, results[0].summary, job, listener.preflight)


def run_job(  # noqa: PLR0913  (keywords)
    job: Job,
    *,
    run_dir: PathLike | None = None,
    approved: PathLike | None = None,
    confirm: bool | Confirm = False,
    again: bool = False,
    on_progress: OnProgress | None = None,
    on_notice: Callable[[str], None] | None = None,
    stop: CancelToken | None = None,
    emulate: bool = False,
) -> Sequence[Result]:
    """Run a job. A scheduled job processes each of its inputs once.

    A scheduled job finishes its unfinished run first, and then runs all new inputs as one run. It gives two results,
    one, or none if there was nothing to do. Any other job gives one result. `on_notice` receives sentences, for example
    about inputs that are not read or are set aside. Other arguments and errors are those of `apply`.
    """
    options = RunOptions(
        None, emulate=emulate, yes=confirm is True, again=again, approved=Path(approved) if approved else None
    )
    return _run_job(job, run_dir, options, _Listener(on_progress, stop, confirm, on_notice))


def apply(
    job: Job | DryRun,
    *,
    run_dir: PathLike | None = None,
    approved: PathLike | None = None,
    confirm: bool | Confirm = False,
    again: bool = False,
    on_progress: OnProgress | None = None,
    stop: CancelToken | None = None,
    emulate: bool = False,
) -> Result:
    """Run a job: plan it, and send every row that is ready.

    With a DryRun, or a dry run's directory as `approved`, send only what it planned; raises ApprovalError if anything
    has changed. Otherwise `confirm` must be True, or return True for the preflight. If it does not, nothing is sent and
    NotConfirmed is raised. If an earlier run in `runs` has set passwords of this input, NotConfirmed is also raised,
    unless `again` is true or `confirm` is a function, which sees the earlier runs in the preflight.

    The result has exit code 0 (every row is done) or 1 (some are not). Everything else is raised: Refused, Stopped
    (GuardTripped, NotConfirmed, ServiceError, RecordError), Busy, TimeLimit, RowLimit, Interrupted. If the error's
    `run_dir` is set, continue that run with `resume`. Do not call `apply` again for this job: that would set every row
    again. Raises JobError for a scheduled job.
    """
    if isinstance(job, DryRun):
        approved = approved or job.run_dir
        emulate = emulate or job.summary.emulated
        job = job.job
    if job.schedule.state:
        raise JobError("A scheduled job may have no run to apply, or two.", "Use run_job, which returns them all.")
    options = RunOptions(
        None, emulate=emulate, yes=confirm is True, again=again, approved=Path(approved) if approved else None
    )
    (result,) = _run_job(job, run_dir, options, _Listener(on_progress, stop, confirm))
    return result


def resume(  # noqa: PLR0913  (keywords)
    run_dir: PathLike,
    *,
    restore_to: PathLike | None = None,
    overrides: Mapping[str, Any] | None = None,
    failed: bool = False,
    moved: bool = False,
    confirm: bool | Confirm = False,
    again: bool = False,
    on_progress: OnProgress | None = None,
    stop: CancelToken | None = None,
) -> Result:
    """Continue a run: send only the rows that are not done yet. With `failed`, also send the failed rows again.

    `run_dir` may be the s3:// address of a mirror: the run is then restored to the new directory `restore_to` (default:
    its name, in `runs`). With `overrides` of {"mirror.to": None} the run has no mirror any more. `moved` says that the
    directory was moved or copied here, and that the process that ran it has ended. A run that was already confirmed
    needs no `confirm`. Raises the same errors as `apply`.
    """
    path = fetch_run_dir(os.fspath(run_dir), Path(restore_to) if restore_to else None)
    listener = _Listener(on_progress, stop, confirm)
    options = RunOptions(None, yes=confirm is True, again=again, retry_failed=failed, moved=moved)
    (result,) = _results(path, listener, lambda: [resume_run(path, options, overrides or {}, listener, listener.stop)])
    return result


def abandon(run_dir: PathLike) -> AbandonedRun:
    """Give up an unfinished run: it can never be resumed. Return its rows by status, and how many users may be set.

    Raises RunDirError if there is nothing to give up, Busy if a process is working on the run.
    """
    return abandon_run(Path(run_dir))


def status(run_dir: PathLike) -> RunStatus:
    """Return the progress and the state of a live or an ended run. Raises RunDirError, RecordError."""
    return read_status(Path(run_dir))


def control(
    run_dir: PathLike,
    *,
    rate: float | Literal["auto"] | None = None,
    share: float | None = None,
    paused: bool | None = None,
    limit: int | None = None,
    stop: bool = False,
    lane: str = "",
) -> Sequence[ControlOrder]:
    """Change a run that another process on this machine works on. Return all orders for this execution.

    Without a change, only return the orders. `paused` pauses or continues; `lane` ("ACCOUNT/REGION") selects one lane.
    `status` shows the current limits of each lane. Raises Refused if no process works on the run, or if it cannot
    follow.
    """
    changes = {"rate": rate, "share": share, "paused": paused, "limit": limit, "stop": stop or None}
    if not lane and all(value is None for value in changes.values()):
        return orders_of(Path(run_dir))[1]
    return give_order(Path(run_dir), new_order(lane, **changes))[1]


def extract(
    run_dir: PathLike,
    output: PathLike,
    *,
    only: Sequence[str] = EXTRACTED,
    recipients: Sequence[str] = (),
    stop: CancelToken | None = None,
) -> ExtractResult:
    """Write rows of a run's unchanged input, with all of their columns and passwords, to the new CSV file `output`.

    `only` are statuses. A file named .age is encrypted for `recipients`, by default those in the job. Raises Refused,
    InputError, RecordError, Busy if a process works on the run.
    """
    wanted = ExtractRequest(Path(output), parse_statuses(only), recipients)
    return extract_rows(Path(run_dir), wanted, stop or CancelToken())


def list_runs(folder: PathLike = RUNS) -> tuple[list[RunStatus], list[UnreadableRun]]:
    """Return (statuses, unreadable runs) of all runs in a folder, the statuses newest first."""
    return list_runs_in(Path(folder))


def write_report(
    run_dir: PathLike,
    *,
    form: str | None = None,
    only: Sequence[str] = (),
    output: PathLike | None = None,
    redacted: bool | None = None,
    bom: bool = False,
) -> Path:
    """Write the report of a live or an ended run again and return its path.

    `form` is csv, parquet, jsonl or html; `only` are statuses; `output` is a new file; `redacted`: hashes replace the
    usernames; `bom`: a CSV file begins with a byte order mark, for Excel. The other defaults are those of the run's own
    report. Raises Refused, RecordError.
    """
    request = ReportRequest(form, parse_statuses(only), Path(output) if output else None, redacted, bom)
    written = None if request.output == STANDARD_OUTPUT else rewrite_report(Path(run_dir), request)
    if written is None:
        raise JobError("A report is written to a file.", "Name another output than -.")
    return written


def passwords(run_dir: PathLike, identity: PathLike) -> Iterator[IssuedPassword]:
    """Yield the generated password of each user who was set, decrypted with a recipient's private key file.

    Raises RunDirError if the run has none or no complete plan, InputError if the key cannot decrypt them.
    """
    return read_passwords(Path(run_dir), Path(identity))


def verify(
    run_dir: PathLike,
    *,
    within_days: float = 1.0,
    output: PathLike | None = None,
    reissue: PathLike | None = None,
    on_progress: OnProgress | None = None,
    stop: CancelToken | None = None,
) -> VerifyResult:
    """Look up whether the users that a run set have signed in and changed their password. Changes nothing.

    Writes `output` (default: verify.csv in the run directory) and, if named, `reissue`: an input file of the users
    whose temporary password has expired or expires within `within_days`. Raises Refused, ServiceError, Interrupted.
    """
    listener = _Listener(on_progress, stop, confirm=False)
    request = VerifyRequest(within_days, Path(output) if output else None, Path(reissue) if reissue else None)
    with apart():
        verified = verify_run(Path(run_dir), request, listener, listener.stop)
    if listener.failure:
        raise listener.failure
    return verified


def contacts(run_dir: PathLike, output: PathLike, recipients: Sequence[str] = ()) -> int:
    """Write who got which kind of password and when it expires, for a mail merge. Returns the number of users.

    `output` is a new CSV file, encrypted with age to `recipients`, public keys (default: those of the job). It has no
    passwords. Raises RunDirError if the run has set nothing or the file exists, Refused without a recipient,
    RecordError.
    """
    return write_contacts(Path(run_dir), Path(output), recipients)


def undo(
    run_dir: PathLike,
    *,
    preview: bool = False,
    cancel: bool = False,
    confirm: bool | Callable[[str], bool] = False,
    on_notice: Callable[[str], None] | None = None,
    stop: CancelToken | None = None,
) -> Mapping[str, UndoFacts]:
    """Restore the user pools to the time before a run, with Cognito's point-in-time recovery.

    **Everything since then is reverted, not only this run**, and the pools accept no writes meanwhile. For each pool it
    asks twice: before the preview, and before anything is changed. `confirm` is True, or a function that returns True
    for a question. The function gets the question together with the warning or the preview. With `preview` each
    recovery is cancelled after its preview, with `cancel` a recovery in progress. `on_notice` gets the sentences that
    the command shows. Returns the recoveries by pool. Raises Refused if the run cannot be undone (now), NotConfirmed if
    it was not confirmed, ServiceError, Interrupted; after these the same call continues.
    """
    listener = _Listener(None, stop, confirm, on_notice)
    with apart():
        return undo_run(Path(run_dir), listener, listener.stop, preview=preview, cancel=cancel)


def _run_job(job: Job, run_dir: PathLike | None, options: RunOptions, listener: "_Listener") -> list[Result]:
    named = new_path if job.schedule.state else reserve_path  # deleted by the run if it is not used
    path = Path(run_dir) if run_dir else named(job.name)
    return _results(path, listener, lambda: run_job_in(job, path, options, listener, listener.stop))


def _results(path: Path, listener: "_Listener", go: Callable[[], Iterable[RunEnd]]) -> list[Result]:
    """Return the results, or raise the error that ended a run. Its `run_dir` is set if the run can be resumed."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        give_back(path)
        # Each worker of local:N loads the script that started it, and would run its unguarded code again.
        raise Refused(
            "This process was started by another one and is still loading its script: no run begins here.",
            'Put the code that runs jobs below if __name__ == "__main__":',
        )
    try:
        with apart():
            ends = list(go())
    except BulkresetError as error:
        if RunDir(path).journal.exists():
            error.run_dir = path
        raise
    if listener.failure:
        raise listener.failure
    for end in ends:
        if end.error:
            end.error.run_dir = end.run_dir if end.summary.resumable else None
            end.error.__context__ = None  # its frames may hold passwords
            raise end.error.with_traceback(None)
    return [Result(end.run_dir, end.summary) for end in ends]


class _Listener:
    """The user interface for a calling program.

    An exception in `on_progress` stops the run like a stop request. It is raised again after the run has ended.
    """

    def __init__(
        self,
        on_progress: OnProgress | None,
        stop: CancelToken | None,
        confirm: bool | Callable[[Any], bool],  # noqa: FBT001
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self.confirmed_by = "by the calling program"
        self.stop = stop or CancelToken()
        self.preflight: Preflight | None = None
        self.failure: Exception | None = None
        self._on_progress = on_progress
        self._confirm = confirm
        self._on_notice = on_notice
        self._last_notice = ""

    def on_run_started(self, run_id: str) -> None:
        """Do nothing: the result identifies the run."""

    def on_rows_read(self, rows: int) -> None:
        """Report how many rows have been read."""
        self._report_progress(ApiProgress("planning", rows, None))

    def on_lookup_progress(self, made: int, calls: int) -> None:
        """Report how many lookup calls have been made, of an estimated total."""
        self._report_progress(ApiProgress("checking", made, max(made, calls)))

    def on_send_progress(self, progress: SendProgress) -> None:
        """Report finished rows."""
        counts = {status.value: rows for status, rows in progress.counts.items()}
        self._report_progress(
            ApiProgress("sending", progress.finished, progress.total, counts, progress.attempts, progress.throttled)
        )

    def notice(self, text: str) -> None:
        """Pass a notice to the caller."""
        self._last_notice = text
        if self._on_notice:
            self._on_notice(text)

    def show_preflight(self, preflight: Preflight) -> None:
        """Keep the preflight for the result."""
        self.preflight = preflight

    def confirm(self, preflight: Preflight) -> bool:
        """Return the caller's confirmation."""
        return self._confirm(preflight) if callable(self._confirm) else self._confirm

    def agree(self, question: str, answers: Sequence[str]) -> bool:  # noqa: ARG002  (a person types one of them)
        """Return the caller's answer to a question about the last notice."""
        return self._confirm(f"{self._last_notice}\n{question}") if callable(self._confirm) else self._confirm

    def _report_progress(self, moment: ApiProgress) -> None:
        if self._on_progress is None or self.failure:
            return
        try:
            self._on_progress(moment)
        except Exception as error:  # noqa: BLE001  (the caller's own error: raised again to the caller)
            self.failure = error
            self.stop.request()
