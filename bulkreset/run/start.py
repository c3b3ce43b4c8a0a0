"""The launch: a job set going in a new run directory, or gone on with in its own."""

import shlex
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from bulkreset.age import recipients
from bulkreset.cancellation import Stop, Ui
from bulkreset.cluster.cluster_runner import Fleet
from bulkreset.cluster.dask_cluster import DaskCluster
from bulkreset.cognito.emulator import Emulator, emulator
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.errors import (
    JobError,
    Refused,
    RunDirError,
)
from bulkreset.job import Job, is_loopback
from bulkreset.job.file import revive
from bulkreset.journal.execution import begun, utc_now
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.sealed_passwords import folder_elsewhere
from bulkreset.mirror.factory import mirrored
from bulkreset.models import Summary
from bulkreset.notify.execution_reporter import Afterwards
from bulkreset.plan.approval import Approval
from bulkreset.plan.input_binding import as_planned, files_of, may_send, met, needs_input
from bulkreset.plan.preflight import (
    described,
    must_be_paced,
    must_be_the_same_targets,
)
from bulkreset.run.run import Mode, Run


def start(job: Job, path: Path, mode: Mode, ui: Ui, stop: Stop, made: Callable[[], None] = lambda: None) -> Summary:
    """Run `job` in the new run directory `path`; `made` is called once that is there, before anything is planned or sent.

    Raises Refused where nothing came of it that is worth keeping: the directory is gone then.
    """
    counts = not (mode.dry_run or mode.emulate)
    with Afterwards(job, path, mode.out, ui.remark, counts=counts) as afterwards, ExitStack() as stack:
        approval = Approval(mode.approved) if mode.approved else None
        rows, described_input = met(job)
        if mode.emulate and rows is None:
            raise JobError(
                "The emulator has no users but those of an input, so there is nobody to list.",
                "Leave --emulate out, or give the job an [input] path.",
            )
        recipients(job.handout.recipients)  # a wrong key is found out before anything is done
        service = stack.enter_context(emulator(job)) if mode.emulate else None
        sessions = _sessions(job, service)
        must_be_paced(job, sessions)
        fleet = None if mode.dry_run else _fleet(job, stack, emulated=mode.emulate)
        elsewhere = None if mode.dry_run else folder_elsewhere(job, path)
        facts = {
            "run_id": str(uuid.uuid4()),
            "job": job.model_dump(mode="json"),
            "mode": "dry_run" if mode.dry_run else "run",
            "emulated": mode.emulate,
            "signs_out": job.signs_out,
            "state": "planning",
            "confirmed": mode.yes or approval is not None,
            "approved": approval.described() if approval else None,
            "stop_after": mode.limited(job).guards.stop_after,
            "started_at": utc_now(),
            "input": described_input,
            "targets": described(sessions),
            "handout": str(elsewhere) if elsewhere else None,
            "mirror": mirrored(job, path, emulated=mode.emulate),
            "executions": [begun()],
        }
        if approval:
            approval.must_be_of(facts)
        files = files_of(rows)
        home = RunDir.create(path, lambda journal: Journal.create(journal, list(sessions), facts, files).close())
        try:
            run = Run(mode.limited(job), home, mode, sessions, stack, afterwards, fleet)
            made()
            ended = run.until_the_end(rows, service, ui, stop)
        except Refused:
            stack.close()
            home.discard()
            if elsewhere:
                with suppress(OSError):  # it was not made, or is not empty
                    elsewhere.rmdir()
            raise
        return run.report(ended)


def resume(path: Path, mode: Mode, overrides: Mapping[str, object], ui: Ui, stop: Stop) -> Summary:
    """Go on with the run in `path`: send what is not settled, and nothing else.

    `overrides` are laid over the job ("pace.rate": 24, …). Raises Refused where input or target are not what was planned, Busy where another
    process holds the run.
    """
    with ExitStack() as stack:
        home = RunDir.open(path)
        home.lock()
        stack.callback(home.release)
        facts = Journal.facts_in(home.journal)
        if facts["mode"] == "dry_run" and facts["state"] == "finished":
            raise RunDirError(
                f"{path} is a dry run that is finished: there is nothing to go on with.",
                f"To run what it planned, pass --approved {shlex.quote(str(path))} instead of --dry-run.",
            )
        job = mode.limited(revive(facts["job"], overrides))
        counts = facts["mode"] == "run" and not facts["emulated"]
        afterwards = stack.enter_context(Afterwards(job, path, mode.out, ui.remark, counts=counts, begun=True))
        rows = as_planned(job, home) if needs_input(job, facts, home, again=mode.again) else None
        service = stack.enter_context(emulator(job)) if facts["emulated"] else None
        sessions = _sessions(job, service)
        must_be_paced(job, sessions)
        if not service:
            must_be_the_same_targets(described(sessions), facts["targets"])
        fleet = _fleet(job, stack, emulated=facts["emulated"]) if may_send(facts, home, again=mode.again) else None
        run = Run(job, home, mode, sessions, stack, afterwards, fleet)
        run.take_over(rows, service, ui)
        return run.report(run.until_the_end(rows, service, ui, stop))


def _sessions(job: Job, service: Emulator | None) -> dict[str, TargetSession]:
    """A session for each target, by user pool. Raises TargetError where one cannot be had."""
    opened = service.open_session if service else open_session
    return {target.user_pool_id: opened(target) for target in job.targets}


def _fleet(job: Job, stack: ExitStack, *, emulated: bool) -> Fleet | None:
    """The job's fleet, connected; None where the lanes run here. Raises FleetError, JobError."""
    if not job.fleet.is_asked_for:
        return None
    if emulated and job.fleet.scheduler and not is_loopback(job.fleet.scheduler):
        raise JobError("The emulator is on this machine, and the fleet is not.", "Pass --fleet local:N with --emulate.")
    return stack.enter_context(Fleet(DaskCluster(job.fleet)))
