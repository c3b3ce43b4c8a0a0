"""Undo a run: restore its user pools to the time just before its first call, with point-in-time recovery."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bulkreset.cancellation import CancelToken
from bulkreset.clock import now_ms
from bulkreset.cognito.feature_plans import NO_RECOVERY_TIER, WINDOW_SECONDS
from bulkreset.cognito.point_in_time_recovery import (
    ACTIVE,
    EARLIEST_SECONDS,
    PoolRecoveries,
    PoolRestore,
    RecoveryStatus,
)
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import (
    BulkresetError,
    Interrupted,
    JobError,
    NotConfirmed,
    RecordError,
    Refused,
    RunDirError,
    ServiceError,
)
from bulkreset.job import Job
from bulkreset.journal.execution import new_execution, unix_ms, utc_now
from bulkreset.journal.journal import Journal, locked_run
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import RestoredFacts, RunState, UndoFacts
from bulkreset.mirror.factory import open_mirror
from bulkreset.plan.earlier_runs import find_later_runs
from bulkreset.plan.preflight import reopen_targets
from bulkreset.report.rewrite import rewrite_end
from bulkreset.statuses import UNCERTAIN, Status
from bulkreset.text import format_count, format_duration, format_iso, format_time, quoted

if TYPE_CHECKING:
    from bulkreset.mirror.mirror import JournalMirror

INITIATING = "INITIATING"
YES = ("y", "yes", "Y", "Yes", "YES")
LATER_SHOWN = 10  # later runs that are named before an undo
FIRST_WAIT, LONGEST_WAIT = 1.0, 15.0  # seconds between two checks of a recovery
_TOUCHED = frozenset({Status.SET, *UNCERTAIN})


class UndoUi(Protocol):
    """Shows the notices and asks the questions of an undo."""

    def notice(self, text: str) -> None:
        """Show a message."""

    def agree(self, question: str, answers: Sequence[str]) -> bool:
        """Return whether the user agrees, by one of these answers."""


class _UndoMirror:
    """A run's mirror during an undo, if it has one. If S3 fails, the undo continues without it and reports that."""

    def __init__(
        self, stack: ExitStack, job: Job, home: RunDir, journal: Journal, notice: Callable[[str], None]
    ) -> None:
        """Open the mirror; `stack` closes it.

        Raises Busy if another machine is working on the run, RunDirError if another one has continued it since.
        """
        self._notice = notice
        self._mirror: JournalMirror | None = None
        with self._failing():
            self._mirror = stack.enter_context(open_mirror(job, home, journal, notice))

    def record_begin(self) -> None:
        """Upload the journal, which records the begin of the undo. A restored run can then only continue it."""
        with self._failing():
            if self._mirror:
                self._mirror.start_generation()

    def finish(self) -> None:
        """Upload the journal and the reports."""
        with self._failing():
            if self._mirror:
                self._mirror.finish()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (RecordError, JobError) as error:
            self._mirror = None
            self._notice(
                f"WARNING: the mirror does not record the undo: {error.message} Do not resume the run from it."
            )


def undo(
    path: Path,
    ui: UndoUi,
    stop: CancelToken,
    *,
    preview: bool = False,
    cancel: bool = False,
    now: Callable[[], int] = now_ms,
) -> dict[str, UndoFacts]:
    """Undo the run in `path`, or continue or cancel an undo. Returns the facts of its recoveries, by pool.

    `preview`: cancel each recovery after its preview. `cancel`: only cancel an undo in progress. `now` returns Unix
    milliseconds. Raises Refused if the run cannot be undone (now), NotConfirmed if nobody agreed to it, ServiceError if
    a recovery fails, Interrupted; after these the same command continues or cancels.
    """
    if preview and cancel:
        raise Refused("preview begins an undo, and cancel ends one.", "Pass one of the two.")
    with ExitStack() as stack:
        home, journal = stack.enter_context(locked_run(path))
        state = journal.state
        if state.is_dry_run or state.emulated:
            kind = "is a dry run" if state.is_dry_run else "was emulated"
            raise RunDirError(f"The run in {path} {kind}: it has changed no real user, so there is nothing to undo.")
        counts = _touched(journal)
        if not counts:
            raise RunDirError(f"The run in {path} has set no passwords, so there is nothing to undo.")
        job, sessions, account = reopen_targets(state, counts)
        facts = account.pools()
        journal.write.begin_sending()  # from now on every commit waits for the disk
        mirror = _UndoMirror(stack, job, home, journal, ui.notice)
        try:
            for pool, session in sessions.items():
                one = _PoolUndo(path, journal, session, facts[pool], counts[pool], ui, stop, now, mirror.record_begin)
                one.run(preview=preview, cancel=cancel)
        except Interrupted as error:
            advice = "No recovery was begun."
            if any(it.is_open for it in journal.state.undos.values()):
                advice = (
                    "The recovery continues without this command, and the pool accepts no writes meanwhile."
                    f" {_continue_text(path)}"
                )
            raise Interrupted(error.message, advice, error.signal_number) from None
        finally:
            if journal.state.undone:
                rewrite_end(home, journal)
            if journal.state.undos:
                mirror.finish()
        return dict(journal.state.undos)


def require_not_undone(state: RunState, path: Path) -> None:
    """Raise RunDirError if a run was undone, or an undo is in progress: it must not send again."""
    require_undo_ended(state, path)
    if state.undone:
        when = format_time(max(state.undone.values()))
        raise RunDirError(
            f"The run {path} was undone on {when}, so its journal no longer describes its users.",
            "To reset the same users, run the job again, with --again.",
        )


def require_undo_ended(state: RunState, path: Path) -> None:
    """Raise RunDirError if an undo of the run is in progress."""
    if any(it.is_open for it in state.undos.values()):
        raise RunDirError(f"An undo of the run {path} is in progress.", _continue_text(path))


def _touched(journal: Journal) -> Counter[str]:
    """Return how many rows may have changed their user, by pool."""
    counts: Counter[str] = Counter()
    for pool, status, rows in journal.read.pool_counts():
        if status in _TOUCHED:
            counts[pool] += rows
    return counts


def _continue_text(path: Path) -> str:
    return f"Continue or cancel it: bulkreset undo {quoted(path)} [--cancel]."


@dataclass
class _PoolUndo:
    """The undo of a run in one pool."""

    _path: Path
    _journal: Journal
    session: InitVar[TargetSession]
    _facts: PoolFacts
    _rows: int
    _ui: UndoUi
    _stop: CancelToken
    _now: Callable[[], int]
    _record_begin: Callable[[], None]

    def __post_init__(self, session: TargetSession) -> None:
        self._pool = session.target.user_pool_id
        self._name = self._facts.name or self._pool
        self._recoveries = PoolRecoveries(session)

    def run(self, *, preview: bool, cancel: bool) -> None:
        """Undo the run in this pool, or continue or cancel that."""
        known = self._known
        if known and known.is_completed:
            self._ui.notice(f"{self._name}: the run was undone on {format_time(known.ended_at or '')}.")
            return
        ours = self._find_ours()
        if ours and cancel:
            self._cancel(ours)
        elif cancel:
            self._ui.notice(f"{self._name}: no undo of this run is in progress, so there is nothing to cancel.")
        elif not (self._known and self._known.is_completed):
            self._go_on(ours or self._begin(), preview=preview)

    @property
    def _known(self) -> UndoFacts | None:
        return self._journal.state.undos.get(self._pool)

    @property
    def _point_ms(self) -> int:
        point = self._journal.state.recovery_point
        if point is None:
            raise RunDirError(
                f"The run has no recovery point in its journal, so {self._name} cannot be restored to it.",
                "Choose a time by hand, with aws cognito-idp initiate-point-in-time-recovery.",
            )
        return unix_ms(point)

    def _find_ours(self) -> PoolRestore | None:
        """Find this run's recovery if it is in progress, and record how an earlier one ended.

        Raises Refused if the pool has another recovery.
        """
        if self._facts.tier == NO_RECOVERY_TIER:
            raise Refused(
                f"The run CANNOT be undone in {self._name}: its feature plan Lite has no point-in-time recovery.",
                "A pool can be moved to Essentials, but whether it can then go back to a time before that is not known.",
            )
        known, active = self._known, self._recoveries.active()
        known = known if known and known.is_open else None
        if active and known and not known.restore_id and active.point_ms == self._point_ms:
            self._note(active)  # the answer to the first call was lost
            return active
        if active and known and active.restore_id == known.restore_id:
            return active
        if known and known.restore_id:  # it ended while no process followed it
            ended = self._recoveries.describe(known.restore_id)
            self._note(ended)
            self._ui.notice(
                f"{self._name}: the recovery that was begun on {format_time(known.begun_at)} {_ended_text(ended)}."
            )
        elif known:  # the first call was not applied
            self._drop()
        if active:
            to = f" to {_time(active.point_ms)}" if active.point_ms else ""
            raise Refused(
                f"Another recovery of {self._name}{to} is in progress ({active.status}, {active.restore_id}).",
                "Wait until it is completed or cancelled, then run undo again.",
            )
        return None

    def _begin(self) -> PoolRestore:
        """Show what will happen, ask for the pool's name and initiate the recovery."""
        if self._facts.unknown:
            raise ServiceError(
                self._facts.unknown.code,
                f"The user pool {self._pool} could not be described ({self._facts.unknown.code}).",
                "Run undo again when it can be.",
            )
        self._require_in_time()
        self._ui.notice("\n".join(self._warning()))
        question = f'To pause the pool\'s writes and see a preview, type its name ("{self._name}")'
        if not self._ui.agree(question, (self._name, self._pool)):
            raise NotConfirmed("Not confirmed. Nothing was changed.", "Run undo again to be asked again.")
        self._require_in_time()  # the answer may have taken long
        # Written first: after a crash the next undo searches for a recovery that this call may have begun.
        self._write(UndoFacts(status=INITIATING, user=new_execution().user, begun_at=utc_now()))
        self._record_begin()
        try:
            begun = self._recoveries.initiate(self._point_ms)
        except BulkresetError:
            if not self._recoveries.active():  # the call was refused, or not applied
                self._drop()
            raise
        self._note(begun)
        return begun

    def _require_in_time(self) -> None:
        now, point = self._now(), self._point_ms
        earliest = point + EARLIEST_SECONDS * 1000
        if now < earliest:
            raise Refused(
                f"It is too early to undo the run: a pool can be restored to a time that is at least 15 minutes ago, and"
                f" the run began to send on {_time(point)}.",
                f"Run undo again after {_time(earliest)}.",
            )
        window = WINDOW_SECONDS.get(self._facts.tier)
        if window is not None and now > (latest := point + window * 1000):
            raise Refused(
                f"It is too late to undo the run: {self._name} has the feature plan {self._facts.tier.title()}, and could be"
                f" restored to {_time(point)} until {_time(latest)}.",
                "Reset the users again with a new run, if they need it.",
            )

    def _warning(self) -> list[str]:
        later = find_later_runs(self._journal.state, self._path, self._pool)
        shown = [f"  - {one}" for one in later[:LATER_SHOWN]]
        shown += [f"  - and {len(later) - LATER_SHOWN:,} more runs"] if len(later) > LATER_SHOWN else []
        named = self._name if self._name == self._pool else f"{self._name} ({self._pool})"
        return [
            f"Undo: Amazon Cognito restores the user pool {named} to {_time(self._point_ms)}, just before this run's first call.",
            (
                "- From now until the recovery is completed or cancelled, the WHOLE POOL ACCEPTS NO WRITES: no sign-up, no"
                " forgot-password, no change of attributes, and no sign-in that must set a password or MFA."
            ),
            "- EVERYTHING since that time is reverted, not only what this run did: new users, other changes of users, other runs.",
            *(
                ["- These runs have set passwords in the pool since then, which are reverted, too:", *shown]
                if later
                else []
            ),
            (
                "- Not known: AWS says that users who changed their password since that time keep their current one. Whether a"
                " password that an administrator set, as this run did, counts as such a change is not documented. If it does,"
                " the passwords of this run stay."
            ),
            "- First there is a preview with figures. You are asked again before anything is changed.",
        ]

    def _go_on(self, recovery: PoolRestore, *, preview: bool) -> None:
        """Follow the recovery to its preview, then start or cancel it, and follow it to its end."""
        if recovery.status is not RecoveryStatus.RESTORING:
            recovery = self._wait_while(RecoveryStatus.PREVIEW_GENERATING, "The preview is being generated")
        if recovery.status is RecoveryStatus.PREVIEW_GENERATED:
            self._ui.notice("\n".join(self._preview_lines(recovery)))
            if preview:
                self._cancel(recovery)
                return
            question = (
                "Start the recovery? It cannot be cancelled afterwards. y starts it, any other answer cancels it [N]"
            )
            if not self._ui.agree(question, YES):
                self._cancel(recovery)
                raise NotConfirmed("Not started. Nothing was changed.", "Run undo again to start over.")
            self._note(self._recoveries.start(recovery.restore_id))
        recovery = self._wait_while(RecoveryStatus.RESTORING, "The pool is being restored")
        if recovery.status is not RecoveryStatus.RESTORE_COMPLETED:
            raise ServiceError(
                recovery.status.value,
                f"The recovery of {self._name} {_ended_text(recovery)}.",
                f"Look at it in the console ({recovery.restore_id}), then run undo again.",
            )
        self._ui.notice(f"{self._name} is as it was on {_time(self._point_ms)}, and accepts writes again.")

    def _preview_lines(self, recovery: PoolRestore) -> list[str]:
        lines = [f"Preview of {self._name}, restored to {_time(self._point_ms)}:"]
        lines += [
            f"  {one.entity}: {one.created:,} created, {one.updated:,} updated, {one.deleted:,} deleted"
            for one in recovery.preview
        ] or ["  nothing would change"]
        lines.append(f"  This run: {format_count(self._rows, 'password')} set or in doubt in this pool.")
        changed = sum(one.created + one.updated + one.deleted for one in recovery.preview)
        if changed > self._rows:
            lines.append(
                f"  So {changed - self._rows:,} or more changes that are NOT this run's would be reverted, too."
            )
        elif changed < self._rows:
            lines.append("  The recovery changes fewer: it may keep passwords that this run has set.")
        return lines

    def _wait_while(self, status: RecoveryStatus, what: str) -> PoolRestore:
        known = self._known
        began, wait, notice_after = self._now(), FIRST_WAIT, 0.0
        recovery = self._recoveries.describe(known.restore_id if known else "")
        while recovery.status in {status, RecoveryStatus.TEMPORARY_INTERNAL_ERROR_SEE_SUPPORT_CASE}:
            spent = (self._now() - began) / 1000
            if not notice_after or spent >= notice_after:
                late = "" if recovery.status is status else f" ({recovery.status}: AWS support can help)"
                self._ui.notice(f"{what}: {format_duration(spent)} so far{late}.")
                notice_after = max(2 * spent, LONGEST_WAIT)
            self._stop.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)
            recovery = self._recoveries.describe(recovery.restore_id)
        self._note(recovery)
        return recovery

    def _cancel(self, recovery: PoolRestore) -> None:
        if recovery.status is RecoveryStatus.RESTORING:
            raise Refused(
                f"The recovery of {self._name} was started, and cannot be cancelled any more.",
                "Wait for its end: run undo without --cancel.",
            )
        self._note(self._recoveries.cancel(recovery.restore_id))
        self._ui.notice(f"Cancelled: {self._name} accepts writes again. Nothing was changed.")

    def _note(self, recovery: PoolRestore) -> None:
        known = self._journal.state.undos[self._pool]  # written before the first call
        ended_at = None if recovery.status in ACTIVE else utc_now()
        noted = {"restore_id": recovery.restore_id, "status": recovery.status.value, "ended_at": ended_at}
        self._write(known.model_copy(update=noted | {"preview": recovery.preview or known.preview}))
        if recovery.status is RecoveryStatus.RESTORE_COMPLETED and ended_at:
            self._note_in_later_runs(known.begun_at, ended_at)

    def _note_in_later_runs(self, begun_at: str, ended_at: str) -> None:
        """Note in the journals of the runs that were reverted, too, that the pool was restored."""
        state = self._journal.state
        fact = RestoredFacts(run_dir=str(self._path), at=ended_at, point=state.recovery_point or "")
        for run in find_later_runs(state, self._path, self._pool):
            if run.started_at >= begun_at:  # it began after the pool paused its writes
                continue
            try:
                with locked_run(Path(run.run_dir)) as (home, journal):
                    journal.write.change(restored={**journal.state.restored, self._pool: fact})
                    rewrite_end(home, journal)
            except BulkresetError as error:
                self._ui.notice(f"The status of {run.run_dir} does not say that it may be reverted: {error.message}")

    def _write(self, facts: UndoFacts) -> None:
        self._journal.write.change(undos={**self._journal.state.undos, self._pool: facts})

    def _drop(self) -> None:
        undos = self._journal.state.undos
        self._journal.write.change(undos={pool: facts for pool, facts in undos.items() if pool != self._pool})


def _ended_text(recovery: PoolRestore) -> str:
    return {
        RecoveryStatus.PREVIEW_CANCELLED: "was cancelled",
        RecoveryStatus.PREVIEW_EXPIRED: "has expired: nobody started it within 24 hours. Nothing was changed",
        RecoveryStatus.PREVIEW_GENERATION_FAILED: "failed, because no preview could be generated. Nothing was changed",
        RecoveryStatus.AWS_ABORTED: "was ended by AWS",
        RecoveryStatus.RESTORE_COMPLETED: "is completed",
    }.get(recovery.status, f"has the status {recovery.status}")


def _time(unix: int | None) -> str:
    return format_time(format_iso(unix or 0, "seconds"))
