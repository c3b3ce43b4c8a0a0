"""What every phase of a run uses: the job, the journal and all resources opened for them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bulkreset.cancellation import CancelToken, UserInterface
from bulkreset.clock import Clock, SystemClock
from bulkreset.cognito.emulator import EmbeddedCognito
from bulkreset.cognito.session import TargetSession, refuse_code
from bulkreset.errors import BulkresetError, RecordError
from bulkreset.input.input_set import InputSet
from bulkreset.job import Job
from bulkreset.journal.generated_passwords import PasswordArchive, folder_of, open_archive
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.log import Log, capture_library_logs, open_log, tolerant_stream
from bulkreset.mirror.factory import open_mirror
from bulkreset.models import Summary
from bulkreset.notify.execution_reporter import ExecutionReporter
from bulkreset.notify.metrics import metrics_running
from bulkreset.notify.telemetry import Telemetry, open_telemetry
from bulkreset.report.run_status import read_status
from bulkreset.run.control import RunControl
from bulkreset.statuses import public_counts

if TYPE_CHECKING:  # a run without a mirror does not import it
    from bulkreset.cluster.cluster_runner import ClusterRunner
    from bulkreset.mirror.mirror import JournalMirror


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of this execution of a job.

    `command` is the command line without what only this run needs, for the page of a dry run.
    `console` gets the more important log events; None if the process belongs to a calling program. `out` gets metrics
    for standard output. `yes`: the run is confirmed in advance, as it also is if a dry run was `approved`. `again`: it
    is also confirmed that an earlier run has set passwords of this input.
    `ask_code` is asked for the code of an AWS profile with MFA, before anything else is done.
    `limit` (rows) applies to this execution only; the job's own `guards.limit` applies to each execution. `moved`: the
    run directory was moved or copied here, and the process that ran it has ended.
    `remarks`: sentences about inputs that this run leaves out.
    `flags`: the flags that set keys of a resumed run's job, by key, for error messages.
    """

    console: IO[str] | None
    dry_run: bool = False
    emulate: bool = False
    yes: bool = False
    approved: Path | None = None
    again: bool = False
    limit: int | None = None
    retry_failed: bool = False
    moved: bool = False
    verbosity: int = 0
    console_json: bool = False
    out: IO[str] | None = None
    command: str = ""
    remarks: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    ask_code: Callable[[str], str] = refuse_code

    @property
    def confirmed_by(self) -> str:
        """Return in words how the run is confirmed in advance; "" if it is not."""
        if self.approved:
            return "approved dry run"
        return ("emulated" if self.emulate else "--yes, not asked") if self.yes else ""

    @property
    def counts(self) -> bool:
        """Return whether a new run with these options changes real users."""
        return not (self.dry_run or self.emulate)

    def with_row_limit(self, job: Job, most: int | None = None) -> Job:
        """Return the job with this execution's `limit`, if set, and at most `most` rows. The saved job is unchanged."""
        limit = job.guards.limit if self.limit is None else self.limit
        if most is not None:
            limit = most if limit is None else min(limit, most)
        return job.model_copy(update={"guards": job.guards.model_copy(update={"limit": limit})})


class Stopwatch:
    """Measures seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the duration of the block."""
        began = self._clock.now()
        try:
            yield
        finally:
            self.seconds += self._clock.now() - began


@dataclass(frozen=True, slots=True)
class Opened:
    """The resources that are opened before a run begins.

    `rows` is None if the rows are the pools' users or the input is not needed. `sessions` are by pool; `service` is the
    emulator.
    """

    job: Job
    options: RunOptions
    reporter: ExecutionReporter
    ui: UserInterface
    stop: CancelToken
    home: RunDir
    journal: Journal
    rows: InputSet | None
    sessions: Mapping[str, TargetSession]
    service: EmbeddedCognito | None
    cluster: "ClusterRunner | None"


@dataclass(frozen=True, slots=True)
class RunContext(Opened):
    """One execution of a run, until its resources are closed.

    `mirror` and `passwords` are None if unused. `mirror_error`: the mirror could not be opened, so nothing is sent.
    """

    log: Log
    mirror: "JournalMirror | None"
    mirror_error: RecordError | None
    passwords: PasswordArchive | None
    control: RunControl
    clock: Clock = field(default_factory=SystemClock)
    telemetry: Telemetry = field(default_factory=Telemetry)
    sending: Stopwatch = field(default_factory=lambda: Stopwatch(SystemClock()))
    began: float = field(default_factory=time.monotonic)

    def counts(self) -> dict[str, int]:
        """Return the number of rows by status, for the log and the preflight."""
        return public_counts(self.journal.read.counts(), dry_run=True)

    def warn_notification(self, problem: str) -> None:
        """Log that a notification or a metric could not be delivered."""
        self.log.warning("delivery_failed", problem=problem)


@dataclass(frozen=True, slots=True)
class RunEnd:
    """An ended execution. `error` is what stopped it, None if nothing did.

    `ways` are the commands that continue the run, as (effect, command).
    """

    run_dir: Path
    summary: Summary
    error: BulkresetError | None = None
    ways: Sequence[tuple[str, str]] = ()


def open_context(opened: Opened, stack: ExitStack) -> RunContext:
    """Return the context of an execution; `stack` closes what it opens.

    Raises Busy if another machine runs the run, RunDirError if the run directory or the mirror cannot be used.
    """
    home, journal, job, options = opened.home, opened.journal, opened.job, opened.options
    log = open_log(
        stack.enter_context(tolerant_stream(home.open_log())),
        journal.state.run_id,
        options.console,
        verbosity=options.verbosity,
        console_json=options.console_json,
    )
    if options.console is None:
        stack.enter_context(capture_library_logs(log))
    mirror, mirror_error = None, None
    try:
        mirror = stack.enter_context(
            open_mirror(job, home, journal, lambda problem: log.warning("mirror_behind", problem=problem))
        )
    except RecordError as error:  # the run stops before it begins, and is reported like any other
        if journal.state.is_finished:  # its report does not change
            raise
        mirror_error = error
    passwords = None
    if not journal.state.is_dry_run:
        passwords = open_archive(job, folder_of(journal.state, home), mirror.upload_chunk if mirror else None)
    parts = {one.name: getattr(opened, one.name) for one in fields(opened)}
    clock, began = SystemClock(), time.monotonic()
    control = RunControl(home.path, lambda: journal.state.execution.started_at, opened.stop, clock, log)
    counts = not (journal.state.is_dry_run or journal.state.emulated)
    telemetry = stack.enter_context(
        open_telemetry(
            job,
            journal.state.run_id,
            lambda: metrics_running(read_status(home.path), time.monotonic() - began),
            counts=counts,
        )
    )
    context = RunContext(
        **parts,
        log=log,
        mirror=mirror,
        mirror_error=mirror_error,
        passwords=passwords,
        control=control,
        clock=clock,
        telemetry=telemetry,
    )
    stack.enter_context(context.reporter.along(context.warn_notification))
    return context
