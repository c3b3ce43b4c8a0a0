"""The planner: pass 1 as a whole, rows compared with the job, with the directory, with each other and with what was approved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bulkreset.approval import Approval
from bulkreset.check import Check
from bulkreset.cognito.emulator import Emulator
from bulkreset.cognito.enquiry import Enquiry
from bulkreset.cognito.session import TargetSession
from bulkreset.dispatch.clock import SystemClock
from bulkreset.intake.chunk import Chunk
from bulkreset.intake.reader import Rows
from bulkreset.job import Job
from bulkreset.plan import protected_names, write_plan
from bulkreset.preflight import described, grouped
from bulkreset.record.journal import Journal
from bulkreset.watch import Stop, Ui


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

    def run(self, facts: Mapping[str, Any], rows: Rows, service: Emulator | None, scratch: Path) -> dict[str, Any]:
        """Plan, and note in the journal how far that is: `screened`, `unchecked`, at last `rows`.

        `facts` are the journal's so far, `scratch` is the check's own file. Returns the new facts, and `gaps`. Raises
        Refused for an input, a group or an approval that forbids the run, Stopped or Interrupted where it can be gone on
        with.
        """
        pools = self._enquiry.pools()
        protected = protected_names(self._job, self._sessions)
        found: dict[str, Any] = {"gaps": ()}
        if "screened" not in facts:
            found["screened"] = self._screen(rows, service, protected)
        screened = found.get("screened") or facts["screened"]
        if "unchecked" not in facts:
            lanes = list(grouped(self._sessions, self._enquiry.callers()).values())
            check = Check(self._job, self._sessions, pools, lanes, protected, SystemClock())
            found["unchecked"], found["gaps"] = check.run(self._journal, scratch, self._looked_up)
        folding = [pool for pool, told in pools.items() if told.folds]
        self._journal.reject_twins(self._job.input.on_duplicate, folding)
        if facts["approved"]:
            approval = Approval(Path(facts["approved"]["run_dir"]))
            approval.must_be_of({**facts, "targets": described(self._sessions, self._enquiry.callers())})
            approval.must_be_planned_in(self._journal)
        self._journal.note(state="planned", rows=screened)
        return found | {"state": "planned", "rows": screened}

    def _screen(self, rows: Rows, service: Emulator | None, protected: set[str]) -> int:
        def seen(chunk: Chunk) -> None:
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
