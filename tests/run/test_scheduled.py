"""Scheduled runs: one that loses its lock sends nothing, and a missing run never counts as not begun."""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bulkreset.cancellation import CancelToken
from bulkreset.clock import SINCE_BOOT, Clock
from bulkreset.errors import Busy, InputError, RecordError, RunDirError
from bulkreset.job.file import load
from bulkreset.mirror.lease import SECONDS
from bulkreset.models import Summary
from bulkreset.run.context import RunOptions
from bulkreset.run.schedule_state import ScheduleState, StateStore
from bulkreset.run.scheduled import ScheduledJob
from tests.bucket import BUCKET, Storage
from tests.clocks import ForwardClock
from tests.e2e.command import SET, Command, people, write_csv, write_job
from tests.sim import Simulator
from tests.waiting import let_questions_end, wait_until

BROKEN = 'username,password\na,b\n"c,d\n"e,f\n'
OTHERS = {"holder": "x", "host": "another", "seconds": 60, "until": 9e9}


class SilentUi:
    """A Ui that answers yes and keeps the remarks."""

    def __init__(self) -> None:
        self.remarks: list[str] = []

    def __getattr__(self, _name: str) -> Callable[..., bool]:
        return lambda *_args: True

    def notice(self, text: str) -> None:
        self.remarks.append(text)


@pytest.fixture(autouse=True)
def home(bulkreset: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The test process in the place of the command line."""
    for name, value in bulkreset.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(bulkreset.home)
    yield bulkreset.home
    let_questions_end()


def planned(
    job: Path,
    ui: Any,  # noqa: ANN401  (a real user interface or a fake)
    stop: CancelToken | None = None,
    clock: Clock = SINCE_BOOT,
    *,
    dry: bool = False,
) -> ScheduledJob:
    asked = load(job, {})
    assert asked.schedule.state
    return ScheduledJob(
        asked, asked.schedule.state, RunOptions(None, dry_run=dry, yes=True), ui, stop or CancelToken(), clock
    )


def run_schedule(
    job: Path,
    run_dir: Path,
    ui: Any,  # noqa: ANN401  (a SilentUi)
    stop: CancelToken | None = None,
    *,
    dry: bool = False,
) -> list[Summary]:
    """Make one scheduled run, and return the summaries."""
    return [end.summary for end in planned(job, ui, stop, dry=dry).run(lambda: run_dir)]


def sent(sim: Simulator) -> list[str]:
    return [call.username for call in sim.calls(SET)]


@contextmanager
def while_sending(sim: Simulator, then: Callable[[], None], calls: int = 20) -> Iterator[None]:
    """Do something beside the block once so many calls have arrived; the last one is answered only after it."""

    def meanwhile() -> None:
        try:
            wait_until(lambda: len(sent(sim)) >= calls)
            then()
        finally:
            sim.configure(faults={"every": None})

    sim.configure(faults={"every": {"operation": SET, "from_call": calls, "hold": True}})
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(meanwhile)
        yield
        done.result()


@pytest.mark.parametrize("lost", ["another process has taken it", "could not be renewed for 60 seconds"])
def test_scheduled_run_that_loses_its_lease_stops_sending(
    home: Path, sim: Simulator, storage: Storage, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """There are more rows than are claimed by then; the claimed ones may still leave."""
    for name, value in storage.environment().items():
        monkeypatch.setenv(name, value)
    write_csv(home / "mon.csv", people(400))
    state = f"s3://{BUCKET}/nightly.json"
    job = write_job(
        home, sim.url, f'path = "mon.csv"\n[schedule]\nstate = "{state}"', "[pace]\nrate = 100\nworkers = 2\n"
    )
    clock = ForwardClock()
    one = planned(job, SilentUi(), clock=clock)

    def is_lost() -> bool:
        with suppress(Busy):
            one._kept.check()
            return False
        return True

    def lose() -> None:
        if "taken" in lost:
            storage.put("nightly.json.lease", json.dumps(OTHERS).encode())
            clock.advance(SECONDS / 4)
        else:
            storage.configure(faults=[["^(GET|PUT) .*lease", 403, "AccessDenied", 999]])
            clock.advance(SECONDS + 1)
        wait_until(is_lost)

    with while_sending(sim, lose):
        (end,) = one.run(lambda: home / "run")
    summary = end.summary
    assert (summary.exit_code, summary.state, summary.resumable) == (4, "stopped", True)
    assert end.error
    assert lost in end.error.message
    assert 20 <= summary.counts["set"] == len(sent(sim)) < 200


def test_run_with_a_missing_directory_is_reported_and_its_inputs_are_not_new(home: Path, sim: Simulator) -> None:
    write_csv(home / "mon.csv", people(150))
    job = write_job(
        home, sim.url, 'path = "mon.csv"\n[schedule]\nstate = "state.json"', "[pace]\nrate = 100\nworkers = 2\n"
    )
    stop = CancelToken()
    with while_sending(sim, stop.request):
        (summary,) = run_schedule(job, home / "run", SilentUi(), stop)
    before = sent(sim)
    assert (summary.exit_code, 0 < len(before) < 150) == (143, True)
    (home / "run").rename(home / "elsewhere")
    with pytest.raises(RunDirError, match=rf"{home}/run is missing.*Restore .* in the state {home}/state.json"):
        run_schedule(job, home / "second", SilentUi())
    assert (sent(sim), (home / "second").exists()) == (before, False)
    (home / "mon.csv").rename(home / "kept.csv")
    (home / "mon.csv").write_text(BROKEN, encoding="utf-8")
    with pytest.raises(InputError, match="an unclosed quote on line 3"):
        run_schedule(job, home / "second", SilentUi(), dry=True)
    (home / "kept.csv").rename(home / "mon.csv")
    assert json.loads((home / "state.json").read_text(encoding="utf-8"))["open_run"]["created"], (
        "a dry run forgets nothing"
    )
    (home / "elsewhere").rename(home / "run")
    (summary,) = run_schedule(job, home / "second", SilentUi())
    assert (summary.exit_code, sorted(sent(sim))) == (0, [name for name, _ in people(150)])


@pytest.mark.parametrize("known", [{"created": False}, {"created": True}, {}])
def test_run_that_never_began_is_forgotten_and_a_possible_one_only_by_hand(
    home: Path, sim: Simulator, known: dict[str, bool]
) -> None:
    source = write_csv(home / "mon.csv", people(2))
    job = write_job(home, sim.url, 'path = "mon.csv"\n[schedule]\nstate = "state.json"')
    state = {
        "version": 1,
        "open_run": {"run_dir": str(home / "gone"), "inputs": [str(source)]} | known,
        "completed": {},
    }
    (home / "state.json").write_text(json.dumps(state), encoding="utf-8")
    if known != {"created": False}:
        with pytest.raises(RunDirError, match='set "open_run" to null'):
            run_schedule(job, home / "run", SilentUi())
        assert sent(sim) == []
        (home / "state.json").write_text(json.dumps(state | {"open_run": None}), encoding="utf-8")
    (summary,) = run_schedule(job, home / "run", SilentUi())
    assert (summary.exit_code, len(sent(sim))) == (0, 2)


@pytest.mark.parametrize("created", [False, True])
def test_unreadable_run_does_not_count_as_missing(home: Path, sim: Simulator, *, created: bool) -> None:
    source = write_csv(home / "mon.csv", people(2))
    job = write_job(home, sim.url, 'path = "mon.csv"\n[schedule]\nstate = "state.json"')
    unfinished = {"run_dir": str(home / ("x" * 300)), "inputs": [str(source)], "created": created}
    state = json.dumps({"version": 1, "open_run": unfinished, "completed": {}})
    (home / "state.json").write_text(state, encoding="utf-8")
    with pytest.raises(RunDirError, match="cannot be used"):
        run_schedule(job, home / "run", SilentUi())
    assert (sent(sim), json.loads((home / "state.json").read_text(encoding="utf-8"))["open_run"]) == ([], unfinished)


def test_run_that_was_refused_is_not_missed(home: Path, sim: Simulator) -> None:
    (home / "mon.csv").write_text(BROKEN, encoding="utf-8")
    job = write_job(home, sim.url, 'path = "mon.csv"\n[schedule]\nstate = "state.json"')
    with pytest.raises(InputError):
        run_schedule(job, home / "run", SilentUi())
    assert not (home / "run").exists()
    write_csv(home / "mon.csv", people(2))
    (summary,) = run_schedule(job, home / "run", SilentUi())
    assert (summary.exit_code, len(sent(sim))) == (0, 2)


def test_run_that_ended_in_its_plan_is_forgotten_with_a_mirror(
    home: Path, sim: Simulator, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in storage.environment().items():
        monkeypatch.setenv(name, value)
    write_csv(home / "mon.csv", people(2))
    mirror = f'[mirror]\nto = "s3://{BUCKET}/runs/"\n'
    job = write_job(home, sim.url, 'path = "mon.csv"\n[schedule]\nstate = "state.json"', mirror)
    stop, ui = CancelToken(), SilentUi()

    class Stopping(SilentUi):
        def on_run_started(self, _run_id: str) -> None:
            stop.request()

    assert [summary.exit_code for summary in run_schedule(job, home / "run", Stopping(), stop)] == [143]
    assert json.loads((home / "state.json").read_text(encoding="utf-8"))["open_run"]["created"]
    shutil.rmtree(home / "run")
    for key in storage.keys("runs/"):  # as if the machine died before its run could end
        storage.client.delete_object(Bucket=BUCKET, Key=key)
    (summary,) = run_schedule(job, home / "second", ui)
    assert (summary.exit_code, len(sent(sim))) == (0, 2)
    assert "it had sent nothing: its inputs are new" in ui.remarks[0]


def test_state_that_cannot_be_written_once_the_directory_is_there_lets_nothing_be_sent_and_nothing_be_lost(
    home: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(home / "mon.csv", people(2))
    job = write_job(home, sim.url, 'path = "mon.csv"\n[schedule]\nstate = "state.json"')
    write = StateStore.write

    def full(kept: StateStore, state: ScheduleState) -> None:
        if state.open_run and state.open_run.created:
            raise RecordError("The state cannot be written: the disk is full.")
        write(kept, state)

    with monkeypatch.context() as patched:
        patched.setattr(StateStore, "write", full)
        with pytest.raises(RecordError, match="the disk is full"):
            run_schedule(job, home / "run", SilentUi())
    assert sent(sim) == []
    (summary,) = run_schedule(job, home / "second", SilentUi())
    assert (summary.exit_code, len(sent(sim)), (home / "second").exists()) == (0, 2, False)
