"""The writer of the plan: compares rows with the job, the user pools, each other and the approved dry run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bulkreset.cancellation import CancelToken, UserInterface, lookup_listener
from bulkreset.clock import SystemClock
from bulkreset.cognito.account import AccountDiscovery
from bulkreset.cognito.emulator import EmbeddedCognito
from bulkreset.cognito.endpoint import connection_problem
from bulkreset.cognito.list_users import UserLister
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import ServiceError
from bulkreset.input.batch import RowBatch
from bulkreset.input.input_set import InputSet
from bulkreset.job import Job
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import InputFacts, Phase
from bulkreset.plan.approval import Approval
from bulkreset.plan.input_binding import input_files
from bulkreset.plan.parallel_calls import listing_pacers
from bulkreset.plan.pool_users import PoolUserSource
from bulkreset.plan.preflight import describe_targets, group_by_quota
from bulkreset.plan.screening import protected_names, write_plan
from bulkreset.plan.user_check import UserCheck
from bulkreset.plan.user_store import UserStore

# The pool cannot be reached at all, so no row could be sent: even a run that checks no users ends.
_UNREACHABLE = frozenset({"SSLError", "EndpointConnectionError", "ProxyConnectionError"})


class Planner:
    """Makes the plan of one run, or continues an interrupted plan."""

    def __init__(
        self,
        job: Job,
        sessions: Mapping[str, TargetSession],
        journal: Journal,
        discovery: AccountDiscovery,
        ui: UserInterface,
        stop: CancelToken,
    ) -> None:
        self._job = job
        self._sessions = sessions
        self._journal = journal
        self._discovery = discovery
        self._ui = ui
        self._stop = stop

    def run(self, rows: InputSet | None, service: EmbeddedCognito | None, home: RunDir) -> Sequence[UnknownFact]:
        """Plan from the run's phase on, and record each phase in the journal.

        If `rows` is None, the pools' own users are listed. Returns the gaps of pools whose users could not be listed.
        Raises Refused if an input, a group or an approval forbids the run, Stopped or Interrupted if the plan can be
        resumed.
        """
        journal, pools = self._journal, self._discovery.pools()
        self._require_described(pools)
        protected = protected_names(self._job, self._sessions)
        gaps: Sequence[UnknownFact] = ()
        lanes = list(group_by_quota(self._sessions, self._discovery.callers()).values())
        check = UserCheck(self._job, self._sessions, pools, lanes, protected, SystemClock())
        with ExitStack() as stack:
            listed_users = None
            if journal.state.phase is Phase.READING:
                source: InputSet | PoolUserSource | None = rows
                if source is None:
                    source = listed_users = stack.enter_context(self._list_users(check, lanes, home.user_store))
                self._screen(source, service, protected)
            if journal.state.phase is Phase.CHECKING:
                seen = lookup_listener(self._ui, self._stop)
                gaps = check.run(journal, home.user_store, seen, listed_users.store if listed_users else None)
        folding = [pool for pool, pool_facts in pools.items() if pool_facts.case_insensitive]
        with journal.stoppable():
            journal.write.reject_duplicates(self._job.input.on_duplicate, folding)
            if journal.state.approved:
                approval = Approval(Path(journal.state.approved.run_dir))
                targets = describe_targets(self._sessions, self._discovery.callers())
                approval.require_same_job(journal.state.changed({"targets": targets}))
                approval.require_same_rows(journal.read)
        journal.write.change(phase=Phase.PLANNED)
        return gaps

    def _require_described(self, pools: Mapping[str, PoolFacts]) -> None:
        """Raise ServiceError if a pool cannot be reached, or DescribeUserPool failed transiently for one to be checked.

        Without its description the users would not be checked, so none would be skipped.
        """
        for pool, facts in pools.items():
            # If it was denied, the run continues and reports it; if the pool does not exist, the run ends later.
            gap, session = facts.unknown, self._sessions[pool]
            problem = connection_problem(gap.code, session) if gap else None
            if gap and problem and (gap.code in _UNREACHABLE or self._job.plan.check_users):
                raise ServiceError(gap.code, *problem)
            if self._job.plan.check_users and gap and not (gap.denied or gap.fatal or session.emulated):
                raise ServiceError(
                    gap.code,
                    f"The user pool {pool} could not be described ({gap.code}), so its users cannot be looked up.",
                    "Resume later, when it answers. To send without this check: a new run with --no-check-users.",
                )

    @contextmanager
    def _list_users(self, check: UserCheck, lanes: Sequence[Sequence[str]], scratch: Path) -> Iterator[PoolUserSource]:
        """Yield the source of the listed users of the pools."""
        pools, clock = self._discovery.pools(), SystemClock()
        listers = {pool: UserLister(self._sessions[pool], facts) for pool, facts in pools.items()}
        with UserStore(scratch) as store:
            pacers = listing_pacers(self._job, lanes, clock)
            listed_users = PoolUserSource(self._job.input.select, listers, pacers, store, clock, check.skip_reason)
            listed_users.list_all(self._on_listed)
            yield listed_users

    def _on_listed(self, rows: int) -> None:
        self._ui.on_rows_read(rows)
        self._stop.check()

    def _screen(self, rows: InputSet | PoolUserSource, service: EmbeddedCognito | None, protected: set[str]) -> None:
        """Write the plan of all rows, then the fingerprints of the input, and end the phase READING."""
        begun: set[int] = set()

        def seen(chunk: RowBatch) -> None:
            if chunk.file not in begun and not self._job.input.from_pool:
                begun.add(chunk.file)
                self._journal.write.begin_file(chunk.file, chunk.first)
            if service:
                service.seed(chunk.cells("user_pool_id"), chunk.cells("username"))
            self._ui.on_rows_read(chunk.last)
            self._stop.check()

        plan = self._journal.write
        read = write_plan(self._job, rows.batches(), self._discovery.pools(), protected, plan, seen)
        # its content is known only now, and the plan must never be stored without its fingerprint
        if isinstance(rows, InputSet):
            facts = InputFacts(**rows.describe())
            plan.store_fingerprints(input_files(rows), phase=Phase.CHECKING, rows=read, input=facts)
        else:
            self._journal.write.change(phase=Phase.CHECKING, rows=read)
