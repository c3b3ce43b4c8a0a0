"""Pass 2, the apply: the input read again, every row that is still to be sent taken through its lane."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from queue import SimpleQueue

from bulkreset.cognito.choice import CARRIES, Kind, choose, open_transport
from bulkreset.cognito.session import TargetSession
from bulkreset.dispatch.clock import Clock
from bulkreset.dispatch.coordinator import Coordinator, Feed
from bulkreset.dispatch.guards import Tripwires
from bulkreset.dispatch.lane import Lane, Result
from bulkreset.dispatch.pacer import Pacer
from bulkreset.errors import GuardTripped, InputError
from bulkreset.intake.chunk import Chunk
from bulkreset.intake.reader import Rows, identity
from bulkreset.job import Job
from bulkreset.preflight import LanePlan, Preflight
from bulkreset.record.journal import Journal
from bulkreset.record.log import Log
from bulkreset.rows import Outcome, Row, Secret, Status
from bulkreset.watch import Progress, Stop, Ui

MARGIN_SECONDS = 5.0  # what a stop waits beyond the time-outs


class Apply:
    """Sends what the journal has not settled."""

    def __init__(
        self, job: Job, rows: Rows, sessions: Mapping[str, TargetSession], journal: Journal, log: Log, clock: Clock
    ) -> None:
        self._job = job
        self._rows = rows
        self._sessions = sessions
        self._journal = journal
        self._log = log
        self._clock = clock
        # Taken before the fingerprint is compared: a file that is still the same later is the one that was compared.
        self._identity = identity(job.input.path)
        self._results: SimpleQueue[tuple[Lane, Result]] = SimpleQueue()
        self._feeds: Sequence[Feed] = ()

    def run(self, preflight: Preflight, ui: Ui, stop: Stop) -> None:
        """Send until all is settled. Raises what stops it: Interrupted, a guard's error, ServiceError, RecordError."""
        kind = choose(self._job.pace.transport, (plan.ceiling for plan in preflight.lanes))
        self._feeds = feeds = [self._feed(plan, kind) for plan in preflight.lanes]
        progress = Progress(total=preflight.ready)
        watch = Tripwires(self._job.guards, self._clock, lambda: datetime.now().astimezone())

        def observe(outcomes: Sequence[Outcome]) -> None:
            progress.add(outcomes)
            watch.add(outcomes)
            for outcome in outcomes:
                if outcome.status is not Status.READY:
                    self._log_row(outcome)
            ui.sending(progress)

        def check() -> None:
            stop.check()
            watch.check()

        self._log.info("sending_started", rows=preflight.ready, lanes=len(feeds), transport=kind)
        patience = max(target.connect_timeout + target.read_timeout for target in self._job.targets) + MARGIN_SECONDS
        Coordinator(self._journal, self._clock, self._results, observe, check, patience).run(feeds)

    def attempts(self) -> list[int]:
        """How many attempts each lane has made, in the preflight's order."""
        return [feed.lane.attempts for feed in self._feeds]

    def _feed(self, plan: LanePlan, kind: Kind) -> Feed:
        def changed(rate: float, why: str) -> None:
            self._log.info("rate_changed", account=plan.account, region=plan.region, rate=round(rate, 2), reason=why)

        transports = {pool: open_transport(kind, self._sessions[pool]) for pool in plan.pools}
        pacer = Pacer(plan.ceiling, self._clock, changed)
        lane = Lane(transports, pacer, self._job.pace, self._clock, self._results, CARRIES[kind])
        return Feed(lane, _sendable(self._rows, self._journal, frozenset(plan.pools), self._unchanged))

    def _unchanged(self) -> None:
        path = self._job.input.path
        try:
            same = identity(path) == self._identity
        except InputError as error:
            raise _changed(error.message) from None
        if not same:
            raise _changed(f"{path} is not what was planned.")

    def _log_row(self, outcome: Outcome) -> None:
        write = self._log.debug if outcome.status is Status.SET else self._log.info
        write(
            "row_settled",
            row=outcome.row,
            status=outcome.status.value,
            code=outcome.code,
            attempts=outcome.attempts,
            request_id=outcome.request_id,
        )


def _sendable(
    rows: Rows, journal: Journal, pools: AbstractSet[str], unchanged: Callable[[], None]
) -> Iterator[Row | None]:
    """The rows still to be sent to these pools; None after a chunk that has none, so that nobody waits for the search.

    The journal says which they are, the input has the passwords. `unchanged` raises where the input is no longer the
    file that was planned: it is asked after a chunk was read, before any of it is used, and again at the end.
    """
    for chunk in _read(rows, journal):
        unchanged()
        wanted = [row for row in journal.sendable(chunk.first, chunk.last) if row.pool in pools]
        if not wanted:
            yield None
            continue
        usernames, passwords = chunk.frame["username"].tolist(), chunk.frame["password"].tolist()
        for row in wanted:
            offset = row.row - chunk.first
            if usernames[offset] != row.username:
                raise _changed(f"Row {row.row} of the input is not the user that was planned.")
            yield Row(
                number=row.row,
                username=row.username,
                password=Secret(passwords[offset]),
                pool=row.pool,
                permanent=bool(row.permanent),
                doubted=bool(row.doubted),
            )
    unchanged()


def _read(rows: Rows, journal: Journal) -> Iterator[Chunk]:
    """The chunks from the first row that is still to be sent; what cannot be read any more has changed."""
    try:
        yield from rows.chunks(journal.first_sendable())
    except InputError as error:
        raise _changed(error.message) from None


def _changed(what: str) -> GuardTripped:
    return GuardTripped(f"{what} The input was changed while it was read.", "Restore the file that was planned.")
