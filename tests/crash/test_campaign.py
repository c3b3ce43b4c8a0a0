"""A campaign killed at any moment and resumed to the end: the decrypted passwords are those that were set."""

import contextlib
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from bulkreset.age_encryption import load_identities
from bulkreset.journal.generated_passwords import read_archive
from tests.crash.test_resume import hold, let_go
from tests.e2e.campaigns import (
    Key,
    files_below,
    held,
    make_key,
    names,
    opened,
    places_with,
    write_campaign,
    write_names,
)
from tests.e2e.command import POOL, SET, Command, finish
from tests.sim import Simulator
from tests.waiting import wait_until

LOST = [
    {"p": 0.02, "step": {"cut": "after"}, "operation": SET},
    {"p": 0.02, "step": {"cut": "before"}, "operation": SET},
    {"p": 0.02, "step": {"error": "InternalErrorException", "status": 500, "apply": True}, "operation": SET},
]


def statuses(run_dir: Path) -> dict[int, tuple[str, str]]:
    """Return username and status of each row, by its number."""
    with contextlib.closing(sqlite3.connect(run_dir / "journal.sqlite")) as journal:
        return {row: (name, status) for row, name, status in journal.execute("SELECT row, username, status FROM rows")}


def assert_encrypted_before_claimed(run_dir: Path, key: Key, sim: Simulator) -> None:
    """Check that every claimed row is on disk, encrypted, and that the service got the same password."""
    archive = run_dir / "passwords"
    lines = [line for _, line in read_archive(archive, load_identities(key.path))] if any(archive.glob("*.age")) else []
    encrypted = {line.row for line in lines}
    touched = {row for row, (_, status) in statuses(run_dir).items() if status not in {"ready", "rejected", "skipped"}}
    assert touched <= encrypted
    assert {(call.username, call.password) for call in sim.calls(SET)} <= {
        (line.username, line.password) for line in lines
    }


def assert_decrypted_is_set(run_dir: Path, key: Key, sim: Simulator) -> None:
    """Check that the decrypted passwords are exactly those of the users who are set, and that they match."""
    told = {name for name, status in statuses(run_dir).values() if status == "set"}
    if told:
        found = opened(run_dir, key)
        assert found.keys() == told
        assert found.items() <= held(sim).items()


def kill_until_done(
    bulkreset: Command, sim: Simulator, rows: int, seed: int, kills: int, *, somewhere: bool = False
) -> None:
    """Start, kill, resume, kill … and finally resume to the end.

    Kill after so many calls, or at a random time after them.
    """
    chance = random.Random(seed)
    sim.configure(latency=0.03 if somewhere else 0.0, jitter=0.5, faults={"random": {"seed": seed, "rules": LOST}})
    key = make_key(bulkreset.home)
    more = '[pace]\nrate = "none"\nworkers = 8\nmax_wait = 0.1\n'
    job = write_campaign(bulkreset, write_names(bulkreset.home, names(rows)), key, more=more)
    run_dir = bulkreset.home / "run"
    share = rows // (kills + 1)
    for number in range(kills + 1):
        argv = ("resume", run_dir) if run_dir.exists() else ("run", job, "--yes", "--run-dir", run_dir)
        before = sim.stats().count(SET)
        wanted = 1 + chance.randrange(share)
        if number < kills and not somewhere:
            hold(sim, wanted)
        with bulkreset.start(*argv) as process:
            if number < kills:
                wait_until(lambda: sim.stats().count(SET) >= before + wanted or process.poll() is not None)  # noqa: B023
                if somewhere:
                    time.sleep(chance.uniform(0, 0.3))  # at a random time after that call
                process.kill()
                process.communicate()
                assert process.returncode in {0, -signal.SIGKILL}
                let_go(sim)
            else:
                ran = finish(process, run_dir)
        if run_dir.exists():
            assert_encrypted_before_claimed(run_dir, key, sim)
            assert_decrypted_is_set(run_dir, key, sim)
    assert ran.code == 0
    assert opened(run_dir, key) == held(sim)
    assert held(sim).keys() == set(names(rows))
    assert {user["status"] for user in sim.users(POOL).values()} == {"FORCE_CHANGE_PASSWORD"}
    twice = {row["username"] for row in ran.report if int(row["attempts"]) > 1}
    assert twice <= {row["username"] for row in ran.report if row["in_doubt"] == "true"}
    places = {where: {content} for where, content in files_below(bulkreset.home)}
    assert places_with(places, [call.password.encode() for call in sim.calls(SET) if call.password]) == set()


def test_killed_anywhere_who_is_set_has_the_password_that_was_generated(bulkreset: Command, sim: Simulator) -> None:
    kill_until_done(bulkreset, sim, rows=150, seed=9, kills=2)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(10))
def test_killed_many_times_who_is_set_has_the_password_that_was_generated(
    bulkreset: Command, sim: Simulator, seed: int
) -> None:
    kill_until_done(bulkreset, sim, rows=4000, seed=seed, kills=8, somewhere=True)
