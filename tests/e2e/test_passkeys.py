"""Users with passkeys are counted only if the job asks for it. What cannot be counted is reported."""

from contextlib import closing
from pathlib import Path

import pytest

from bulkreset.journal.journal import Journal
from bulkreset.plan.passkeys import CALL
from tests.e2e.command import LAX, POOL, people, write_csv
from tests.e2e.program import Program
from tests.sim import Simulator

NAMES = [name for name, _ in people(4)]
ASKED = {"check_users": False, "count_passkeys": True}


def fill(sim: Simulator) -> None:
    """Write three users, the first two with passkeys, and one who does not exist."""
    sim.add_pool(
        POOL, [{"username": name, "passkeys": 2 - at if at < 2 else 0} for at, name in enumerate(NAMES[:3])], LAX
    )


def preflight(run_dir: Path) -> dict[str, str]:
    """Return the lines of the preflight by label."""
    with closing(Journal.open(run_dir / "journal.sqlite", read_only=True)) as journal:
        return dict(journal.state.preflight)


def test_users_with_passkeys_are_counted_if_the_job_says_so(tmp_path: Path, program: Program, sim: Simulator) -> None:
    fill(sim)
    tables = program.tables(write_csv(tmp_path / "in.csv", people(4)))
    assert "Passkeys" not in preflight(program.plan(tables).run_dir)
    assert sim.calls(CALL) == []
    planned = program.plan(tables | {"plan": ASKED}, pace__rate="none")
    told = "2 users have a passkey. No administrator can delete it, only the user: say so in your message"
    assert preflight(planned.run_dir)["Passkeys"] == told
    assert [call.username for call in sim.calls(CALL)] == NAMES


def test_denied_call_is_a_gap_and_ends_the_count(tmp_path: Path, program: Program, sim: Simulator) -> None:
    fill(sim)
    sim.configure(faults={"every": {"error": "AccessDeniedException", "operation": CALL}})
    planned = program.plan(program.tables(write_csv(tmp_path / "in.csv", people(4))) | {"plan": ASKED})
    shown = preflight(planned.run_dir)
    assert "Passkeys" not in shown
    assert shown["Not known"].startswith(f"how many users have a passkey: cognito-idp:{CALL} was denied")
    assert CALL in shown["Allow"]
    assert len(sim.calls(CALL)) == 1


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException", "InvalidParameterException"])
def test_call_that_fails_midway_leaves_no_number(tmp_path: Path, program: Program, sim: Simulator, code: str) -> None:
    """Otherwise the remaining users would count as users without a passkey."""
    fill(sim)
    sim.configure(faults={"every": {"error": code, "operation": CALL, "from_call": 2}})
    planned = program.plan(program.tables(write_csv(tmp_path / "in.csv", people(4))) | {"plan": ASKED})
    shown = preflight(planned.run_dir)
    assert "Passkeys" not in shown
    assert shown["Not known"].startswith("how many users have a passkey")
    assert code in shown["Not known"]
