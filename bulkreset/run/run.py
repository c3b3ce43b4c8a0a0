"""One run of a job: plan, confirm, apply and report."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from bulkreset.cancellation import CancelToken, UserInterface
from bulkreset.clock import SystemClock
from bulkreset.cluster.cluster_runner import LINGER_SECONDS, ClusterRunner
from bulkreset.cognito.account import AccountDiscovery
from bulkreset.cognito.emulator import EmbeddedCognito
from bulkreset.cognito.response import PASSWORD_REFUSALS, advice_for
from bulkreset.cognito.session import TargetSession, refuse_code
from bulkreset.errors import (
    BulkresetError,
    GuardTripped,
    Interrupted,
    RecordError,
    Refused,
    ServiceError,
)
from bulkreset.input.input_set import InputSet
from bulkreset.job import Job
from bulkreset.journal.execution import new_execution, unix_ms
from bulkreset.journal.generated_passwords import folder_of, open_archive
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.log import capture_library_logs, open_log, tolerant_stream
from bulkreset.mirror.factory import open_mirror
from bulkreset.models import LaneSummary, Summary, format_rows
from bulkreset.notify.execution_reporter import ExecutionReporter
from bulkreset.plan.input_binding import require_planned_input
from bulkreset.plan.preflight import (
    AwsFacts,
    PlanFacts,
    Preflight,
    build_preflight,
    describe_targets,
    require_same_accounts,
)
from bulkreset.plan.user_check import UNREACHABLE
from bulkreset.report.redaction import Redaction
from bulkreset.report.summary import is_resumable, public_counts, sign_out_counts
from bulkreset.run.apply import Apply, RunResources
from bulkreset.run.finish import Finisher


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a job is run this time.

    `console` gets the more important log events; None if the process belongs to a calling program. `out` gets metrics
    for standard output. `yes`: the run is confirmed in advance, as it also is if a dry run was `approved`.
    `ask_code` is asked for the code of an AWS profile with MFA, before anything else is done.
    `limit` (rows) applies to this execution only; the job's own `guards.limit` applies to each execution.
    `remarks`: sentences about inputs that this run leaves out. `flags`: the flags that set keys of a resumed run's job, by key, for error messages.
    """

    console: IO[str] | None
    dry_run: bool = False
    emulate: bool = False
    yes: bool = False
    approved: Path | None = None
    limit: int | None = None
    retry_failed: bool = False
    verbosity: int = 0
    console_json: bool = False
    out: IO[str] | None = None
    remarks: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    ask_code: Callable[[str], str] = refuse_code

    def with_row_limit(self, job: Job) -> Job:
        """Return the job with this execution's `limit`, if set. The saved job is unchanged."""
        if self.limit is None:
            return job
        return job.model_copy(update={"guards": job.guards.model_copy(update={"limit": self.limit})})


class Run:
    """A job in its run directory. The run's progress is in the directory's journal."""

    def __init__(
        self,
        job: Job,
        home: RunDir,
        mode: RunOptions,
        sessions: Mapping[str, TargetSession],
        stack: ExitStack,
        afterwards: ExecutionReporter,
        cluster: ClusterRunner | None = None,
    ) -> None:
        stack.callback(home.release)
        self._job = job
        self._home = home
        self._mode = mode
        self._sessions = sessions
        self._cluster = cluster
        self._journal = Journal.open(home.journal)
        stack.callback(self._journal.close)
        self._facts = self._journal.meta()
        self._log = open_log(
            stack.enter_context(tolerant_stream(home.open_log())),
            self._facts["run_id"],
            mode.console,
            verbosity=mode.verbosity,
            console_json=mode.console_json,
        )
        if mode.console is None:
            stack.enter_context(capture_library_logs(self._log))
        self._afterwards = afterwards
        stack.enter_context(afterwards.along(self._warn_notification))
        self._archive = open_archive(job, folder_of(self._facts, home)) if self._facts["mode"] == "run" else None
        self._mirror, self._unmirrored = None, None
        try:
            self._mirror = stack.enter_context(open_mirror(job, self._facts, home, self._journal, self._log))
        except RecordError as error:  # the run stops before it begins, and is reported like any other
            if self._facts["state"] == "finished":  # its report stays as it is
                raise
            self._unmirrored = error
        if self._mirror and self._archive:
            self._archive.written = self._mirror.upload_chunk
        self._began = time.monotonic()
        self._sent_for = 0.0

    def recover(self, rows: InputSet | None, service: EmbeddedCognito | None, ui: UserInterface) -> None:
        """Prepare to continue where another process stopped or died. The rows it had claimed become in doubt."""
        ui.on_run_started(self._facts["run_id"])
        if self._unmirrored:
            self._note_execution_started()
            return
        self._journal.check(self._facts.get("rows"))
        if "screened" not in self._facts:
            self._journal.forget_plan()
        elif service and rows:
            for chunk in rows.batches():
                service.seed(chunk.cells("user_pool_id"), chunk.cells("username"))
        self._journal.mark_claimed_in_doubt()
        self._note_execution_started()
        revived = self._journal.retry_failed() if self._mode.retry_failed else {}
        for code in sorted(PASSWORD_REFUSALS & revived.keys()):
            ui.notice(
                f"{format_rows(revived[code])} had failed with {code}: the same password will fail again unless the pool's rules were changed."
            )
        self._log.info("run_resumed", state=self._facts["state"], counts=self._counts(), sent_again=revived)

    def _note_execution_started(self) -> None:
        """Add a new execution, even if it will send nothing, so that the end of the previous one stays recorded."""
        self._note(executions=[*self._facts.get("executions", []), new_execution()], **self._lost_execution_time())

    def _lost_execution_time(self) -> dict[str, float]:
        """Return the run's times (s) including a dead last execution, estimated from its rows; {} if none died."""
        last = (self._facts.get("executions") or [{}])[-1]
        if "started_at" not in last or "finished_at" in last:
            return {}
        try:
            began = unix_ms(last["started_at"])
        except ValueError:
            raise self._journal.damaged_error() from None
        span = self._journal.sent_since(began)
        if span is None:
            return {}
        seconds = {"seconds": (span[1] - began) / 1000, "sending_seconds": (span[1] - span[0]) / 1000}
        return {key: self._facts.get(key, 0.0) + more for key, more in seconds.items()}

    def execute(
        self, rows: InputSet | None, service: EmbeddedCognito | None, ui: UserInterface, stop: CancelToken
    ) -> BulkresetError | None:
        """Plan, confirm and apply. Returns the error that ended it early, or None.

        Raises Refused if the input is unusable and the plan is not complete.
        """
        ui.on_run_started(self._facts["run_id"])
        if self._unmirrored:
            return self._unmirrored
        self._log.info(
            "run_started", job=self._job.name, mode=self._facts["mode"], targets=describe_targets(self._sessions)
        )
        try:
            enquiry = AccountDiscovery(self._sessions, self._job.emulator.quota if service else None)
            if not self._planned:
                self._plan(rows, service, enquiry, ui, stop)
            preflight = self._preflight(enquiry)
            ui.show_preflight(preflight)
            self._require_sendable(preflight)
            if self._facts["mode"] == "run" and preflight.sends:
                self._confirm(preflight, ui)
                stop.check()
                self._apply(rows, preflight, ui, stop)
        except Refused as ended:
            if not self._planned:
                raise
            return ended
        except GuardTripped as ended:  # it stopped nothing if no row is left to send
            left = is_resumable(self._facts, self._journal.counts(), sign_out_counts(self._journal, self._facts))
            return ended if left else None
        except Interrupted as ended:
            return ended if self._sent_for else self._before_sending(ended)
        except BulkresetError as ended:
            return ended
        return None

    def _before_sending(self, ended: Interrupted) -> Interrupted:
        """Return the interruption of an execution that has sent nothing."""
        more = "more " if self._facts.get("sending_seconds") else ""
        return Interrupted(f"Interrupted before anything {more}was sent.", "", ended.signal_number)

    @property
    def _planned(self) -> bool:
        """Return whether the plan is complete: its number of rows is recorded last."""
        return "rows" in self._facts

    def _plan(
        self,
        rows: InputSet | None,
        service: EmbeddedCognito | None,
        enquiry: AccountDiscovery,
        ui: UserInterface,
        stop: CancelToken,
    ) -> None:
        """Run pass 1: plan all rows."""
        from bulkreset.plan.planner import Planner  # noqa: PLC0415  (imports pandas, which a resumed run does not need)

        planner = Planner(self._job, self._sessions, self._journal, enquiry, ui, stop)
        self._facts |= planner.run(self._facts, rows, service, self._home)
        self._log.info("plan_finished", rows=self._facts["rows"], counts=self._counts(), codes=self._journal.codes())

    def _preflight(self, enquiry: AccountDiscovery) -> Preflight:
        """Return what the run is about to do, including the facts that could not be read. Log and record it."""
        asked = AwsFacts(enquiry.callers(), enquiry.pools(), enquiry.quotas())
        for pool, caller in asked.callers.items():
            if caller.problem:
                self._log.warning("account_unknown", service="sts", user_pool_id=pool, problem=caller.problem)
        require_same_accounts(asked.callers, self._facts["targets"])
        known = {target["user_pool_id"]: target.get("account") for target in self._facts["targets"]}
        planned = PlanFacts(
            self._counts(),
            self._journal.sendable_counts(),
            self._journal.status_before_counts(),
            self._facts.get("unchecked", {}),
            self._facts.get("gaps", ()),
            {pool: found.pending for pool, found in self._journal.sign_outs().items()},
            self._journal.warning_count(UNREACHABLE),
            self._facts["input"].get("remarks", ()),
        )
        preflight = build_preflight(self._job, self._sessions, asked, planned, self._facts.get("approved"))
        for gap in preflight.unknown:
            self._log.warning("info_unavailable", what=gap.what, action=gap.action, problem=gap.code)
        lanes = [LaneSummary(at.account, at.region, None, at.quota, at.ceiling, at.pools) for at in preflight.lanes]
        targets = [
            target | {"account": target["account"] or known.get(target["user_pool_id"], "")}
            for target in describe_targets(self._sessions, asked.callers)
        ]
        days = {pool: facts.temporary_days for pool, facts in asked.pools.items() if facts.unknown is None}
        self._note(lanes=[asdict(lane) for lane in lanes], targets=targets, temporary_days=days)
        self._note_execution(callers={pool: caller.arn for pool, caller in asked.callers.items() if caller.arn})
        return preflight

    def _require_sendable(self, preflight: Preflight) -> None:
        """Raise ServiceError if a pool cannot be used, GuardTripped if there are more rows than `max_rows`."""
        for pool, facts in preflight.pools.items():
            if facts.unknown and facts.unknown.fatal:
                code = facts.unknown.code
                raise ServiceError(code, f"Cognito answered {code} when asked for {pool}.", advice_for(code))
        most = self._job.guards.max_rows
        if most is not None and preflight.ready > most:
            raise GuardTripped(
                f"The input has {format_rows(preflight.ready)} to send; max_rows is {most:,}.",
                f"Check the input, or resume with --max-rows {preflight.ready}.",
            )

    def _confirm(self, preflight: Preflight, ui: UserInterface) -> None:
        if not (self._facts["confirmed"] or self._mode.yes or ui.confirm(preflight)):
            raise GuardTripped("Cancelled: the run was not confirmed. Nothing was sent.")
        self._note(confirmed=True)

    def _apply(self, rows: InputSet | None, preflight: Preflight, ui: UserInterface, stop: CancelToken) -> None:
        """Pass 2: send every row that is still to be sent."""
        clock = SystemClock()
        if self._job.report.redact:
            # Create the key before the first row is sent: the mirror gets it, and a damaged key is detected in time.
            Redaction.load(self._home.redaction_key)
        means = RunResources(self._archive, self._mirror, self._cluster)
        apply = Apply(self._job, rows, self._sessions, self._journal, self._log, clock, means)
        if rows:
            require_planned_input(rows, self._home)
        self._journal.begin_sending()
        if self._cluster or "cluster" in self._facts:
            self._wait_for_old_workers(stop)
        self._note(state="applying")
        if self._mirror:
            self._mirror.start_generation()
        began = clock.now()
        try:
            apply.run(preflight, ui, stop, limited_by="guards.limit" if self._mode.limit is None else "--limit")
        finally:
            self._sent_for = clock.now() - began
            # There are no results if sending did not begin.
            for lane, figures in zip(self._facts["lanes"], apply.lane_results(self._sent_for), strict=False):
                lane.update(figures)

    def _wait_for_old_workers(self, stop: CancelToken) -> None:
        """Wait until no worker agent of a dead coordinator can send, so that each lane keeps to its rate."""
        if self._facts["state"] == "applying" and self._facts.get("cluster"):
            until = time.monotonic() + LINGER_SECONDS
            while time.monotonic() < until:
                stop.check()
                time.sleep(0.1)
        self._note(cluster=self._cluster.name if self._cluster else None)

    def finish(self, ended: BulkresetError | None) -> Summary:
        """Write the reports from the journal, however the run ended. Raises RecordError if that fails."""
        try:
            self._note(
                lanes=self._facts.get("lanes", []),
                seconds=self._facts.get("seconds", 0.0) + time.monotonic() - self._began,
                sending_seconds=self._facts.get("sending_seconds", 0.0) + self._sent_for,
            )
            if self._mode.retry_failed:
                self._journal.restore_failed()
        except RecordError as failure:
            raise (ended if isinstance(ended, RecordError) else failure) from None
        end = Finisher(self._job, self._home, self._journal, self._facts, self._log, self._mirror)
        return self._afterwards.of(end.write_reports(ended), self._warn_notification)

    def _warn_notification(self, problem: str) -> None:
        self._log.warning("delivery_failed", problem=problem)

    def _note(self, **facts: object) -> None:
        self._journal.note(**facts)
        self._facts |= facts

    def _note_execution(self, **facts: object) -> None:
        """Set facts of this execution, which is the run's last one."""
        *earlier, this = self._facts["executions"]
        self._note(executions=[*earlier, this | facts])

    def _counts(self) -> dict[str, int]:
        return public_counts(self._journal.counts(), dry_run=True)
