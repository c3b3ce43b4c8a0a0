"""The state of a run as a whole, in its journal: its phase, its executions, and how the last one ended."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bulkreset.errors import StoppedBy
from bulkreset.models import EndState, EntityChange


class Phase(StrEnum):
    """How far a run is. A resumed run continues from its phase."""

    READING = "reading"  # the input is read; a run that stops here reads it again
    CHECKING = "checking"  # every row is in the journal; the users are looked up
    COMPARING = "comparing"  # users are looked up; duplicates are rejected and the approval is compared
    PLANNED = "planned"  # the plan is complete
    APPLYING = "applying"  # rows may have been sent


class _Facts(BaseModel):
    """Facts with a fixed set of keys. Values are immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _require_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without a timezone")
    return text


Time = Annotated[str, AfterValidator(_require_time)]  # ISO 8601 in UTC
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]  # calls per second


class InputFacts(_Facts):
    """The input as the plan read it; `sha256` is "" before. All fields are empty if the rows are the pools' users.

    `remarks` are sentences about files that were not read or may not be whole.
    """

    path: str = ""
    size: Count = 0
    sha256: str = ""
    files: Count = 0
    remarks: tuple[str, ...] = ()


class TargetFacts(_Facts):
    """A resolved target. `account` is "" while it is unknown."""

    user_pool_id: str
    region: str
    endpoint: str
    profile: str | None = None
    role_arn: str | None = None
    account: str = ""


class LaneFacts(_Facts):
    """A lane in the last execution; the fields are those of LaneSummary."""

    account: str
    region: str
    rate: Rate | None = None
    quota: Rate
    ceiling: Rate | None
    pools: tuple[str, ...] = ()
    rows: Count = 0
    stopped_by: StoppedBy | None = None
    limit: Rate | None = None
    limited_by: str = ""


class ApprovalFacts(_Facts):
    """The dry run that was approved."""

    run_dir: str
    run_id: str
    finished_at: str
    report_sha256: str = ""  # of its report; "" if there is none
    limit: Count | None = None  # of rows in the whole run, if --limit gave one


class OriginFacts(_Facts):
    """The run from whose input this input was extracted.

    `only` are the statuses that were extracted. `already_set` counts the ready rows whose users were set, or may have
    been set, by that run or by another run of the extract. `first` is the first of these rows; 0 if there are none.
    """

    run_dir: str
    run_id: str
    only: tuple[str, ...]
    rows: Count
    edited: Flag = False
    already_set: Count = 0
    first: Count = 0


class ConfirmationFacts(_Facts):
    """How the run was confirmed, in words, and when."""

    how: str
    at: Time


class ControlFacts(_Facts):
    """An order to a running execution: its time, the user who gave it, and its effect as text."""

    at: Time
    by: str
    order: str


class MirrorProgress(_Facts):
    """What the mirror at `at` has. `tokens` are those of the generations that this journal began or tried to begin."""

    at: str
    generation: Count = 0
    commit: Count = 0
    tokens: tuple[str, ...] = ()


class End(_Facts):
    """How an execution ended. `stopped_by` is None if nothing stopped it."""

    state: EndState
    exit_code: Count
    finished_at: Time
    stopped_by: StoppedBy | None = None


class Execution(_Facts):
    """One process that ran the run. `end` is None while it works, and if it was killed. `callers` are ARNs by pool.

    `claimed_before` is the number of rows that a dead process had claimed: they may have been sent.
    """

    started_at: Time
    user: str
    host: str
    version: str
    callers: Mapping[str, str] = {}
    claimed_before: Count = 0
    end: End | None = None


class WaveFacts(_Facts):
    """One wave of a campaign: the rows whose last call ended between `begun_ms` and the next wave.

    `begun_ms` is Unix milliseconds. `ended_at` is None while the wave is sent. `users` to `expired` are the result of
    the last check at `checked_at`: users set by the wave, those with a password of their own, and those whose temporary
    password has expired.
    """

    begun_ms: Count
    ended_at: Time | None = None
    checked_at: Time | None = None
    users: Count = 0
    recovered: Count = 0
    expired: Count = 0


class UndoFacts(_Facts):
    """The recovery that undoes the run in one pool. `restore_id` is "" until the first answer is known.

    `status` is that of the API, or INITIATING before its first answer. `preview` is empty until it is generated.
    """

    restore_id: str = ""
    status: str
    user: str
    begun_at: Time
    ended_at: Time | None = None
    preview: tuple[EntityChange, ...] = ()

    @property
    def is_open(self) -> bool:
        """Return whether the recovery may be in progress."""
        return self.ended_at is None

    @property
    def is_completed(self) -> bool:
        """Return whether the pool is as it was before the run."""
        return self.status == "RESTORE_COMPLETED"


class RestoredFacts(_Facts):
    """The restore of a pool by the undo of an earlier run: it ended `at`, and the pool is as it was at `point`."""

    run_dir: str
    at: Time
    point: Time


def _require_name(job: dict[str, Any]) -> dict[str, Any]:
    """Check what is read of a job without `job_from_journal`, which validates all of it."""
    if not (isinstance(job.get("name"), str) and isinstance(job.get("report", {}), dict)):
        raise ValueError("a job without a name")  # noqa: TRY004  (pydantic expects a ValueError)
    return job


class RunState(_Facts):
    """All facts about a run. Each field is one row of the journal's table `meta`."""

    run_id: str
    job: Annotated[dict[str, Any], AfterValidator(_require_name)]
    mode: Literal["run", "dry_run"]
    emulated: Flag = False
    steps: Mapping[str, tuple[str, ...]] = {}  # the steps after a password was set, each with the pools that need it
    confirmed: Flag = False
    again: Flag = False  # it is confirmed that an earlier run has set passwords of this input
    confirmation: ConfirmationFacts | None = None
    approved: ApprovalFacts | None = None
    command: str = ""  # the command line without what only this run needs
    preflight: tuple[tuple[str, str], ...] = ()  # the lines that were shown before sending: (label, text)
    limit: Count | None = None  # of the first execution
    started_at: Time
    input: InputFacts = InputFacts()
    origin: OriginFacts | None = None
    targets: tuple[TargetFacts, ...] = ()
    passwords: str | None = None  # the folder of the generated passwords, if it is not in the run directory
    cluster: str | None = None  # where the last execution sent the rows
    mirror: MirrorProgress | None = None
    executions: Annotated[tuple[Execution, ...], Field(min_length=1)]
    abandoned_at: Time | None = None  # when the run was given up; it is never resumed
    phase: Phase = Phase.READING
    recovery_point: Time | None = None  # the full second before the first claim, by the service's clock
    undos: Mapping[str, UndoFacts] = {}  # by pool
    restored: Mapping[str, RestoredFacts] = {}  # by pool: the last undo of an earlier run after this one began to send
    waves: tuple[WaveFacts, ...] = ()
    rows: Count = 0  # rows of the plan, once all of them are read
    unchecked: Mapping[str, str] = {}  # why the users of a pool were not looked up, by pool
    # users to be set who have a passkey, by pool; None: they were not counted
    passkeys: Mapping[str, Count] | None = None
    temporary_days: Mapping[str, Count | None] = {}  # how long a temporary password is valid, by pool
    lanes: tuple[LaneFacts, ...] = ()
    control: tuple[ControlFacts, ...] = ()
    seconds: Seconds = 0.0
    sending_seconds: Seconds = 0.0
    commits: Count = 0  # the commits made while rows were sent: journal.mark has this number, too
    reports_stale: Flag = False  # the report or the page could not be written
    mirror_stale: Flag = False  # the final files could not be uploaded
    mirror_pending: Flag = False  # the final files are being uploaded; if the process dies, the upload is unfinished

    def changed(self, changes: Mapping[str, object]) -> Self:
        """Return the state with these fields replaced. Raises ValueError for an unknown field or a wrong value."""
        return self.model_validate({**dict(self), **changes})

    @property
    def is_dry_run(self) -> bool:
        """Return whether the run sends nothing."""
        return self.mode == "dry_run"

    @property
    def is_read(self) -> bool:
        """Return whether every row is in the journal."""
        return self.phase is not Phase.READING

    @property
    def is_checked(self) -> bool:
        """Return whether the users were looked up, except those in `unchecked`."""
        return self.phase not in {Phase.READING, Phase.CHECKING}

    @property
    def is_planned(self) -> bool:
        """Return whether the plan is complete."""
        return self.phase in {Phase.PLANNED, Phase.APPLYING}

    @property
    def execution(self) -> Execution:
        """Return the last execution."""
        return self.executions[-1]

    @property
    def resent(self) -> int:
        """Return how many rows were claimed when a process died, in all executions."""
        return sum(one.claimed_before for one in self.executions)

    @property
    def end(self) -> End | None:
        """Return how the last execution ended; None while it works, and if it was killed."""
        return self.execution.end

    @property
    def is_finished(self) -> bool:
        """Return whether the last execution came to its normal end."""
        return self.end is not None and self.end.state is EndState.FINISHED

    @property
    def was_killed(self) -> bool:
        """Return whether the execution before the last one did not come to an end."""
        return len(self.executions) > 1 and self.executions[-2].end is None

    @property
    def state(self) -> str:
        """Return the state as people see it: abandoned, how the run ended, planning, planned or applying."""
        if self.abandoned_at:
            return "abandoned"
        if self.end:
            return self.end.state.value
        return self.phase.value if self.is_planned else "planning"

    @property
    def stopped_by(self) -> StoppedBy | None:
        """Return the error that stopped the last execution, without its advice if the run can never continue."""
        stopped = self.end.stopped_by if self.end else None
        over = self.abandoned_at or self.undos_forbid_sending
        return replace(stopped, advice="") if stopped and over else stopped

    @property
    def undone(self) -> dict[str, str]:
        """Return when the run was undone, by pool."""
        return {pool: it.ended_at for pool, it in self.undos.items() if it.is_completed and it.ended_at}

    @property
    def undos_forbid_sending(self) -> bool:
        """Return whether the run was undone, or an undo is in progress."""
        return any(it.is_open or it.is_completed for it in self.undos.values())

    @property
    def job_name(self) -> str:
        """Return the name of the job."""
        return str(self.job["name"])

    @property
    def report_name(self) -> str:
        """Return the file name of the report that the run writes by itself."""
        return f"report.{self.job.get('report', {}).get('format', 'csv')}"

    def replacing_execution(self, **facts: object) -> tuple[Execution, ...]:
        """Return the executions, the last one with these facts."""
        return (*self.executions[:-1], self.execution.model_copy(update=facts))
