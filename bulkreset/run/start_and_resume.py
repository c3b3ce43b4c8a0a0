"""Start a job in a new run directory, or resume a run in its own directory."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bulkreset.age_encryption import parse_recipients
from bulkreset.cancellation import CancelToken, UserInterface
from bulkreset.cognito.emulator import EmbeddedCognito, run_emulator
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.errors import Busy, JobError, Refused, RunDirError
from bulkreset.job import Job, is_loopback
from bulkreset.job.file import job_from_journal
from bulkreset.journal.execution import new_execution, utc_now
from bulkreset.journal.generated_passwords import folder_elsewhere
from bulkreset.journal.journal import Journal, locked_run
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import ConfirmationFacts, RunState
from bulkreset.mirror.factory import leave_mirror, mirror_facts
from bulkreset.notify.execution_reporter import ExecutionReporter
from bulkreset.plan.approval import Approval
from bulkreset.plan.input_binding import input_files, may_send, needs_input, open_new_input, reopen_input
from bulkreset.plan.preflight import describe_targets, require_pace, require_same_targets
from bulkreset.run.context import Opened, RunContext, RunEnd, RunOptions, open_context
from bulkreset.run.run import run
from bulkreset.run.undo import require_not_undone
from bulkreset.statuses import Status
from bulkreset.text import quoted

if TYPE_CHECKING:
    from bulkreset.cluster.cluster_runner import ClusterRunner
    from bulkreset.cluster.dask_cluster import DaskCluster


def start(job: Job, path: Path, options: RunOptions, ui: UserInterface, stop: CancelToken) -> RunEnd:
    """Run `job` in the new run directory `path`. Raises Refused if the run cannot begin; then nothing remains."""
    with new_run(job, path, options, ui, stop) as context:
        return run(context)


@contextmanager
def new_run(job: Job, path: Path, options: RunOptions, ui: UserInterface, stop: CancelToken) -> Iterator[RunContext]:
    """Create the run directory `path` for a job. If the block raises Refused, delete it again.

    It is also deleted if Busy is raised before the block.
    """
    with ExecutionReporter(job, path, options.out, ui.notice, counts=options.counts) as reporter, ExitStack() as stack:
        wanted = _choose_cluster(job, emulated=options.emulate)  # a dry run also reports a missing extra
        stack.enter_context(stop.watching())
        approval = Approval(options.approved) if options.approved else None
        rows, described_input = open_new_input(job, options.remarks)
        if options.emulate and rows is None:
            raise JobError(
                "The emulator has only users of an input, so there are none to list.",
                "Leave --emulate out, or give the job an [input] path.",
            )
        parse_recipients(job.password.recipients)  # detect a wrong key before anything is done
        service = stack.enter_context(run_emulator(job)) if options.emulate else None
        sessions = _open_sessions(job, service, options)
        require_pace(job, sessions)
        cluster = _open_cluster(wanted, stack) if wanted and not options.dry_run else None
        elsewhere = None if options.dry_run else folder_elsewhere(job, path)
        limited = options.with_row_limit(job)
        state = RunState(
            run_id=str(uuid.uuid4()),
            job=job.model_dump(mode="json"),
            mode="dry_run" if options.dry_run else "run",
            emulated=options.emulate,
            steps={step.name: tuple(sessions) for step in job.steps},
            confirmed=options.yes or approval is not None,
            again=options.again,
            confirmation=ConfirmationFacts(how=options.confirmed_by, at=utc_now()) if options.confirmed_by else None,
            approved=approval.facts if approval else None,
            command=options.command,
            limit=limited.guards.limit,
            started_at=utc_now(),
            input=described_input,
            targets=describe_targets(sessions),
            passwords=str(elsewhere) if elsewhere else None,
            mirror=mirror_facts(job, path, emulated=options.emulate, dry_run=options.dry_run),
            executions=(new_execution(),),
        )
        if approval:
            approval.require_same_job(state)
        files = input_files(rows)
        home = RunDir.create(path, lambda journal: Journal.create(journal, list(sessions), state, files).close())
        stack.callback(home.release)
        try:
            journal = Journal.open(home.journal)
            stack.callback(journal.close)
            opened = Opened(limited, options, reporter, ui, stop, home, journal, rows, sessions, service, cluster)
            context = open_context(opened, stack)
        except (Refused, Busy):  # nothing has begun, so there is nothing to resume
            _discard(stack, home, elsewhere)
            raise
        try:
            yield context
        except Refused:
            _discard(stack, home, elsewhere)
            raise


def _discard(stack: ExitStack, home: RunDir, elsewhere: Path | None) -> None:
    """Close everything and delete the run directory; `elsewhere` is the folder of its generated passwords."""
    stack.close()
    home.discard()
    if elsewhere:
        with suppress(OSError):  # it was not created, or is not empty
            elsewhere.rmdir()


def resume(
    path: Path, options: RunOptions, overrides: Mapping[str, object], ui: UserInterface, stop: CancelToken
) -> RunEnd:
    """Continue the run in `path`: send only the rows that are not done yet.

    `overrides` replace keys of the job ({"pace.rate": 24}). Raises Refused if input or targets differ from the plan,
    Busy if another process holds the run.
    """
    with ExitStack() as stack:
        stack.enter_context(stop.watching())
        home, journal = stack.enter_context(locked_run(path, moved=options.moved))
        state = journal.state
        if state.abandoned_at:
            raise RunDirError(
                f"The run {path} was given up; it cannot be resumed.",
                f"Its report says who was set: bulkreset report {quoted(path)}.",
            )
        require_not_undone(state, path)
        if state.is_dry_run and state.is_finished:
            raise RunDirError(
                f"The dry run {path} is complete; there is nothing to resume.",
                f"To run what it planned, pass --approved {quoted(path)} instead of --dry-run.",
            )
        job = job_from_journal(state.job, overrides, options.flags)
        job = options.with_row_limit(job, _approved_rows_left(journal, again=options.retry_failed))
        if "mirror.to" in overrides and not job.mirror.to:
            leave_mirror(job, home, journal)
        counts = not (state.is_dry_run or state.emulated)
        reporter = stack.enter_context(ExecutionReporter(job, path, options.out, ui.notice, counts=counts, begun=True))
        rows = reopen_input(job, journal) if needs_input(job, journal, again=options.retry_failed) else None
        service = stack.enter_context(run_emulator(job)) if state.emulated else None
        sessions = _open_sessions(job, service, options)
        require_pace(job, sessions)
        if not service:
            require_same_targets(describe_targets(sessions), state.targets)
        sends = may_send(journal, again=options.retry_failed)
        wanted = _choose_cluster(job, emulated=state.emulated) if sends else None
        cluster = _open_cluster(wanted, stack) if wanted else None
        opened = Opened(job, options, reporter, ui, stop, home, journal, rows, sessions, service, cluster)
        return run(open_context(opened, stack), resumed=True)


def _approved_rows_left(journal: Journal, *, again: bool) -> int | None:
    """Return how many rows may still be sent, if the approved dry run limited them, else None.

    Rows in doubt are sent again; so are failed rows if `again` is true.
    """
    approved = journal.state.approved
    if approved is None or approved.limit is None:
        return None
    counts = journal.read.counts(dead=True)
    return max(0, approved.limit - counts.get(Status.SET, 0) - (0 if again else counts.get(Status.FAILED, 0)))


def _open_sessions(job: Job, service: EmbeddedCognito | None, options: RunOptions) -> dict[str, TargetSession]:
    """Return a session for each target, by user pool ID. Raises TargetError if one cannot be opened."""
    if service:
        return {target.user_pool_id: service.open_session(target) for target in job.targets}
    return {target.user_pool_id: open_session(target, options.ask_code) for target in job.targets}


def _choose_cluster(job: Job, *, emulated: bool) -> "DaskCluster | None":
    """Return the job's cluster, not connected; None if the lanes run in this process.

    Raises JobError if the extra is missing, or the emulator cannot be reached from there.
    """
    if not job.cluster.is_asked_for:
        return None
    if emulated and job.cluster.scheduler and not is_loopback(job.cluster.scheduler):
        raise JobError(
            "The emulator is on this machine, and the cluster is not.", "Pass --cluster local:N with --emulate."
        )
    from bulkreset.cluster.dask_cluster import DaskCluster  # noqa: PLC0415  (most runs have no cluster)

    return DaskCluster(job.cluster)


def _open_cluster(wanted: "DaskCluster", stack: ExitStack) -> "ClusterRunner":
    from bulkreset.cluster.cluster_runner import ClusterRunner  # noqa: PLC0415  (as above)

    return stack.enter_context(ClusterRunner(wanted))
