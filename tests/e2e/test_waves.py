"""A campaign in waves: one wave per execution, and the next one when users of the last have recovered."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bulkreset import api
from bulkreset.errors import BulkresetError, GuardTripped, JobError, RowLimit, WavePause
from bulkreset.journal.execution import unix_ms
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import RunState
from bulkreset.text import format_iso
from tests.e2e.command import LAX, POOL, SET, Command, finish, write_csv, write_job
from tests.e2e.program import Program
from tests.sim import Simulator

ROWS, WAVE = 200, 50
HOUR, DAY = 3600, 86_400
NAMES = [f"user.{number:04d}" for number in range(ROWS)]
WAVES = {"rows": WAVE, "recovered": "60%", "after": "24h", "max_expired": "2%"}


@pytest.fixture
def campaign(tmp_path: Path, program: Program, sim: Simulator) -> dict[str, Any]:
    """Write a job that gives 200 users a temporary password, in four waves."""
    sim.add_pool(POOL, NAMES, LAX)
    input_ = write_csv(tmp_path / "in.csv", [(name, f"Quiet-Garden.{name}") for name in NAMES])
    return program.tables(input_) | {"waves": WAVES, "pace": {"rate": "none", "workers": 8}}


def send_first_wave(program: Program, campaign: dict[str, Any], **keys: object) -> Path:
    """Send the first wave and return the run directory."""
    ran = program.apply(campaign, **keys)
    assert ran.code == 5, ran.stderr
    return ran.run_dir


def resumed(run_dir: Path, **overrides: object) -> BulkresetError | None:
    """Resume the run and return what stopped it."""
    try:
        api.resume(run_dir, overrides={key.replace("__", "."): value for key, value in overrides.items()})
    except BulkresetError as error:
        return error
    return None


def state(run_dir: Path) -> RunState:
    return Journal.state_in(run_dir / "journal.sqlite")


def set_by(sim: Simulator, since: int = 0) -> list[str]:
    """Return the users that were set from that call on, sorted by name."""
    return sorted(call.username for call in sim.calls(SET)[since:])


def recover(sim: Simulator, names: Sequence[str]) -> None:
    """Let these users sign in and choose a password."""
    sim.configure(
        users={POOL: [{"username": name, "status": "CONFIRMED", "password": "Own-Garden.1"} for name in names]}
    )


def let_time_pass(run_dir: Path, seconds: int) -> None:
    """Move all past events back in time, as if that time had passed."""
    back = seconds * 1000
    with closing(Journal.open(run_dir / "journal.sqlite")) as journal:
        older = [
            wave.model_copy(
                update={"begun_ms": wave.begun_ms - back, "ended_at": format_iso(unix_ms(wave.ended_at or "") - back)}
            )
            for wave in journal.state.waves
        ]
        journal.write.change(waves=tuple(older))
    with closing(sqlite3.connect(run_dir / "journal.sqlite")) as db, db:
        db.execute("UPDATE rows SET started_at = started_at - ?, finished_at = finished_at - ?", (back, back))


def test_four_waves_of_users_who_come_back(program: Program, campaign: dict[str, Any], sim: Simulator) -> None:
    run_dir = send_first_wave(program, campaign)
    for wave in range(4):
        names = NAMES[wave * WAVE : (wave + 1) * WAVE]
        assert set_by(sim, wave * WAVE) == names
        assert len(state(run_dir).waves) == wave + 1
        recover(sim, names[: WAVE * 6 // 10])  # exactly enough
        let_time_pass(run_dir, 24 * HOUR)
        stopped = resumed(run_dir)
        assert isinstance(stopped, WavePause) is (wave < 2), stopped
    assert set_by(sim) == NAMES
    facts = state(run_dir)
    assert facts.is_finished
    assert [(wave.users, wave.recovered, wave.expired) for wave in facts.waves] == [(50, 30, 0)] * 3 + [(0, 0, 0)]
    assert api.status(run_dir).counts == {"set": ROWS}


def test_first_wave_gives_the_condition_of_the_next(program: Program, campaign: dict[str, Any], sim: Simulator) -> None:
    ran = program.apply(campaign)
    assert ran.code == 5
    assert "Wave 1 of 4 was sent. 150 rows left." in ran.stderr
    assert "when 60% of its users have recovered and 24 h have passed." in ran.stderr
    assert len(sim.calls(SET)) == WAVE
    assert ran.summary["state"] == "wave"
    assert ran.summary["resumable"]


@pytest.mark.parametrize(
    ("back", "hours", "said"),
    [
        (29, 24, "29 of 50 users have recovered, and waves.recovered is 60%."),
        (30, 23, "it ended 23 h 0 min ago, and waves.after is 24 h."),
        (
            0,
            1,
            "0 of 50 users have recovered, and waves.recovered is 60%; it ended 1 h 0 min ago, and waves.after is 24 h.",
        ),
    ],
)
def test_next_wave_waits_for_the_recovery_of_the_last(
    program: Program, campaign: dict[str, Any], sim: Simulator, back: int, hours: int, said: str
) -> None:
    run_dir = send_first_wave(program, campaign)
    recover(sim, NAMES[:back])
    let_time_pass(run_dir, hours * HOUR)
    for _ in range(2):  # asking again gives the same answer
        stopped = resumed(run_dir)
        assert isinstance(stopped, WavePause)
        assert stopped.exit_code == 5
        assert stopped.message == f"Wave 2 waits for wave 1: {said}"
    assert len(sim.calls(SET)) == WAVE
    assert len(state(run_dir).waves) == 1
    (text,) = api.status(run_dir).waves
    assert f"{back} of 50 users have recovered ({back * 2:.1f} %), 0 temporary passwords expired" in text
    assert text in (api.write_report(run_dir, form="html")).read_text()


def test_expired_passwords_stop_the_campaign_until_few_are_left(
    program: Program, campaign: dict[str, Any], sim: Simulator
) -> None:
    run_dir = send_first_wave(program, campaign)
    recover(sim, NAMES[:48])
    let_time_pass(run_dir, 8 * DAY)  # a temporary password is valid for seven
    stopped = resumed(run_dir)
    assert isinstance(stopped, GuardTripped)
    assert stopped.exit_code == 3
    assert stopped.message.startswith("2 temporary passwords of wave 1 expired, of 50 users; waves.max_expired is 2%.")
    assert len(sim.calls(SET)) == WAVE
    recover(sim, NAMES[48:49])
    assert isinstance(resumed(run_dir), WavePause)  # one is exactly 2 %
    assert len(sim.calls(SET)) == 2 * WAVE


def test_wave_that_was_interrupted_is_sent_to_its_end_first(
    program: Program, campaign: dict[str, Any], sim: Simulator
) -> None:
    run_dir = send_first_wave(program, campaign, guards__limit=20)
    assert state(run_dir).waves[0].ended_at is None
    # nobody has recovered yet, so it is the same wave
    assert isinstance(resumed(run_dir, guards__limit=None), WavePause)
    assert set_by(sim) == NAMES[:WAVE]
    assert len(state(run_dir).waves) == 1


def test_limit_of_an_execution_ends_it_within_the_wave(program: Program, campaign: dict[str, Any]) -> None:
    run_dir = send_first_wave(program, campaign, guards__limit=20)
    stopped = resumed(run_dir)
    assert isinstance(stopped, RowLimit)
    assert not isinstance(stopped, WavePause)
    assert stopped.message == "Stopped after 20 rows, in the middle of wave 1."


def test_failed_rows_count_as_sent_and_are_not_waited_for(
    program: Program, campaign: dict[str, Any], sim: Simulator
) -> None:
    sim.configure(faults={"users": {name: [{"error": "NotAuthorizedException"}] for name in NAMES[:10]}})
    run_dir = send_first_wave(program, campaign)
    recover(sim, NAMES[10 : 10 + 24])  # 60 % of the 40 that were set
    let_time_pass(run_dir, 24 * HOUR)
    assert isinstance(resumed(run_dir), WavePause)
    assert set_by(sim, WAVE) == NAMES[WAVE : 2 * WAVE]


def test_deleted_users_are_not_waited_for(program: Program, campaign: dict[str, Any], sim: Simulator) -> None:
    run_dir = send_first_wave(program, campaign)
    sim.add_pool(POOL, NAMES[:40] + NAMES[WAVE:], LAX)
    recover(sim, NAMES[:24])
    let_time_pass(run_dir, 24 * HOUR)
    assert isinstance(resumed(run_dir), WavePause)
    assert state(run_dir).waves[0].users == 40


def test_command_line_shows_the_waves(
    tmp_path: Path, bulkreset: Command, program: Program, campaign: dict[str, Any]
) -> None:
    del tmp_path
    run_dir = send_first_wave(program, campaign)
    with bulkreset.start("resume", run_dir, "--yes") as process:
        ran = finish(process, run_dir)
    assert ran.code == 5
    assert "4 waves of up to 50 rows" not in ran.stderr  # three are left
    assert (
        "3 waves of up to 50 rows, one in each execution, when 60% of the last one's users have recovered" in ran.stderr
    )
    assert "Wave 2 waits for wave 1" in ran.stderr
    with bulkreset.start("status", run_dir) as process:
        assert "Wave 1: sent " in finish(process, run_dir).stdout


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"waves.rows": None, "waves.recovered": "60%"}, "waves.rows is missing"),
        ({"waves.rows": 10, "waves.recovered": "60%", "permanent": True}, "waves.recovered cannot be determined"),
        ({"waves.rows": 10, "waves.recovered": "most"}, 'a share like "60%"'),
        ({"waves.rows": 10, "waves.after": "soon"}, 'as in "90m"'),
        ({"waves.rows": 0}, "waves.rows"),
    ],
)
def test_waves_that_cannot_be_judged_are_refused(program: Program, keys: dict[str, object], said: str) -> None:
    with pytest.raises(JobError, match=said):
        api.load(program.tables("in.csv"), keys)


def test_approved_limit_ends_a_campaign_within_a_wave(
    tmp_path: Path, bulkreset: Command, campaign: dict[str, Any], sim: Simulator
) -> None:
    """No wave is begun if none of its rows may be sent."""
    del campaign  # only its input and its pool are used
    more = f'[waves]\nrows = {WAVE}\n[pace]\nrate = "none"\nworkers = 8'
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', more)
    reviewed = bulkreset("run", job, "--dry-run", "--limit", str(2 * WAVE + 10))
    assert reviewed.code == 0, reviewed.stderr
    ran = bulkreset("run", job, "--approved", reviewed.run_dir, "--limit", str(2 * WAVE + 10))
    assert (ran.code, ran.summary["state"]) == (5, "wave"), ran.stderr
    assert isinstance(resumed(ran.run_dir), WavePause)
    for _ in range(2):
        stopped = resumed(ran.run_dir)
        assert isinstance(stopped, RowLimit)
        assert not isinstance(stopped, WavePause)
        assert "as the approved dry run asks. 90 left." in stopped.message
    assert set_by(sim) == NAMES[: 2 * WAVE + 10]
    assert len(state(ran.run_dir).waves) == 3
