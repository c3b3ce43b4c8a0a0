"""A week of scheduled runs from S3 with a mirror: a crash, expired credentials, half a quota, a changed file."""

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from tests.bucket import BUCKET, Storage
from tests.crash.test_resume import hold, let_go
from tests.e2e.command import POOL, SET, Command, CommandResult, finish, people, write_csv, write_job
from tests.sim import Simulator
from tests.waiting import wait_until

AT = f"s3://{BUCKET}"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EACH = 60


class Week:
    """The scheduled runs so far: the passwords to be set, and how many calls were counted."""

    def __init__(self, bulkreset: Command, sim: Simulator, storage: Storage) -> None:
        self.bulkreset, self.sim, self.storage = bulkreset, sim, storage
        more = f'[mirror]\nto = "{AT}/runs/"\n[pace]\nrate = 60\nmax_wait = 0.5\n'
        self.job = write_job(
            bulkreset.home, sim.url, f'path = "{AT}/in/"\n[schedule]\nstate = "{AT}/nightly.json"', more
        )
        self.wanted: dict[str, str] = {}
        self.seen = 0

    def export(self, day: str, rows: list[tuple[str, str]]) -> None:
        self.storage.put(f"in/{day}.csv", write_csv(self.bulkreset.home / "x.csv", rows))
        self.wanted |= dict(rows)

    def run_schedule(self) -> tuple[CommandResult, list[str]]:
        """Make one scheduled run, and return it with the users it sent."""
        ran = finish(self.bulkreset.start("run", self.job, "--yes", "--no-progress"), self.bulkreset.home)
        calls = [call.username for call in self.sim.calls(SET)]
        sent, self.seen = calls[self.seen :], len(calls)
        return ran, sent

    def finished(self) -> set[str]:
        state = json.loads(self.storage.client.get_object(Bucket=BUCKET, Key="nightly.json")["Body"].read())
        return {Path(where).stem for where in state["completed"]}


def rows_of(day: str) -> list[tuple[str, str]]:
    return people(EACH * len(DAYS))[DAYS.index(day) * EACH :][:EACH]


def assert_reported_once(bulkreset: Command, storage: Storage, twice: set[str]) -> None:
    """Check that every row of every run is in one report, and that users sent twice were in doubt."""
    reported: list[tuple[str, str]] = []
    unsure: set[str] = set()
    for run in sorted((bulkreset.home / "runs").iterdir()):
        report = CommandResult(0, "", "", run).report
        assert [row["row"] for row in report] == [str(number) for number in range(1, len(report) + 1)]
        assert {row["status"] for row in report} == {"set"}
        unsure |= {row["username"] for row in report if row["in_doubt"] == "true"}
        reported += [(row["file"], row["username"]) for row in report]
        assert f"runs/{run.name}/report.csv" in storage.keys("runs/")
    assert twice <= unsure
    assert len(reported) == len(set(reported)) + 10  # Monday's changed file has ten users of Monday's first one


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_week_of_scheduled_runs(bulkreset: Command, sim: Simulator, storage: Storage) -> None:
    week = Week(bulkreset, sim, storage)
    sim.configure(latency=0.03)

    week.export("mon", rows_of("mon"))
    ran, sent = week.run_schedule()
    assert (ran.code, sorted(sent)) == (0, sorted(dict(rows_of("mon"))))

    week.export("tue", rows_of("tue"))
    hold(sim, EACH // 2)
    with bulkreset.start("run", week.job, "--yes", "--no-progress") as process:
        wait_until(lambda: len(sim.calls(SET)) >= week.seen + EACH // 2)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    let_go(sim)
    crashed = [call.username for call in sim.calls(SET)][week.seen :]
    week.seen += len(crashed)
    assert 0 < len(crashed) < EACH

    week.export("wed", rows_of("wed"))
    ran, sent = week.run_schedule()  # Tuesday's is finished first
    assert (ran.code, ran.stdout.count("Run finished: 60 rows: 60 set.")) == (0, 2)
    twice = set(crashed) & set(sent)
    assert set(crashed) | set(sent) == {*dict(rows_of("tue")), *dict(rows_of("wed"))}

    week.export("thu", rows_of("thu"))
    sim.configure(faults={"every": {"operation": SET, "error": "ExpiredTokenException", "from_call": 20}})
    ran, first = week.run_schedule()
    assert (ran.code, "Sign in again" in ran.stderr) == (3, True)
    sim.configure(faults={"every": []})
    week.export("fri", rows_of("fri"))
    sim.configure(quota={"rate": 30, "bucket": 3})
    ran, sent = week.run_schedule()  # Thursday's is finished first; both with half the quota
    assert (ran.code, week.finished()) == (0, {"mon", "tue", "wed", "thu", "fri"})
    assert {*first, *sent} == {*dict(rows_of("thu")), *dict(rows_of("fri"))}

    sim.configure(quota=None)
    ran, sent = week.run_schedule()  # Saturday: no input
    assert (ran.stdout, sent) == (f"No new input at {AT}/in/: nothing to do.\n", [])

    week.export("sun", rows_of("sun"))
    week.export("mon", [(user, f"{word}-anew") for user, word in rows_of("mon")[:10]])
    ran, sent = week.run_schedule()
    assert (ran.code, len(sent)) == (0, 70)
    assert set(sent) == {*dict(rows_of("sun")), *dict(rows_of("mon")[:10])}
    assert week.finished() == {"mon", "tue", "wed", "thu", "fri", "sun"}
    assert sim.passwords(POOL) == week.wanted

    assert_reported_once(bulkreset, storage, twice)
