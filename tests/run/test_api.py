"""The Python interface does the same as the command line, for scheduled jobs, mirrors and all commands."""

import json
import math
from pathlib import Path
from threading import Thread

import pytest

from bulkreset import (
    Result,
    apply,
    control,
    dry_run,
    errors,
    extract,
    list_runs,
    load,
    passwords,
    resume,
    run_job,
    status,
    verify,
    write_report,
)
from tests.bucket import BUCKET, Storage
from tests.e2e.campaigns import held, make_key, names, write_campaign, write_names
from tests.e2e.command import LAX, POOL, SET, Command, people, write_csv, write_job
from tests.sim import Simulator
from tests.waiting import wait_until

FAST = "[pace]\nrate = 200\n"
SCHEDULE = '[schedule]\nstate = "state.json"\n'


@pytest.fixture(autouse=True)
def home(bulkreset: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test process as a program that uses the interface."""
    for name, value in bulkreset.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(bulkreset.home)
    return bulkreset.home


@pytest.fixture
def scheduled(home: Path, sim: Simulator) -> Path:
    """A scheduled job of a folder with one input."""
    users = people(20)
    sim.add_pool(POOL, [name for name, _ in users], LAX)
    (home / "in").mkdir()
    write_csv(home / "in" / "a.csv", users[:10])
    write_csv(home / "b.csv", users[10:])
    return write_job(home, sim.url, 'path = "in/*.csv"', FAST + SCHEDULE)


def test_scheduled_job_runs_each_input_once(home: Path, sim: Simulator, scheduled: Path) -> None:
    job = load(scheduled)
    planned = dry_run(job, run_dir="dry")
    assert planned.summary.counts == {"ready": 10}
    assert not (home / "state.json").exists()
    (first,) = run_job(job, run_dir="one", approved=planned.run_dir)
    assert (first.run_dir, first.summary.counts) == (Path("one"), {"set": 10})
    assert run_job(job, confirm=True) == []
    with pytest.raises(errors.InputError, match="no new input"):
        dry_run(job)
    (home / "b.csv").rename(home / "in" / "b.csv")
    (second,) = run_job(job, confirm=True)
    assert second.summary.counts == {"set": 10}
    assert len(sim.calls(SET)) == 20
    assert set(json.loads((home / "state.json").read_text())["completed"]) == {
        str(home / "in" / name) for name in ("a.csv", "b.csv")
    }


def test_scheduled_job_that_stopped_is_finished_before_a_new_input(home: Path, sim: Simulator, scheduled: Path) -> None:
    with pytest.raises(errors.RowLimit) as stopped:
        run_job(load(scheduled, {"guards.limit": 4}), run_dir="one", confirm=True)
    assert stopped.value.run_dir == Path("one")
    (home / "b.csv").rename(home / "in" / "b.csv")
    with pytest.raises(errors.RowLimit):  # the unfinished run has the limit of its own job
        run_job(load(scheduled), run_dir="two", confirm=True)
    results = run_job(load(scheduled), run_dir="two", confirm=True)
    assert [(result.run_dir.name, result.summary.counts) for result in results] == [
        ("one", {"set": 10}),
        ("two", {"set": 10}),
    ]
    assert len(sim.calls(SET)) == 20


def test_apply_refuses_a_scheduled_job(sim: Simulator, scheduled: Path) -> None:
    with pytest.raises(errors.JobError, match="run_job"):
        apply(load(scheduled), confirm=True)
    assert sim.calls(SET) == []
    assert not Path("runs").exists()


def test_job_without_a_schedule_has_one_result(home: Path, sim: Simulator) -> None:
    sim.add_pool(POOL, names(5), LAX)
    write_csv(home / "in.csv", people(5))
    job = load(write_job(home, sim.url, 'path = "in.csv"', FAST))
    results = run_job(job, run_dir="one", confirm=True)
    assert results == [Result.load("one")]
    with pytest.raises(errors.NotConfirmed, match="not confirmed") as unasked:
        run_job(job, run_dir="two")
    assert unasked.value.run_dir == Path("two")
    assert unasked.value.__context__ is None  # frames of the run may hold passwords


def test_run_is_restored_from_its_mirror_and_resumed(
    home: Path, sim: Simulator, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in storage.environment().items():
        monkeypatch.setenv(name, value)
    users = people(8)
    sim.add_pool(POOL, [name for name, _ in users], LAX)
    write_csv(home / "in.csv", users)
    mirror = f'[mirror]\nto = "s3://{BUCKET}/runs/"\n'
    job = load(write_job(home, sim.url, 'path = "in.csv"', FAST + mirror), {"guards.limit": 3})
    with pytest.raises(errors.RowLimit):
        apply(job, run_dir="one", confirm=True)
    Path("one").rename("lost")
    storage.client.delete_object(Bucket=BUCKET, Key="runs/one/lease.json")
    done = resume(f"s3://{BUCKET}/runs/one", restore_to="two", overrides={"guards.limit": None})
    assert (done.run_dir, done.summary.counts) == (Path("two"), {"set": 8})
    assert len(sim.calls(SET)) == 8
    again = resume(f"s3://{BUCKET}/runs/one")
    assert (again.run_dir, again.summary.counts) == (Path("runs/one"), {"set": 8})
    with pytest.raises(errors.RunDirError, match="There is no mirrored run at"):
        resume(f"s3://{BUCKET}/runs/none")


def test_run_is_inspected(home: Path, bulkreset: Command, sim: Simulator) -> None:
    key = make_key(home)
    sim.add_pool(POOL, names(6), LAX)
    job = load(write_campaign(bulkreset, write_names(home, names(6)), key), {"pace.rate": 200})
    done = apply(job, run_dir="runs/one", confirm=True)
    found = status("runs/one")
    assert (found.state, found.counts, found.resumable) == ("finished", {"set": 6}, False)
    assert list_runs() == ([found], [])
    assert list_runs(home) == ([], [])
    assert {it.username: it.password for it in passwords(done.run_dir, key.path)} == held(sim)
    report = write_report("runs/one", form="jsonl", only=["set"])
    assert report == Path("runs/one/report-set.jsonl")
    assert report.read_text(encoding="utf-8").count("\n") == 6
    assert write_report("runs/one", output="out.csv", redacted=True) == Path("out.csv")
    with pytest.raises(errors.JobError, match="written to a file"):
        write_report("runs/one", output="-")
    verified = verify("runs/one")
    assert (sum(verified.counts.values()), verified.report) == (6, Path("runs/one/verify.csv"))
    with pytest.raises(errors.Refused, match="from 0 to 365"):
        verify("runs/one", within_days=math.inf)
    with pytest.raises(errors.RunDirError):
        status("runs/none")


def test_run_is_steered_from_another_thread(home: Path, sim: Simulator) -> None:
    sim.add_pool(POOL, [name for name, _ in people(60)], LAX)
    write_csv(home / "in.csv", people(60))
    job = load(write_job(home, sim.url, 'path = "in.csv"', "[pace]\nrate = 20\n"))
    done: list[Result] = []
    thread = Thread(target=lambda: done.append(apply(job, run_dir="one", confirm=True)))
    thread.start()
    wait_until(lambda: sim.calls(SET))
    assert [order.words for order in control("one", paused=True)] == ["pause"]
    wait_until(lambda: [lane.limited_by for lane in status("one").lanes] == ["paused"])
    for wrong, said in (
        ({"rate": "fast"}, "'fast' is no rate"),
        ({"share": 1.5}, "1.5 is no share"),
        ({"limit": 3, "lane": "123456789012/us-east-1"}, "for the whole run"),
        ({"lane": "123456789012/us-east-1"}, "needs what to change"),
        ({"paused": True, "lane": "1/nowhere"}, "has no lane 1/nowhere"),
    ):
        with pytest.raises(errors.Refused, match=said):
            control("one", **wrong)  # wrong on purpose
    assert [order.words for order in control("one", paused=False, rate=200)] == ["pause", "rate 200, continue"]
    assert len(control("one")) == 2
    thread.join()
    assert done[0].summary.counts == {"set": 60}
    with pytest.raises(errors.Refused, match="No process works on the run"):
        control("one", stop=True)


def test_rows_are_extracted_fixed_and_run_and_each_is_set_once(home: Path, sim: Simulator) -> None:
    users = people(10)
    sim.add_pool(POOL, [name for name, _ in users], LAX)
    write_csv(home / "in.csv", [(name, "" if number % 3 == 0 else word) for number, (name, word) in enumerate(users)])
    first = apply(load(write_job(home, sim.url, 'path = "in.csv"', FAST)), run_dir="one", confirm=True)
    assert (first.exit_code, first.summary.counts) == (1, {"set": 6, "rejected": 4})
    with pytest.raises(errors.Refused, match="would set their passwords again"):
        extract("one", "again.csv", only=["set"])
    found = extract("one", "again.csv")
    assert (found.output, found.rows, found.left_out) == (Path("again.csv"), 4, 0)
    with pytest.raises(errors.BulkresetError, match="already exists"):
        extract("one", "again.csv")
    lines = Path("again.csv").read_text(encoding="utf-8").splitlines()
    Path("again.csv").write_text(
        "\n".join([lines[0], *(f"{line}Fixed-Word.1" for line in lines[1:])]), encoding="utf-8"
    )
    second = apply(load(write_job(home, sim.url, 'path = "again.csv"', FAST)), run_dir="two", confirm=True)
    assert second.summary.counts == {"set": 4}
    calls = [call.username for call in sim.calls(SET)]
    assert sorted(calls) == sorted(name for name, _ in users)
