"""All steps after the password: only in pools that need them, once for each user, after any kill."""

import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bulkreset.steps import COLUMNS, STEPS
from tests.e2e.command import POOL, SET, WITHOUT_PAGE, Command, CommandResult, finish, people, write_csv
from tests.sim import Simulator
from tests.sim.test_model import DEVICES, SESSIONS
from tests.waiting import wait_until

AFTER = "after = [" + ", ".join(f'"{name}"' for name in STEPS) + "]\n"
HELD: dict[str, Any] = {
    "extra": {"MfaConfiguration": "OPTIONAL", "DeviceConfiguration": {"ChallengeRequiredOnNewDevice": True}},
    "mfa_config": {"SoftwareTokenMfaConfiguration": {"Enabled": True}},
    "session_tracking": True,
}
PATIENCE = 1800.0  # seconds: 40,000 steps on a busy machine
CALLS = [step.call for step in STEPS.values()]


def fill(sim: Simulator, users: list[str]) -> None:
    """Create a pool whose users have different items: the first none, the others devices, sessions, TOTP."""
    left = [{}, {"devices": DEVICES}, {"sessions": SESSIONS, "mfa": ["SOFTWARE_TOKEN_MFA"]}]
    sim.add_pool(POOL, [{"username": name, **left[number % 3]} for number, name in enumerate(users)], **HELD)


def write_steps_job(bulkreset: Command, sim: Simulator, rows: int, more: str = "") -> Path:
    """Write a job with all steps."""
    source = write_csv(bulkreset.home / "users.csv", people(rows))
    path = bulkreset.home / "job.toml"
    path.write_text(
        f'{AFTER}permanent = true\n[input]\npath = "{source}"\n[[targets]]\nuser_pool_id = "{POOL}"\n'
        f'region = "us-east-1"\nendpoint_url = "{sim.url}"\n[plan]\ncheck_users = false\n'
        f'[pace]\nrate = "none"\nmax_wait = 0.1\n{more}' + WITHOUT_PAGE,
        encoding="utf-8",
    )
    return path


def assert_each_step_is_done_once(ran: CommandResult, sim: Simulator, rows: int) -> None:
    """Check that the report has each step of each user as done, and that the pool has no items left."""
    assert (ran.code, len(ran.report)) == (0, rows)
    for column in COLUMNS:
        assert ran.summary[column] == {"done": rows, "failed": 0, "pending": 0}
        assert set(ran.column(column)) == {"true"}
    for user in sim.users(POOL).values():
        assert (user["devices"], user["sessions"], user["mfa"]) == ([], [], [])
        assert user["sign_outs"] >= 1


def test_every_user_loses_what_an_attacker_may_have_left(bulkreset: Command, sim: Simulator) -> None:
    fill(sim, [name for name, _ in people(9)])
    sim.configure(check_model=True)
    ran = bulkreset("run", write_steps_job(bulkreset, sim, 9), "--yes")
    assert_each_step_is_done_once(ran, sim, 9)
    assert sim.model_faults() == []
    # The steps of a user come in order, and only after the password.
    for name, _ in people(9):
        made = [call.operation for call in sim.calls() if call.username == name and call.operation in {SET, *CALLS}]
        assert list(dict.fromkeys(made)) == [call for call in (SET, *CALLS) if call in made]
    assert Counter(call.operation for call in sim.calls())["AdminForgetDevice"] == 3 * len(DEVICES)
    assert "Remembered devices: 9 done, 0 failed, 0 pending." in ran.stdout


def test_pool_without_devices_sessions_and_totp_needs_no_call(bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool(POOL, [name for name, _ in people(3)])
    ran = bulkreset("run", write_steps_job(bulkreset, sim, 3), "--yes")
    assert ran.code == 0
    assert ran.summary["signed_out"] == {"done": 3, "failed": 0, "pending": 0}
    assert [set(ran.column(column)) for column in COLUMNS] == [{"true"}, {""}, {""}, {""}]
    assert {call.operation for call in sim.calls()}.isdisjoint(CALLS[1:])
    assert "devices are not remembered" in ran.stderr


def steps_settled(run_dir: Path) -> int:
    """Return how many steps of all users are finished."""
    counted = " + ".join(f"count({column})" for column in COLUMNS)
    with closing(sqlite3.connect(run_dir / "journal.sqlite")) as journal:
        return int(journal.execute(f"SELECT {counted} FROM rows").fetchone()[0])  # noqa: S608  (our own text)


def kill_until_done(bulkreset: Command, sim: Simulator, rows: int, kills: int, seed: int) -> None:
    """Start, kill during the steps, resume, kill … and finally resume to the end."""
    chance = random.Random(seed)
    fill(sim, [name for name, _ in people(rows)])
    lost = [{"p": 0.01, "step": {"cut": when}, "operation": call} for call in CALLS for when in ("before", "after")]
    sim.configure(faults={"random": {"seed": seed, "rules": lost}})
    job, run_dir = write_steps_job(bulkreset, sim, rows), bulkreset.home / "run"
    before = 0
    for number in range(kills):
        argv = ("resume", run_dir) if number else ("run", job, "--yes", "--run-dir", run_dir)
        wanted = before + chance.randrange(1, 4 * rows // (kills + 1))
        with bulkreset.start(*argv) as process:
            wait_until(lambda: run_dir.exists() and steps_settled_or_0(run_dir) >= wanted, 300)  # noqa: B023
            process.kill()
            process.communicate()
        settled = steps_settled(run_dir)
        assert wanted <= settled < 4 * rows
        before = settled
    sim.configure(faults={"random": None})
    with bulkreset.start("resume", run_dir) as process:
        ran = finish(process, run_dir, PATIENCE)
    assert_each_step_is_done_once(ran, sim, rows)
    # A password is set again only if a kill left it in doubt.
    settled_once = {row["username"] for row in ran.report if row["in_doubt"] == "false"}
    applied = {name: user["applied"] for name, user in sim.users(POOL).items()}
    assert {applied[name] for name in settled_once} == {1}
    assert set(applied.values()) <= set(range(1, kills + 2))


def steps_settled_or_0(run_dir: Path) -> int:
    """Return how many steps are finished; 0 while there is no journal."""
    try:
        return steps_settled(run_dir)
    except sqlite3.OperationalError:
        return 0


@pytest.mark.soak
@pytest.mark.parametrize(("rows", "kills"), [(60, 2), (10_000, 10)])
def test_killed_and_resumed_every_step_of_every_user_is_settled_once(
    bulkreset: Command, sim: Simulator, rows: int, kills: int
) -> None:
    kill_until_done(bulkreset, sim, rows, kills, seed=rows)
