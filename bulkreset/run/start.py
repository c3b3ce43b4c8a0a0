"""Start a job in a new run directory, or resume a run in its own directory."""

import shlex
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from bulkreset.age import parse_recipients
from bulkreset.cancellation import CancelToken, UserInterface
from bulkreset.cluster.cluster_runner import ClusterRunner
from bulkreset.cluster.dask_cluster import DaskCluster
from bulkreset.cognito.emulator import EmbeddedCognito, run_emulator
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.errors import (
    JobError,
    Refused,
    RunDirError,
)
from bulkreset.job import Job, is_loopback
from bulkreset.job.file import job_from_journal
from bulkreset.journal.execution import new_execution, utc_now
from bulkreset.journal.generated_passwords import folder_elsewhere
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.mirror.factory import mirror_facts
from bulkreset.models import Summary
from bulkreset.notify.execution_reporter import ExecutionReporter
from bulkreset.plan.approval import Approval
from bulkreset.plan.input_binding import input_files, may_send, needs_input, open_new_input, reopen_input
from bulkreset.plan.preflight import (
    describe_targets,
    require_pace,
    require_same_targets,
)
from bulkreset.report.summary import ABANDONED
from bulkreset.run.run import Run, RunOptions


def start(
    job: Job,
    path: Path,
    mode: RunOptions,
    ui: UserInterface,
    stop: CancelToken,
    made: Callable[[], None] = lambda: None,
) -> Summary:
    """Run `job` in the new run directory `path`.

    `made` is called when the directory exists, before anything is planned or sent. Raises Refused if the run cannot
    begin; the directory is then deleted.
    """
    counts = not (mode.dry_run or mode.emulate)
    with ExecutionReporter(job, path, mode.out, ui.notice, counts=counts) as afterwards, ExitStack() as stack:
        wanted = _choose_cluster(job, emulated=mode.emulate)  # a dry run, too, says what the run will miss
        approval = Approval(mode.approved) if mode.approved else None
        rows, described_input = open_new_input(job, mode.remarks)
        if mode.emulate and rows is None:
            raise JobError(
                "The emulator has no users but those of an input, so there is nobody to list.",
                "Leave --emulate out, or give the job an [input] path.",
            )
        parse_recipients(job.password.recipients)  # detect a wrong key before anything is done
        service = stack.enter_context(run_emulator(job)) if mode.emulate else None
        sessions = _open_sessions(job, service, mode)
        require_pace(job, sessions)
        cluster = stack.enter_context(ClusterRunner(wanted)) if wanted and not mode.dry_run else None
        elsewhere = None if mode.dry_run else folder_elsewhere(job, path)
        facts = {
            "run_id": str(uuid.uuid4()),
            "job": job.model_dump(mode="json"),
            "mode": "dry_run" if mode.dry_run else "run",
            "emulated": mode.emulate,
            "signs_out": job.signs_out,
            "state": "planning",
            "confirmed": mode.yes or approval is not None,
            "approved": approval.describe() if approval else None,
            "limit": mode.with_row_limit(job).guards.limit,
            "started_at": utc_now(),
            "input": described_input,
            "targets": describe_targets(sessions),
            "passwords": str(elsewhere) if elsewhere else None,
            "mirror": mirror_facts(job, path, emulated=mode.emulate),
            "executions": [new_execution()],
        }
        if approval:
            approval.require_same_job(facts)
        files = input_files(rows)
        home = RunDir.create(path, lambda journal: Journal.create(journal, list(sessions), facts, files).close())
        try:
            run = Run(mode.with_row_limit(job), home, mode, sessions, stack, afterwards, cluster)
            made()
            ended = run.execute(rows, service, ui, stop)
        except Refused:
            stack.close()
            home.discard()
            if elsewhere:
                with suppress(OSError):  # it was not created, or is not empty
                    elsewhere.rmdir()
            raise
        return run.finish(ended)


def resume(
    path: Path, mode: RunOptions, overrides: Mapping[str, object], ui: UserInterface, stop: CancelToken
) -> Summary:
    """Continue the run in `path`: send the unsettled rows, and nothing else.

    `overrides` replace keys of the job ({"pace.rate": 24}). Raises Refused if input or targets differ from the plan,
    Busy if another process holds the run.
    """
    with ExitStack() as stack:
        home = RunDir.open(path)
        home.lock()
        stack.callback(home.release)
        facts = Journal.facts_in(home.journal)
        if facts["state"] == ABANDONED:
            raise RunDirError(
                f"The run {path} was given up; it cannot be resumed.",
                f"Its report says who was set: bulkreset report {shlex.quote(str(path))}.",
            )
        if facts["mode"] == "dry_run" and facts["state"] == "finished":
            raise RunDirError(
                f"The dry run {path} is complete; there is nothing to resume.",
                f"To run what it planned, pass --approved {shlex.quote(str(path))} instead of --dry-run.",
            )
        job = mode.with_row_limit(job_from_journal(facts["job"], overrides, mode.flags))
        counts = facts["mode"] == "run" and not facts["emulated"]
        afterwards = stack.enter_context(ExecutionReporter(job, path, mode.out, ui.notice, counts=counts, begun=True))
        rows = reopen_input(job, home) if needs_input(job, facts, home, again=mode.retry_failed) else None
        service = stack.enter_context(run_emulator(job)) if facts["emulated"] else None
        sessions = _open_sessions(job, service, mode)
        require_pace(job, sessions)
        if not service:
            require_same_targets(describe_targets(sessions), facts["targets"])
        sends = may_send(facts, home, again=mode.retry_failed)
        wanted = _choose_cluster(job, emulated=facts["emulated"]) if sends else None
        cluster = stack.enter_context(ClusterRunner(wanted)) if wanted else None
        run = Run(job, home, mode, sessions, stack, afterwards, cluster)
        run.recover(rows, service, ui)
        return run.finish(run.execute(rows, service, ui, stop))


def _open_sessions(job: Job, service: EmbeddedCognito | None, mode: RunOptions) -> dict[str, TargetSession]:
    """Return a session for each target, by user pool ID. Raises TargetError if one cannot be opened."""
    if service:
        return {target.user_pool_id: service.open_session(target) for target in job.targets}
    return {target.user_pool_id: open_session(target, mode.ask_code) for target in job.targets}


def _choose_cluster(job: Job, *, emulated: bool) -> DaskCluster | None:
    """Return the job's cluster, not connected; None if the lanes run in this process.

    Raises JobError if the extra is missing, or the emulator cannot be reached from there.
    """
    if not job.cluster.is_asked_for:
        return None
    if emulated and job.cluster.scheduler and not is_loopback(job.cluster.scheduler):
        raise JobError(
            "The emulator is on this machine, and the cluster is not.", "Pass --cluster local:N with --emulate."
        )
    return DaskCluster(job.cluster)
