"""A scheduled job: each input once, remaining rows first, nothing twice, one scheduled run at a time."""

import fcntl
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bucket import BUCKET, Storage
from tests.e2e.command import POOL, SET, Command, CommandResult, finish, people, seed, write_csv, write_job
from tests.e2e.live import rows_set
from tests.sim import Simulator
from tests.waiting import wait_until

ROWS = people(60)


def run_schedule(bulkreset: Command, job: Path, *args: str, runs: str = "runs") -> tuple[CommandResult, list[Path]]:
    """Make one scheduled run, and return the new run directories in order."""
    folder = bulkreset.home / runs
    before = set(folder.iterdir()) if folder.is_dir() else set()
    with bulkreset.start("run", job, "--yes", *args) as process:
        ran = finish(process, bulkreset.home)
    return ran, sorted(set(folder.iterdir()) - before) if folder.is_dir() else []


def export(bulkreset: Command, name: str, rows: Sequence[tuple[str, str]]) -> Path:
    (bulkreset.home / "in").mkdir(exist_ok=True)
    return write_csv(bulkreset.home / "in" / name, rows)


def stored_state(bulkreset: Command) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bulkreset.home / "nightly.json").read_text(encoding="utf-8"))
    return found


def sent(sim: Simulator) -> list[str]:
    return [call.username for call in sim.calls(SET)]


def only_run(bulkreset: Command) -> Path:
    (found,) = (bulkreset.home / "runs").iterdir()
    return found


def test_each_input_is_run_once_and_remaining_rows_come_first(bulkreset: Command, sim: Simulator) -> None:
    input_ = 'path = "in"\n[schedule]\nstate = "nightly.json"\ndone = "archive"'
    job = write_job(bulkreset.home, sim.url, input_, '[pace]\nrate = 200\n[metrics]\ntextfile = "b.prom"')
    export(bulkreset, "mon.csv", ROWS[:30])
    sim.configure(faults={"every": {"hold": True, "operation": SET, "from_call": 11}})
    with bulkreset.start("run", job, "--yes") as process:
        wait_until(lambda: len(sent(sim)) > 10 and rows_set(only_run(bulkreset)) == 10)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    crashed = set(sent(sim))
    assert stored_state(bulkreset)["open_run"]["inputs"] == [str(bulkreset.home / "in" / "mon.csv")]
    sim.configure(faults={"every": None})
    export(bulkreset, "tue.csv", ROWS[30:])
    ran, runs = run_schedule(bulkreset, job)
    assert (ran.code, ran.error_lines) == (0, [])
    assert ran.stdout.count("Run finished: 30 rows: 30 set.") == 2
    assert len(runs) == 1
    assert sim.passwords(POOL) == dict(ROWS)
    assert {user for user in crashed if sent(sim).count(user) > 1} < crashed
    assert sorted(path.name for path in (bulkreset.home / "archive").iterdir()) == ["mon.csv", "tue.csv"]
    assert stored_state(bulkreset)["open_run"] is None
    before = len(sent(sim))
    ran, runs = run_schedule(bulkreset, job)
    assert (ran.code, ran.stdout, runs) == (0, f"No new input at {bulkreset.home}/in: nothing to do.\n", [])
    assert 'bulkreset_last_success_timestamp_seconds{job="e2e"}' in (bulkreset.home / "b.prom").read_text()
    assert 'bulkreset_rows{job="e2e",status="set"} 0.0' in (bulkreset.home / "b.prom").read_text()
    export(bulkreset, "mon.csv", [("user.001", "Another-Garden.1")])
    ran, runs = run_schedule(bulkreset, job)
    assert (ran.code, len(runs), sent(sim)[before:]) == (0, 1, ["user.001"])
    assert (bulkreset.home / "archive" / "mon-2.csv").is_file()


def test_failed_rows_of_an_archived_input_can_be_sent_again(bulkreset: Command, sim: Simulator) -> None:
    job = write_job(bulkreset.home, sim.url, 'path = "in"\n[schedule]\nstate = "nightly.json"\ndone = "archive"')
    export(bulkreset, "a.csv", ROWS[:3])
    export(bulkreset, "mon.csv", ROWS[3:6])
    names = [name for name, _ in ROWS[:9]]
    seed(sim, [name for name in names if name != "user.005"])
    ran, (first,) = run_schedule(bulkreset, job)
    assert (ran.code, sorted(os.listdir(bulkreset.home / "archive"))) == (1, ["a.csv", "mon.csv"])  # noqa: PTH208
    seed(sim, names)
    export(bulkreset, "mon.csv", ROWS[6:9])  # the next run's input, with the same name
    with bulkreset.start("resume", first, "--failed") as process:
        again = finish(process, first)
    assert (again.code, sent(sim).count("user.005")) == (0, 2)
    assert sim.passwords(POOL)["user.005"] == dict(ROWS)["user.005"]
    assert len(sent(sim)) == 7


def test_used_run_directory_is_not_recorded_for_this_scheduled_run(bulkreset: Command, sim: Simulator) -> None:
    job = write_job(bulkreset.home, sim.url, 'path = "in"\n[schedule]\nstate = "nightly.json"')
    export(bulkreset, "mon.csv", ROWS[:2])
    (bulkreset.home / "taken").mkdir()
    ran, _ = run_schedule(bulkreset, job, "--run-dir", "taken")
    assert (ran.code, "taken already exists" in ran.error_lines[0], sent(sim)) == (2, True, [])
    assert not (bulkreset.home / "nightly.json").exists()


@pytest.mark.soak
def test_known_inputs_are_not_run_and_a_dry_run_records_nothing(bulkreset: Command, sim: Simulator) -> None:
    job = write_job(
        bulkreset.home,
        sim.url,
        'path = "in/*.csv"\n[schedule]\nstate = "nightly.json"\nexpected = true',
        '[metrics]\nemf = "stdout"',
    )
    with (bulkreset.home / "nightly.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran, _ = run_schedule(bulkreset, job)
        assert (ran.code, "Another scheduled run of this job" in ran.error_lines[0]) == (4, True)
    export(bulkreset, "mon.csv", ROWS[:3])
    ran, _ = run_schedule(bulkreset, job, "--dry-run")
    assert (ran.code, sent(sim)) == (0, [])
    assert not (bulkreset.home / "nightly.json").exists()
    assert run_schedule(bulkreset, job)[0].code == 0
    os.utime(bulkreset.home / "in" / "mon.csv")
    ran, _ = run_schedule(bulkreset, job)
    assert (ran.code, "and one is expected" in ran.error_lines[0], len(sent(sim))) == (2, True, 3)
    assert json.loads(ran.stdout.splitlines()[0])["ExitCode"] == 2, "whoever waits for an input is told"


@pytest.mark.soak
def test_objects_are_finished_moved_and_remembered_in_s3(bulkreset: Command, sim: Simulator, storage: Storage) -> None:
    at = f"s3://{BUCKET}"
    input_ = f'path = "{at}/in/"\n[schedule]\nstate = "{at}/nightly.json"\ndone = "{at}/archive/"'
    job = write_job(bulkreset.home, sim.url, input_)
    storage.put("in/mon.csv", write_csv(bulkreset.home / "x.csv", ROWS[:3]))
    storage.put("archive/mon.csv", b"another")
    assert run_schedule(bulkreset, job)[0].code == 0
    assert storage.keys() == ["archive/mon-2.csv", "archive/mon.csv", "nightly.json"]
    ran, _ = run_schedule(bulkreset, job)
    assert (ran.code, ran.stdout, len(sent(sim))) == (0, f"No new input at {at}/in/: nothing to do.\n", 3)
    names = [name for name, _ in ROWS[3:6]]
    seed(sim, names[1:])
    storage.put("in/mon.csv", write_csv(bulkreset.home / "x.csv", ROWS[3:6]))
    ran, (run,) = run_schedule(bulkreset, job)
    assert (ran.code, storage.keys("archive/")[:2]) == (1, ["archive/mon-2.csv", "archive/mon-3.csv"])
    seed(sim, names)
    storage.put("in/mon.csv", write_csv(bulkreset.home / "x.csv", ROWS[6:9]))
    again = finish(bulkreset.start("resume", run, "--failed"), run)
    assert (again.code, sent(sim).count(names[0]), again.summary["counts"]) == (0, 2, {"set": 3})
