"""A thousand kills over eight kinds of runs: nobody is lost, finished users are not sent again, repeats are marked.

Each kind is killed `KILLS` times (an environment variable; `make soak KILLS=10` is shorter), a few kills per run, at
any
moment: while the run plans, sends, reports, or has ended. The last execution of each run ends by itself.
"""

import contextlib
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bulkreset.report.run_status import read_status
from tests.bucket import BUCKET, Storage
from tests.e2e.campaigns import held, make_key, names, opened, write_campaign, write_names
from tests.e2e.command import LAX, POOL, SET, Argument, Command, CommandResult, finish, people, write_csv, write_job
from tests.input.inputs import encrypted_file, key_file
from tests.lanes.lane_targets import A, B, create_pools, mixed, users, write_input
from tests.lanes.lane_targets import write_job as write_lanes
from tests.mirror.mirrored import end_lease, settled_in
from tests.sim import Simulator

KILLS = int(os.environ.get("KILLS", "125"))
IN_ONE_RUN = 12  # kills
ROWS = 240
AT = f"s3://{BUCKET}/runs/"
PACE = "[pace]\nrate = 100\nmax_wait = 0.5\n"
User = tuple[str, str]  # pool and username


@dataclass
class Tally:
    """The totals of one kind of run. `settled` counts calls for users that were known to be set."""

    kills: int = 0
    rows: int = 0
    lost: int = 0
    resent: int = 0
    unmarked: int = 0
    settled: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.rows} rows: lost {self.lost}, resent {self.resent} (not marked: {self.unmarked},"
            f" known to be set: {self.settled})"
        )


@dataclass
class Run:
    """A run to be killed: its command, and the users whom it must set."""

    begin: tuple[Argument, ...]
    users: frozenset[User]
    env: dict[str, str | None] = field(default_factory=dict)
    mirror: Storage | None = None
    scheduled: bool = False
    end: Callable[[CommandResult], None] = lambda _ran: None


@dataclass(frozen=True)
class RunSetup:
    """The surroundings of a run: its own directory, the service, and S3."""

    bulkreset: Command
    sim: Simulator
    storage: Storage

    @property
    def home(self) -> Path:
        return self.bulkreset.home

    @property
    def run_dir(self) -> Path:
        return self.home / "run"

    def of(self, input_: str, *options: Argument, more: str = "", rows: int = ROWS) -> Run:
        """Return a run of users with given passwords."""
        job = write_job(self.home, self.sim.url, input_, more + PACE)
        known = frozenset((POOL, name) for name, _ in people(rows))
        return Run(("run", job, "--yes", "--no-progress", "--run-dir", self.run_dir, *options), known)

    def csv(self) -> str:
        return f'path = "{write_csv(self.home / "users.csv", people(ROWS))}"'


def threads(setup: RunSetup) -> Run:
    return setup.of(setup.csv())


def two_lanes(setup: RunSetup) -> Run:
    env = create_pools(setup.bulkreset, setup.sim, (A, B))
    lines = mixed([*users(A, ROWS // 2), *users(B, ROWS // 2)], "interleaved")
    job = write_lanes(setup.bulkreset, setup.sim, (A, B), write_input(setup.home, lines), PACE, 60.0)
    begin = ("run", job, "--yes", "--no-progress", "--run-dir", setup.run_dir)
    return Run(begin, frozenset((pool, name) for name, _, pool in lines), env)


def generated(setup: RunSetup) -> Run:
    key = make_key(setup.home)
    job = write_campaign(setup.bulkreset, write_names(setup.home, names(ROWS)), key, more=PACE)
    begin = ("run", job, "--yes", "--no-progress", "--run-dir", setup.run_dir)

    def end(ran: CommandResult) -> None:
        assert opened(ran.run_dir, key) == held(setup.sim)

    return Run(begin, frozenset((POOL, name) for name in names(ROWS)), end=end)


def signing_out(setup: RunSetup) -> Run:
    def end(ran: CommandResult) -> None:
        assert ran.summary["signed_out"] == {"done": ROWS, "failed": 0, "pending": 0}
        assert all(user["sign_outs"] for user in setup.sim.users(POOL).values())

    run = setup.of(setup.csv(), "--sign-out")
    run.end = end
    return run


def cluster(setup: RunSetup) -> Run:
    return setup.of(setup.csv(), "--cluster", "local:2")


def encrypted(setup: RunSetup) -> Run:
    key = key_file(setup.home)
    path = encrypted_file(write_csv(setup.home / "users.csv", people(ROWS)), key)
    return setup.of(f'path = "{path}"\nidentity = "{key}"')


def elsewhere(setup: RunSetup) -> Run:
    setup.storage.reset()
    setup.storage.put("in.csv", write_csv(setup.home / "users.csv", people(ROWS)))
    run = setup.of(f'path = "s3://{BUCKET}/in.csv"', more=f'[mirror]\nto = "{AT}"\n')
    run.mirror = setup.storage
    return run


def scheduled(setup: RunSetup) -> Run:
    (setup.home / "in").mkdir()
    write_csv(setup.home / "in" / "users.csv", people(ROWS))
    run = setup.of('path = "in"\n[schedule]\nstate = "nightly.json"')
    run.begin, run.scheduled = run.begin[:4], True
    return run


KINDS: Sequence[Callable[[RunSetup], Run]] = (
    threads,
    two_lanes,
    generated,
    signing_out,
    cluster,
    encrypted,
    elsewhere,
    scheduled,
)


class KilledRun:
    """One run, killed and resumed until it is complete."""

    def __init__(self, setup: RunSetup, run: Run, chance: random.Random, tally: Tally) -> None:
        self._setup = setup
        self._run = run
        self._chance = chance
        self._tally = tally
        self._known: set[User] = set()  # users who were set when the last execution ended
        self._calls = 0
        self._run_dir = setup.run_dir

    def run_to_end(self, kills: int) -> None:
        """Kill it this many times, or until it has ended; then let it end."""
        for number in range(kills):
            if not self._kill():
                break
            self._count_calls()
            self._lose_machine(number)
        argv = self._argv()
        with self._setup.bulkreset.start(*argv, env=self._run.env) as process:
            ran = finish(process, self._run_dir, 300)
        assert ran.code == 0, ran.stderr
        self._find_run_dir()
        self._compare(CommandResult(ran.code, ran.stdout, ran.stderr, self._run_dir))

    def _argv(self) -> tuple[Argument, ...]:
        if self._run.scheduled:
            return self._run.begin
        if self._run_dir.exists():
            return ("resume", self._run_dir, "--no-progress")
        if self._run.mirror and self._is_mirrored():
            return ("resume", f"{AT}run", "--no-progress", "--run-dir", self._run_dir)
        return self._run.begin

    def _kill(self) -> bool:
        """Kill one execution at any moment. Return whether it was still running."""
        sim = self._setup.sim
        before, wanted = (
            sim.stats().count(SET),
            self._chance.choice([0, 1, self._chance.randrange(2 * ROWS // IN_ONE_RUN)]),
        )
        with self._setup.bulkreset.start(*self._argv(), env=self._run.env) as process:
            while wanted and process.poll() is None and sim.stats().count(SET) < before + wanted:
                time.sleep(0.005)
            time.sleep(self._chance.uniform(0, 0.2 if wanted else 1.5))
            alone = self._chance.random() < 0.5
            with contextlib.suppress(ProcessLookupError):  # the workers of a cluster may survive
                (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
            process.communicate()
        self._tally.kills += process.returncode == -signal.SIGKILL
        return process.returncode == -signal.SIGKILL

    def _count_calls(self) -> None:
        """Count the calls for users that were known to be set, and read who is set now."""
        self._find_run_dir()
        made = [(call.pool, call.username) for call in self._setup.sim.calls(SET)]
        self._tally.settled += len(self._known & set(made[self._calls :]))
        self._calls = len(made)
        if self._run.mirror:
            if self._is_mirrored():
                found, _ = settled_in(self._run.mirror, "runs/run/")
                self._known = {(POOL, name) for name in found}
        elif (self._run_dir / "journal.sqlite").exists():
            with contextlib.closing(sqlite3.connect(self._run_dir / "journal.sqlite")) as journal:
                question = "SELECT user_pool_id, username FROM rows JOIN pools ON pools.id = pool WHERE status = 'set'"
                self._known = set(journal.execute(question).fetchall())

    def _find_run_dir(self) -> None:
        if self._run.scheduled:
            found = sorted((self._setup.home / "runs").glob("[!.]*"))
            assert len(found) <= 1
            self._run_dir = found[0] if found else self._run_dir

    def _is_mirrored(self) -> bool:
        assert self._run.mirror
        return any("-base-" in key for key in self._run.mirror.keys("runs/run/"))

    def _lose_machine(self, number: int) -> None:
        """Lose the machine with its directory and end its lease. The next one has only S3, if S3 has the run."""
        if self._run.mirror:
            if "runs/run/lease.json" in self._run.mirror.keys("runs/"):
                end_lease(self._run.mirror, "runs/run/lease.json")
            if self._is_mirrored():
                self._run_dir = self._setup.home / f"machine-{number}"

    def _compare(self, ran: CommandResult) -> None:
        """Compare report and service at the end."""
        self._count_calls()
        report = ran.report
        assert [row["row"] for row in report] == [str(number) for number in range(1, len(report) + 1)]
        assert {(row["user_pool_id"], row["username"]) for row in report} == self._run.users
        assert len(report) == len(self._run.users)
        assert {row["status"] for row in report} == {"set"}
        assert not read_status(ran.run_dir).resumable
        made = Counter((call.pool, call.username) for call in self._setup.sim.calls(SET))
        applied = {(call.pool, call.username) for call in self._setup.sim.calls(SET) if call.applied}
        resent = {user for user, times in made.items() if times > 1}
        marked = {(row["user_pool_id"], row["username"]) for row in report if row["in_doubt"] == "true"}
        self._tally.rows += len(report)
        self._tally.lost += len(self._run.users - applied)
        self._tally.resent += len(resent)
        self._tally.unmarked += len(resent - marked)
        assert ran.summary.get("resent", 0) >= len(resent)
        self._run.end(ran)


@pytest.fixture
def make_setup(tmp_path: Path, running: Simulator, stored: Storage) -> Callable[[], RunSetup]:
    """Return a function that makes a new directory and a service without users."""
    made = 0

    def make() -> RunSetup:
        nonlocal made
        made += 1
        home = tmp_path / f"{made}"
        home.mkdir()
        running.reset()
        running.add_pool(POOL, policy=LAX, auto_users=True)
        running.configure(latency=0.03, jitter=0.5)
        bulkreset = Command(home, running)
        bulkreset.environment |= stored.environment()
        return RunSetup(bulkreset, running, stored)

    return make


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_thousand_kills_lose_no_row_and_repeated_rows_are_marked(
    make_setup: Callable[[], RunSetup], kind: Callable[[RunSetup], Run], record_property: Callable[[str, object], None]
) -> None:
    chance, tally = random.Random(kind.__name__), Tally()
    try:
        while tally.kills < KILLS:
            setup = make_setup()
            KilledRun(setup, kind(setup), chance, tally).run_to_end(min(IN_ONE_RUN, KILLS - tally.kills))
    finally:
        record_property("tally", f"{kind.__name__:12} {tally}")
    assert (tally.lost, tally.unmarked, tally.settled) == (0, 0, 0)
