"""A state machine of all ways to interrupt and continue a run, with the rules after each step."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import RunState
from bulkreset.report.rewrite import ReportRequest, rewrite_report
from bulkreset.report.run_status import read_status
from tests.e2e.command import LAX, POOL, REGION, SET, THROTTLED
from tests.histories.fork_server import KILLED, UNCLAIMED, Execution, ForkServer
from tests.sim import Call, Simulator
from tests.sim.handle import ACCESS_KEY

ROWS = 40
ABSENT, EMPTY, DUPLICATES = (
    7,
    11,
    (15, 16),
)  # a user who is not in the pool; a row without a password; two rows of one user
PASSWORD = "Quiet-Garden"
WORKERS = 3
FATAL = {"AccessDeniedException", "ResourceNotFoundException", "ExpiredTokenException"}
STATES = {"finished": {1}, "stopped": {2, 3}, "interrupted": {143}, "row_limit": {5}}
FAULTS: dict[str, dict[str, Any]] = {
    "throttled": {"throttle": 1},
    "failed": {"error": "InternalErrorException", "status": 500},
    "failed late": {"error": "InternalErrorException", "status": 500, "apply": True},
    "lost": {"cut": "before"},
    "lost late": {"cut": "after"},
    "a page": {"garbage": True},
    "a page late": {"garbage": True, "apply": True},
    "refused": {"error": "NotAuthorizedException"},
}
FAULT_SETS = st.fixed_dictionaries(
    {"seed": st.integers(0, 99), "kinds": st.lists(st.sampled_from(sorted(FAULTS)), max_size=3, unique=True)}
)
ENDS = st.one_of(
    st.tuples(st.just("call"), st.integers(1, 20), st.sampled_from(["before", "after", "stop"])),
    st.tuples(st.just("commit"), st.integers(5, 22), st.sampled_from(["before", "inside", "after", "stop", "full"])),
    st.tuples(st.just("commit"), st.integers(1, 22), st.sampled_from(["before", "inside", "after", "stop", "full"])),
)


class SharedState:
    """The simulator, fork server and folder that all histories share, and their number so far."""

    def __init__(self, sim: Simulator, fork_server: ForkServer, home: Path) -> None:
        self.sim = sim
        self.fork_server = fork_server
        self.home = home
        self.histories = 0
        self.steps = 0


class History(RuleBasedStateMachine):
    """One run in one directory, from its beginning to its end."""

    shared: ClassVar[SharedState]

    def __init__(self) -> None:
        super().__init__()
        self.sim, self.fork_server = self.shared.sim, self.shared.fork_server
        self.shared.histories += 1
        self.home = self.shared.home / f"history-{self.shared.histories}"
        self.home.mkdir()
        self.run_dir, self.input = self.home / "run", self.home / "in.csv"
        self.settled: dict[int, str] = {}
        self.killed = False
        self.is_open = True
        self.has_resumed_with_a_changed_input = False
        self.has_resumed_when_complete = False
        self.calls_seen = 0

    @initialize(attempts=st.integers(1, 5))
    def begin(self, attempts: int) -> None:
        names = [f"user.{row:02d}" for row in range(1, ROWS + 1)]
        names[DUPLICATES[1] - 1] = names[DUPLICATES[0] - 1]
        lines = [f"{name},{'' if row == EMPTY else f'{PASSWORD}.{row}'}" for row, name in enumerate(names, 1)]
        self.input.write_text("\n".join(["username,password", *lines, ""]), encoding="utf-8")
        self.names = dict(enumerate(names, 1))
        self.sim.reset()
        self.sim.add_pool(POOL, [name for row, name in self.names.items() if row != ABSENT], LAX | {"MinimumLength": 1})
        (self.home / "job.toml").write_text(
            f'name = "history"\npermanent = true\n[input]\npath = "in.csv"\n[plan]\ncheck_users = false\n'
            f'[pace]\nrate = "none"\ntransport = "boto3"\nworkers = {WORKERS}\nmax_attempts = {attempts}\nmax_wait = 0.01\n'
            f"[report]\nhtml = false\n[guards]\nmax_refused_in_a_row = 0\n"
            f'[[targets]]\nuser_pool_id = "{POOL}"\nregion = "{REGION}"\nendpoint_url = "{self.sim.url}"\n',
            encoding="utf-8",
        )

    @precondition(lambda self: self.is_open)
    @rule(faults=FAULT_SETS, end=ENDS, stop_after=st.sampled_from([None, 3, 9]), again=st.booleans())
    def resume(self, faults: dict[str, Any], end: tuple[str, int, str], stop_after: int | None, *, again: bool) -> None:
        self._set_faults(faults)
        self._execute(*end, stop_after=stop_after, again=again)

    @precondition(lambda self: self.is_open)
    @rule(faults=FAULT_SETS, most=st.integers(0, 3))
    def resume_with_guard(self, faults: dict[str, Any], most: int) -> None:
        self._set_faults(faults)
        self._execute(max_failures=most)

    @precondition(lambda self: self.is_open)
    @rule(
        faults=FAULT_SETS,
        end=ENDS,
        call=st.integers(1, 20),
        what=st.sampled_from(["AccessDeniedException", "ResourceNotFoundException", "expired"]),
    )
    def resume_until_no_call_can_succeed(
        self, faults: dict[str, Any], end: tuple[str, int, str], call: int, what: str
    ) -> None:
        """A right is removed, the pool is missing, or the credentials expire. Later the fault is gone."""
        self._set_faults(faults)
        if what == "expired":
            self.sim.configure(faults={"expire": {ACCESS_KEY: {"calls": call + 2}}})
        else:
            self.sim.configure(faults={"every": {"error": what, "status": 400, "operation": SET, "from_call": call}})
        self._execute(*end)
        self.sim.configure(faults={"every": None, "expire": {ACCESS_KEY: None}})

    @rule(rate=st.sampled_from([None, 400, 100]), latency=st.sampled_from([0, 0.004]))
    def service_changes(self, rate: int | None, latency: float) -> None:
        self.sim.configure(quota={"rate": rate, "bucket": 5}, latency=latency)

    @precondition(lambda self: not self.is_open and not self.has_resumed_when_complete)
    @rule()
    def resume_when_complete(self) -> None:
        self.has_resumed_when_complete = True
        assert self.fork_server.run(Execution(str(self.run_dir))) == 1
        assert not self._new_calls()

    @precondition(lambda self: self.is_open and self.run_dir.exists() and not self.has_resumed_with_a_changed_input)
    @rule(row=st.integers(1, ROWS).filter(lambda row: row != DUPLICATES[1]))  # the other twin has the same name
    def resume_with_a_changed_input(self, row: int) -> None:
        self.has_resumed_with_a_changed_input = True
        kept = self.input.read_text(encoding="utf-8")
        changed = kept.replace(f"user.{row:02d},", f"user.{row:02d}x,")
        assert changed != kept
        self.input.write_text(changed, encoding="utf-8")
        needs_it = not self._state().is_planned or bool(self._remaining())
        code = self.fork_server.run(Execution(str(self.run_dir)))
        self.input.write_text(kept, encoding="utf-8")
        assert not self._new_calls()
        assert code == 2 if needs_it else code in {1, 3}, code

    @invariant()
    def every_row_is_reported_once(self) -> None:
        if not self.run_dir.exists():
            return
        self.shared.steps += 1
        redrawn = self.home / f"report-{self.shared.steps}.csv"
        rewrite_report(self.run_dir, ReportRequest(output=redrawn), 1)
        with redrawn.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        calls = self.sim.calls(SET)
        status = read_status(self.run_dir)
        assert not status.alive
        if not self._state().is_planned:
            assert not calls
            assert status.resumable
            return
        assert [int(row["row"]) for row in rows] == list(range(1, ROWS + 1))
        assert status.resumable == bool((self._remaining() and self._job_is_right()) or status.state == "crashed")
        for row in rows:
            self._assert_row_agrees(row, [call for call in calls if call.username == row["username"]])

    def _assert_row_agrees(self, row: dict[str, str], calls: list[Call]) -> None:
        number, status = int(row["row"]), row["status"]
        if number in {EMPTY, *DUPLICATES}:
            assert (status, calls) == ("rejected", [])
            return
        applied = [call for call in calls if call.applied]
        assert not {call.password for call in calls} - {f"{PASSWORD}.{number}"}
        unsure = row["in_doubt"] == "true"
        if status == "set":
            assert applied
        elif applied:
            assert unsure, row
        if len(applied) > 1:
            assert unsure, row
        if unsure and not self.killed:
            assert [call for call in calls if call.answer not in {"ok", *THROTTLED, *FATAL}], row
        assert status != "unprocessed" or not applied or unsure
        assert int(row["attempts"]) <= len(calls)
        if not self.killed:
            assert int(row["attempts"]) == len(calls)
            assert int(row["throttled"]) == sum(call.answer in THROTTLED for call in calls)

    def _execute(self, where: str = "commit", at: int = 0, how: str = "before", **more: Any) -> None:  # noqa: ANN401
        fresh = not self.run_dir.exists()
        if more.get("again") and not fresh:
            self.settled = {row: status for row, status in self.settled.items() if status != "failed"}
        job = str(self.home / "job.toml") if fresh else ""
        more["again"] = bool(more.get("again")) and not fresh
        code = self.fork_server.run(Execution(str(self.run_dir), job, where=where, at=at, how=how, **more))
        assert code != UNCLAIMED
        if code == 2 and not self.run_dir.exists():
            assert how == "full"  # at the beginning
            assert not self._new_calls()
            return
        assert code in {1, 3, 5, 143, KILLED} or (code == 2 and not self._job_is_right()), code
        # If the journal could not be written, the answers are lost as if the process had died.
        self.killed |= code == KILLED or how == "full"
        calls = self._new_calls()
        sent_again = {row for row, name in self.names.items() if row in self.settled} & {
            row for call in calls for row, name in self.names.items() if name == call.username
        }
        assert not sent_again
        self._assert_stopped_at_once(calls)
        if self.run_dir.exists():
            self._assert_no_secrets()
            self.settled |= {row: status for row, status in self._statuses().items() if status in {"set", "failed"}}
            self.is_open = not self._state().is_planned or bool(self._remaining() or "failed" in self.settled.values())
            if code != KILLED and how != "full":
                self._assert_summary_agrees(code, calls, stopped=how == "stop" and at > 0)

    def _assert_stopped_at_once(self, calls: list[Call]) -> None:
        """Check that only calls in flight arrive after an answer after which no call can succeed."""
        fatal = min((call.done for call in calls if call.answer in FATAL and call.done is not None), default=None)
        if fatal is not None:
            assert len([call for call in calls if call.time > fatal]) < WORKERS

    def _assert_summary_agrees(self, code: int, calls: list[Call], *, stopped: bool) -> None:
        summary = json.loads((self.run_dir / "summary.json").read_text(encoding="utf-8"))
        with (self.run_dir / "report.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert summary["exit_code"] == code
        if self._state().is_planned:
            assert summary["rows"] == len(rows) == ROWS
        assert summary["counts"] == Counter(row["status"] for row in rows)
        assert summary["codes"] == Counter(row["code"] for row in rows if row["code"])
        assert summary["attempts"] == sum(int(row["attempts"]) for row in rows)
        assert code in STATES[summary["state"]], summary
        if any(call.answer in FATAL for call in calls):
            assert code in {2, 3} or stopped, summary
        if summary["state"] == "finished":
            assert not summary["counts"].get("unprocessed")
        assert summary["resumable"] == (
            bool(self._remaining() or not self._state().is_planned) and self._job_is_right()
        )
        assert (code == 2) == (summary["state"] == "stopped" and not self._job_is_right())

    def _job_is_right(self) -> bool:
        """Return whether the run was stopped for another reason than a missing pool."""
        stopped_by = self._state().stopped_by
        return stopped_by is None or stopped_by.code != "ResourceNotFoundException"

    def _assert_no_secrets(self) -> None:
        for path in self.run_dir.iterdir():
            assert PASSWORD.encode() not in path.read_bytes(), path

    def _set_faults(self, faults: dict[str, Any]) -> None:
        rules = [{"p": 0.3 / len(faults["kinds"]), "step": FAULTS[kind]} for kind in faults["kinds"]]
        self.sim.configure(faults={"random": {"seed": faults["seed"], "rules": rules}})

    def _new_calls(self) -> list[Call]:
        calls = self.sim.calls(since=self.calls_seen)
        self.calls_seen += len(calls)
        return [call for call in calls if call.operation == SET]

    def _state(self) -> RunState:
        return Journal.state_in(self.run_dir / "journal.sqlite")

    def _statuses(self) -> dict[int, str]:
        journal = Journal.open(self.run_dir / "journal.sqlite", read_only=True)
        try:
            return dict(journal._db.execute("SELECT row, status FROM rows"))
        finally:
            journal.close()

    def _remaining(self) -> list[int]:
        return [row for row, status in self._statuses().items() if status in {"ready", "claimed", "in_doubt"}]

    def teardown(self) -> None:
        """Without faults the run ends, and every user has the password of their row."""
        if hasattr(self, "names"):
            self.sim.configure(
                quota=None, latency=0, faults={"random": None, "every": None, "expire": {ACCESS_KEY: None}}
            )
            self._execute()
            found = self._statuses()
            passwords = self.sim.passwords(POOL)
            for row, name in self.names.items():
                if row in {EMPTY, *DUPLICATES}:
                    assert (found[row], passwords[name]) == ("rejected", None)
                else:
                    assert found[row] == "set" or (
                        found[row] == "failed" and (row == ABSENT or self._was_refused(name))
                    )
                    assert found[row] != "set" or passwords[name] == f"{PASSWORD}.{row}"
            self.every_row_is_reported_once()
        shutil.rmtree(self.home)

    def _was_refused(self, name: str) -> bool:
        """Return whether the last answer about a user was a refusal."""
        return [call.answer for call in self.sim.calls(SET) if call.username == name][-1] != "ok"
