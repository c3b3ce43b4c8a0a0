"""One run, composed: plan, confirm, apply, report."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from structlog.typing import FilteringBoundLogger

from bulkreset.cognito.answer import advice
from bulkreset.cognito.client import BotoTransport
from bulkreset.cognito.emulator import Emulator, emulator
from bulkreset.cognito.session import Caller, TargetSession, open_session
from bulkreset.dispatch.clock import SystemClock
from bulkreset.dispatch.coordinator import Coordinator, Feed
from bulkreset.dispatch.lane import Lane, Result
from bulkreset.dispatch.pacer import Pacer
from bulkreset.errors import BulkresetError, GuardTripped, InputError, Refused, ServiceError
from bulkreset.intake.reader import Rows, fingerprint, open_rows
from bulkreset.intake.screen import Screen
from bulkreset.job import Job
from bulkreset.preflight import LanePlan, Preflight, inspect
from bulkreset.record.journal import Journal
from bulkreset.record.log import open_log
from bulkreset.record.report import write_csv, write_summary
from bulkreset.record.rundir import RunDir
from bulkreset.record.summary import exit_code_of, public_counts, state_of, summarise
from bulkreset.rows import LaneSummary, Outcome, Row, Secret, Status, Summary
from bulkreset.watch import Progress, Stop, Ui


@dataclass(frozen=True, slots=True)
class Mode:
    """How a job is run this time. `console` takes the louder events of the log."""

    console: IO[str]
    dry_run: bool = False
    emulate: bool = False
    verbosity: int = 0
    console_json: bool = False


def start(job: Job, path: Path, mode: Mode, ui: Ui, stop: Stop) -> Summary:
    """Run `job` in the new run directory `path`. Raises Refused where nothing came of it that is worth keeping."""
    with ExitStack() as stack:
        rows = open_rows(job.input)
        service = stack.enter_context(emulator(job)) if mode.emulate else None
        sessions = {
            target.user_pool_id: (service.open_session if service else open_session)(target) for target in job.targets
        }
        home = RunDir.create(path)
        stack.callback(home.release)
        try:
            run = Run.begin(job, home, mode, sessions, stack)
            ended = run.until_the_end(rows, service, ui, stop)
        except Refused:
            stack.close()
            home.discard()
            raise
        return run.report(ended)


class Run:
    """A job in its run directory."""

    def __init__(
        self,
        job: Job,
        home: RunDir,
        journal: Journal,
        log: FilteringBoundLogger,
        sessions: Mapping[str, TargetSession],
        *,
        dry_run: bool,
    ) -> None:
        self._job = job
        self._home = home
        self._journal = journal
        self._log = log
        self._sessions = sessions
        self._dry_run = dry_run
        self._began = time.monotonic()

    @classmethod
    def begin(
        cls, job: Job, home: RunDir, mode: Mode, sessions: Mapping[str, TargetSession], stack: ExitStack
    ) -> "Run":
        """Write down what is asked, before anything is read."""
        run_id = str(uuid.uuid4())
        targets = [
            {
                "user_pool_id": pool,
                "region": session.region,
                "endpoint": session.endpoint,
                "profile": session.target.profile,
            }
            for pool, session in sessions.items()
        ]
        mark = fingerprint(job.input.path)
        journal = Journal.create(
            home.journal,
            list(sessions),
            {
                "run_id": run_id,
                "job": job.model_dump(mode="json"),
                "mode": "dry_run" if mode.dry_run else "run",
                "emulated": mode.emulate,
                "state": "planning",
                "started_at": _utc_now(),
                "input": {"path": str(job.input.path.absolute()), **asdict(mark)},
                "targets": targets,
            },
        )
        stack.callback(journal.close)
        log = open_log(
            stack.enter_context(home.open_log()),
            run_id,
            mode.console,
            verbosity=mode.verbosity,
            console_json=mode.console_json,
        )
        log.info(
            "run_started",
            job=job.name,
            mode="dry_run" if mode.dry_run else "run",
            emulated=mode.emulate,
            targets=targets,
        )
        return cls(job, home, journal, log, sessions, dry_run=mode.dry_run)

    def until_the_end(self, rows: Rows, service: Emulator | None, ui: Ui, stop: Stop) -> BulkresetError | None:
        """Plan, confirm, apply. Returns what ended the run early, None where nothing did; raises Refused for an unusable input."""
        planned = False
        try:
            with ThreadPoolExecutor(len(self._sessions)) as aside:
                asked = {pool: aside.submit(session.caller) for pool, session in self._sessions.items()}
                self._plan(rows, service, ui, stop)
                planned = True
                callers = {pool: answer.result() for pool, answer in asked.items()}
            preflight = self._preflight(callers)
            self._guard(preflight)
            if not self._dry_run and preflight.ready:
                if not ui.confirm(preflight):
                    raise GuardTripped("The run was not confirmed, so nothing was sent.")
                stop.check()
                self._apply(rows, preflight, ui, stop)
        except Refused as ended:
            if not planned:
                raise
            return ended
        except BulkresetError as ended:
            return ended
        return None

    def _plan(self, rows: Rows, service: Emulator | None, ui: Ui, stop: Stop) -> None:
        """Pass 1: read, screen and write down every row, without its password."""
        screen = Screen(self._job)
        read = 0
        for chunk in rows.chunks():
            stop.check()
            self._journal.plan(screen.rows(chunk))
            if service:
                service.seed(chunk.frame["user_pool_id"], chunk.frame["username"])
            read = chunk.last
            ui.planning(read)
        if not read:
            raise InputError(f"The input {self._job.input.path} has no rows.", "Check that it is the right file.")
        self._journal.reject_twins(self._job.input.on_duplicate)
        self._journal.note(state="planned")
        self._log.info("plan_finished", rows=read, counts=self._counts(), codes=self._journal.codes())

    def _preflight(self, callers: Mapping[str, Caller]) -> Preflight:
        """What is about to happen; a service that the run can do without is named where it did not answer."""
        for pool, caller in callers.items():
            if caller.problem:
                self._log.warning("side_service_missing", service="sts", user_pool_id=pool, problem=caller.problem)
        preflight = inspect(self._job, self._sessions, callers, self._counts(), self._journal.ready())
        self._journal.note(
            lanes=[
                asdict(LaneSummary(lane.account, lane.region, lane.ceiling, lane.quota, lane.ceiling))
                for lane in preflight.lanes
            ]
        )
        return preflight

    def _guard(self, preflight: Preflight) -> None:
        """The guards that forbid sending anything."""
        most = self._job.guards.max_rows
        if most is not None and preflight.ready > most:
            raise GuardTripped(
                f"{preflight.ready:,} rows would be sent and max_rows allows {most:,}.",
                "Check the input, or raise the guard.",
            )

    def _apply(self, rows: Rows, preflight: Preflight, ui: Ui, stop: Stop) -> None:
        """Pass 2: send every row that is still to be sent."""
        self._unchanged()
        clock = SystemClock()
        results: SimpleQueue[tuple[Lane, Result]] = SimpleQueue()
        feeds = [self._feed(plan, rows, clock, results) for plan in preflight.lanes]
        progress = Progress(total=preflight.ready)

        def observe(outcomes: Sequence[Outcome]) -> None:
            progress.add(outcomes)
            progress.rate = sum(feed.lane.pacer.rate() or 0 for feed in feeds) or None
            for outcome in outcomes:
                write = self._log.debug if outcome.status is Status.SET else self._log.info
                write(
                    "row_settled",
                    row=outcome.row,
                    status=outcome.status.value,
                    code=outcome.code,
                    attempts=outcome.attempts,
                    request_id=outcome.request_id,
                )
            ui.sending(progress)

        self._journal.begin_sending()
        self._journal.note(state="applying")
        self._log.info("sending_started", rows=preflight.ready, lanes=len(feeds))
        began = clock.now()
        try:
            fatal = Coordinator(self._journal, clock, results, observe).run(feeds, stop.is_set)
        finally:
            self._journal.note(sending_seconds=self._journal.meta().get("sending_seconds", 0.0) + clock.now() - began)
        if fatal:
            raise ServiceError(
                fatal.code, f"Cognito answered {fatal.code}: {fatal.message.rstrip('.')}.", advice(fatal.code)
            )
        stop.check()

    def _feed(
        self, plan: LanePlan, rows: Rows, clock: SystemClock, results: "SimpleQueue[tuple[Lane, Result]]"
    ) -> Feed:
        def changed(rate: float, why: str) -> None:
            self._log.info("rate_changed", account=plan.account, region=plan.region, rate=round(rate, 2), reason=why)

        transports = {pool: BotoTransport(self._sessions[pool].cognito()) for pool in plan.pools}
        lane = Lane(transports, Pacer(plan.ceiling, clock, changed), self._job.pace, clock, results)
        return Feed(lane, self._sendable(rows, frozenset(plan.pools)))

    def _sendable(self, rows: Rows, pools: frozenset[str]) -> Iterator[Row]:
        """The rows still to be sent through one lane: the journal says which, the input has the passwords."""
        for chunk in rows.chunks():
            wanted = [row for row in self._journal.sendable(chunk.first, chunk.last) if row.pool in pools]
            if not wanted:
                continue
            usernames, passwords = chunk.frame["username"].tolist(), chunk.frame["password"].tolist()
            for row in wanted:
                offset = row.row - chunk.first
                if usernames[offset] != row.username:
                    raise GuardTripped(
                        f"Row {row.row} of the input is not the user that was planned: the file has changed.",
                        "Restore the file that was planned, then resume.",
                    )
                yield Row(
                    row.row, row.username, Secret(passwords[offset]), row.pool, bool(row.permanent), bool(row.doubted)
                )

    def _unchanged(self) -> None:
        found = asdict(fingerprint(self._job.input.path))
        if any(self._journal.meta()["input"][key] != value for key, value in found.items()):
            raise InputError(
                f"The input {self._job.input.path} has changed since it was planned.", "Restore it, or plan a new run."
            )

    def _counts(self) -> dict[str, int]:
        return public_counts(self._journal.counts(), dry_run=True)

    def report(self, ended: BulkresetError | None) -> Summary:
        """Draw the reports from the journal, whatever ended the run."""
        counts = public_counts(self._journal.counts(), dry_run=self._dry_run)
        exit_code = exit_code_of(ended, counts, dry_run=self._dry_run)
        self._journal.note(state=state_of(ended), exit_code=exit_code, finished_at=_utc_now())
        summary = summarise(self._journal, time.monotonic() - self._began, ended)
        write_csv(self._journal, self._home.report, unsent="ready" if self._dry_run else "unprocessed")
        write_summary(summary, self._home.summary)
        if ended:
            self._log.warning("stopped", reason=type(ended).__name__, message=ended.message)
        self._log.info(
            "run_finished",
            state=summary.state,
            exit_code=exit_code,
            counts=dict(summary.counts),
            seconds=summary.seconds,
        )
        return summary


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
