"""Fourteen faults of a scheduled run: terminal, exit code, `status` and runbook name each, and the advice works."""

import contextlib
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.crash.test_resume import hold, let_go, sent
from tests.e2e.command import (
    LAX,
    PATIENCE,
    POOL,
    ROOT,
    SET,
    Argument,
    Command,
    CommandResult,
    finish,
    people,
    write_csv,
    write_job,
)
from tests.sim import Simulator
from tests.waiting import wait_until

ROWS = 24
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
# The test decides which hosts are known; no name server is asked.
HOST = """
import socket
real = socket.getaddrinfo
def found(host, *args, **named):
    if host == "localhost" and not {known}:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return real("127.0.0.1" if host == "localhost" else host, *args, **named)
socket.getaddrinfo = found
"""
# The disk is full when the first rows of the plan are written.
NO_ROOM = """
import resource
from bulkreset.journal.journal_writer import JournalWriter
real = JournalWriter.add_rows
def full(self, rows):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    return real(self, rows)
JournalWriter.add_rows = full
"""


@dataclass
class Scene:
    """A job of ROWS users, and methods that make it fail. `killed` is the directory of a killed run."""

    bulkreset: Command
    sim: Simulator
    certificate: Path
    front: str
    killed: Path
    run_dir: Path = field(init=False)

    def __post_init__(self) -> None:
        self.run_dir = self.bulkreset.home / "run"
        write_csv(self.bulkreset.home / "users.csv", people(ROWS))

    def begin(self, url: str = "", first: str = "") -> CommandResult:
        """Run the job to its end, confirmed."""
        with self.started(url=url, first=first) as process:
            return finish(process, self.run_dir)

    def started(self, url: str = "", attempts: int = 2, first: str = "") -> subprocess.Popen[str]:
        """Start the job, confirmed."""
        job = write_job(
            self.bulkreset.home,
            url or self.sim.url,
            'path = "users.csv"',
            f"[pace]\nrate = 25\nworkers = 2\nmax_attempts = {attempts}\nmax_wait = 0.1\n[guards]\nmax_refused_in_a_row = 6\n",
        )
        return self.bulkreset.start("run", job, "--yes", "--run-dir", self.run_dir, first=first)

    def ask(self, *args: Argument, env: dict[str, str | None] | None = None, first: str = "") -> CommandResult:
        """Run a command about the run."""
        with self.bulkreset.start(args[0], self.run_dir, *args[1:], env=env, first=first) as process:
            return finish(process, self.run_dir)

    def refuse(self, error: str, status: int = 400, since: int = 1) -> CommandResult:
        """Run the job while the service answers every call with an error from one call on."""
        rule = {"operation": SET, "error": error, "status": status, "from_call": since}
        self.sim.configure(faults={"every": rule})
        ran = self.begin()
        let_go(self.sim)
        return ran

    def damage(self, what: Callable[[Path], object]) -> CommandResult:
        """Damage a copy of the killed run, and resume it."""
        shutil.copytree(self.killed, self.run_dir)
        what(self.run_dir)
        return self.ask("resume")

    def restored(self) -> CommandResult:
        """Do what the runbook says: restore the directory from a backup, then resume."""
        shutil.rmtree(self.run_dir)
        shutil.copytree(self.killed, self.run_dir)
        return self.ask("resume", "--rate", "none")


def quota_of_one(scene: Scene) -> CommandResult:
    scene.sim.configure(quota={"rate": 1, "bucket": 1})
    with scene.started(attempts=50) as process:
        sent(scene.sim, 8)
        process.send_signal(signal.SIGINT)
        ran = finish(process, scene.run_dir)
    scene.sim.configure(quota=None)
    return ran


def full_while_sending(scene: Scene) -> CommandResult:
    hold(scene.sim, 4)
    with scene.started() as process:
        sent(scene.sim, 4)
        limit = (scene.run_dir / "journal.sqlite-wal").stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        let_go(scene.sim)
        return finish(process, scene.run_dir)


def killed(scene: Scene) -> CommandResult:
    shutil.copytree(scene.killed, scene.run_dir)
    return CommandResult(-signal.SIGKILL, "", "", scene.run_dir)


def two_at_once(scene: Scene) -> CommandResult:
    hold(scene.sim, 3)
    with scene.started() as process:
        sent(scene.sim, 3)
        second = scene.ask("resume")
        let_go(scene.sim)
        assert finish(process, scene.run_dir).code == 0
    return second


def without(*names: str) -> Callable[[Path], None]:
    def removed(run_dir: Path) -> None:
        for name in names:
            (run_dir / name).unlink(missing_ok=True)

    return removed


def corrupt(run_dir: Path) -> None:
    without("journal.sqlite-wal", "journal.sqlite-shm")(run_dir)
    whole = (run_dir / "journal.sqlite").read_bytes()
    (run_dir / "journal.sqlite").write_bytes(b"\0" * len(whole))


def host(scene: Scene) -> str:
    return scene.sim.url.replace("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Fault:
    """One fault: how it happens, the expected output, and its row in the runbook.

    `said` is in the last lines of the terminal, `status` in the output of `status`, `row` in the left cell of a runbook
    row
    and `advice` in its right cell.
    """

    comes: Callable[[Scene], CommandResult]
    code: int
    said: str
    status: str
    row: str
    advice: str
    helps: Callable[[Scene], CommandResult] = lambda scene: scene.ask("resume", "--rate", "none")


def again(*args: Argument) -> Callable[[Scene], CommandResult]:
    return lambda scene: scene.ask("resume", "--rate", "none", *args)


FAULTS = {
    "quota of one call per second": Fault(
        quota_of_one, 130, "throttled, ", "throttled", "many calls `throttled`", "`--share`", again("--share", "0.3")
    ),
    "quota of nothing": Fault(
        lambda scene: scene.refuse("TooManyRequestsException", since=5),
        3,
        "6 rows in a row were throttled (TooManyRequestsException). (Limit: max_refused_in_a_row.) The quota is used up",
        "TooManyRequestsException",
        "rows in a row were throttled",
        "resume with `--failed` and a lower `--share`",
        again("--failed", "--share", "0.3"),
    ),
    "access denied": Fault(
        lambda scene: scene.refuse("AccessDeniedException", since=5),
        3,
        "AccessDeniedException",
        "Allow cognito-idp:AdminSetUserPassword",
        "`AccessDeniedException`",
        "Allow `cognito-idp:AdminSetUserPassword`",
    ),
    "expired credentials": Fault(
        lambda scene: scene.refuse("ExpiredTokenException", since=5),
        3,
        "ExpiredTokenException",
        "renew the credentials",
        "`ExpiredTokenException`",
        "renew the credentials, then resume",
    ),
    "service down": Fault(
        lambda scene: scene.refuse("ServiceUnavailableException", 503, since=5),
        3,
        "6 rows in a row had no answer (ServiceUnavailableException)",
        "in doubt",
        "rows in a row had no answer",
        "AWS health page, then resume",
    ),
    "disk full while planning": Fault(
        lambda scene: scene.begin(first=NO_ROOM),
        3,
        "journal",
        "Nothing was sent",
        "journal or report cannot be written",
        "Free some space",
    ),
    "disk full while sending": Fault(
        full_while_sending, 3, "journal", "set", "journal or report cannot be written", "Free some space"
    ),
    "killed": Fault(killed, -9, "", "crashed", "137", "Use `bulkreset resume RUN_DIR`"),
    "two at once": Fault(
        two_at_once,
        4,
        "Another process is working on the run",
        "finished",
        "4",
        "See `bulkreset status RUN_DIR`",
        lambda scene: scene.ask("resume"),
    ),
    "bad certificate": Fault(
        lambda scene: scene.begin(url=scene.front),
        3,
        "could not be verified",
        "Check the host",
        "`SSLError`",
        "`AWS_CA_BUNDLE`",
        lambda scene: scene.ask("resume", env={"AWS_CA_BUNDLE": str(scene.certificate)}),
    ),
    "unknown host": Fault(
        lambda scene: scene.begin(url=host(scene), first=HOST.format(known=False)),
        3,
        "Cannot connect to http://localhost:",
        "Check the name of the host",
        "Cannot connect to …",
        "then resume",
        lambda scene: scene.ask("resume", first=HOST.format(known=True)),
    ),
    "lost journal": Fault(
        lambda scene: scene.damage(without("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm")),
        2,
        "has no journal any more",
        "has no journal any more",
        "has no journal any more",
        "Restore the run directory from a backup",
        Scene.restored,
    ),
    "corrupt journal": Fault(
        lambda scene: scene.damage(corrupt),
        3,
        "is damaged",
        "is damaged",
        "journal is damaged",
        "restore the run directory from a backup",
        Scene.restored,
    ),
    "lost log of the journal": Fault(
        lambda scene: scene.damage(without("journal.sqlite-wal", "journal.sqlite-shm")),
        3,
        "has lost what the run did last",
        "has lost what the run did last",
        "has lost what the run did last",
        "Restore all of them",
        Scene.restored,
    ),
}


# Other tests of the quick suite cover these faults, alone or through a function that chooses the message.
SLOW = {
    *(
        "quota of one call per second",
        "quota of nothing",
        "expired credentials",
        "service down",
        "disk full while sending",
    ),
    *("bad certificate", "unknown host", "lost journal", "lost log of the journal"),
}


def set_in(run_dir: Path) -> set[str]:
    """Return the users who are set in the journal."""
    with contextlib.closing(sqlite3.connect(f"file:{run_dir / 'journal.sqlite'}?mode=ro", uri=True)) as journal:
        return {user for (user,) in journal.execute("SELECT username FROM rows WHERE status = 'set'")}


@pytest.fixture(scope="module")
def killed_run(running: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that was killed while it sent, and its input."""
    home = tmp_path_factory.mktemp("killed")
    running.reset()
    running.add_pool(POOL, policy=LAX, auto_users=True)
    bulkreset = Command(home, running)
    hold(running, 9)
    argv = (*bulkreset.against(write_csv(home / "users.csv", people(ROWS))), "--yes", "--rate", "50")
    with bulkreset.start(*argv, "--run-dir", home / "run") as process:
        sent(running, 9)
        wait_until(lambda: (home / "run" / "journal.sqlite-wal").stat().st_size > 0)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE)
    let_go(running)
    return home / "run"


@pytest.mark.linux("prlimit, to fill the disk of a process")
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.soak] * (name in SLOW)) for name in FAULTS])
def test_fault_is_reported_and_the_advice_of_the_runbook_helps(
    name: str, killed_run: Path, bulkreset: Command, sim: Simulator, certificate: Path, front: str
) -> None:
    fault = FAULTS[name]
    scene = Scene(bulkreset, sim, certificate, front, killed_run)
    ran = fault.comes(scene)
    last = "\n".join([*ran.stdout.splitlines()[-8:], *ran.stderr.splitlines()[-3:]])
    assert (ran.code, fault.said in last) == (fault.code, True), last
    status = scene.ask("status")
    output = status.stdout + status.stderr
    assert fault.status in output, output
    rows = [re.split(r"(?<!\\)\|", line) for line in RUNBOOK.splitlines() if line.startswith("|")]
    assert any(fault.row in left and fault.advice in right for _, left, right, *_ in rows)
    settled = set_in(ran.run_dir if fault.helps is not Scene.restored else killed_run)
    before = len(sim.calls(SET))
    ended = fault.helps(scene)
    assert (ended.code, ended.summary["counts"]) == (0, {"set": ROWS}), ended.stderr
    assert not settled & {call.username for call in sim.calls(SET)[before:]}
