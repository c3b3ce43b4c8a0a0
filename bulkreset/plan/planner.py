"""The planner: pass 1 as a whole, rows compared with the job, with the directory, with each other and with what was approved."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bulkreset.cancellation import Stop, Ui
from bulkreset.cognito.account import Enquiry
from bulkreset.cognito.emulator import Emulator
from bulkreset.cognito.list_users import Directory
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import ServiceError
from bulkreset.input.batch import Chunk
from bulkreset.input.reader import Chunks
from bulkreset.job import Job
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.plan.approval import Approval
from bulkreset.plan.paged_reader import listing_pacers
from bulkreset.plan.pool_users import Roll
from bulkreset.plan.preflight import described, grouped
from bulkreset.plan.screening import protected_names, write_plan
from bulkreset.plan.user_check import Check
from bulkreset.plan.user_store import Listing
from bulkreset.send.clock import SystemClock


class Planner:
    """Makes the plan of one run, or goes on with it where it was broken off."""

    def __init__(
        self,
        job: Job,
        sessions: Mapping[str, TargetSession],
        journal: Journal,
        enquiry: Enquiry,
        ui: Ui,
        stop: Stop,
    ) -> None:
        self._job = job
        self._sessions = sessions
        self._journal = journal
        self._enquiry = enquiry
        self._ui = ui
        self._stop = stop

    def run(
        self, facts: Mapping[str, Any], rows: Chunks | None, service: Emulator | None, home: RunDir
    ) -> dict[str, Any]:
        """Plan, and note in the journal how far that is: `screened`, `unchecked`, at last `rows`.

        `facts` are the journal's so far; without `rows` the pools' own users are listed. Returns the new facts, and `gaps`. Raises
        Refused for an input, a group or an approval that forbids the run, Stopped or Interrupted where it can be gone on
        with.
        """
        pools = self._enquiry.pools()
        self._must_be_told(pools)
        protected = protected_names(self._job, self._sessions)
        found: dict[str, Any] = {"gaps": ()}
        lanes = list(grouped(self._sessions, self._enquiry.callers()).values())
        check = Check(self._job, self._sessions, pools, lanes, protected, SystemClock())
        with ExitStack() as stack:
            roll = None
            if "screened" not in facts:
                if rows is None:
                    rows = roll = stack.enter_context(self._called(check, lanes, home.listing))
                found["screened"] = self._screen(rows, service, protected)
            if "unchecked" not in facts:
                known = roll.known() if roll else {}
                found["unchecked"], found["gaps"] = check.run(self._journal, home.lookup, self._looked_up, known)
        screened = found.get("screened") or facts["screened"]
        folding = [pool for pool, told in pools.items() if told.folds]
        self._journal.reject_twins(self._job.input.on_duplicate, folding)
        if facts["approved"]:
            approval = Approval(Path(facts["approved"]["run_dir"]))
            approval.must_be_of({**facts, **found, "targets": described(self._sessions, self._enquiry.callers())})
            approval.must_be_planned_in(self._journal)
        self._journal.note(state="planned", rows=screened)
        return found | {"state": "planned", "rows": screened}

    def _must_be_told(self, pools: Mapping[str, PoolFacts]) -> None:
        """Raise ServiceError where a pool that is to be checked was not described just now: unchecked, nobody would be left alone."""
        for pool, facts in pools.items():
            gap = (
                facts.gap
            )  # where it is denied, the run goes on and says so; where there is no such pool, it ends later
            if self._job.plan.check_users and gap and not (gap.denied or gap.fatal or self._sessions[pool].emulated):
                raise ServiceError(
                    gap.code,
                    f"The user pool {pool} could not be described ({gap.code}), so its users cannot be looked up.",
                    "Resume later, when it answers. To set users unseen: a new run with --no-check-users.",
                )

    @contextmanager
    def _called(self, check: Check, lanes: Sequence[Sequence[str]], scratch: Path) -> Iterator[Roll]:
        """The users of the pools, listed."""
        pools, clock = self._enquiry.pools(), SystemClock()
        directories = {pool: Directory(self._sessions[pool], facts) for pool, facts in pools.items()}
        with Listing(scratch) as listing:
            pacers = listing_pacers(self._job, lanes, clock)
            roll = Roll(self._job.input.select, directories, pacers, listing, clock, check.kind_of)
            roll.call(self._listed)
            yield roll

    def _listed(self, rows: int) -> None:
        self._ui.planning(rows)
        self._stop.check()

    def _screen(self, rows: Chunks, service: Emulator | None, protected: set[str]) -> int:
        begun: set[int] = set()

        def seen(chunk: Chunk) -> None:
            if chunk.file not in begun and not self._job.input.from_pool:
                begun.add(chunk.file)
                self._journal.begin_file(chunk.file, chunk.first)
            if service:
                service.seed(chunk.frame["user_pool_id"], chunk.frame["username"])
            self._ui.planning(chunk.last)
            self._stop.check()

        read = write_plan(self._job, rows, self._enquiry.pools(), protected, self._journal, seen)
        self._journal.note(screened=read)
        return read

    def _looked_up(self, made: int, calls: int) -> None:
        self._ui.checking(made, calls)
        self._stop.check()
