"""Many rows through a service that loses answers and fails: all are set, none is finished twice, doubt is reported."""

import pytest

from tests.e2e.command import SET, Command, assert_they_agree, people, seed, write_csv
from tests.sim import Simulator

RULES = [
    {"p": 0.005, "step": {"cut": "before"}, "operation": SET},
    {"p": 0.005, "step": {"cut": "after"}, "operation": SET},
    {"p": 0.01, "step": {"error": "InternalErrorException", "status": 500}, "operation": SET},
]


@pytest.mark.parametrize(
    "rows", [400, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])], ids=["short", "long"]
)
@pytest.mark.parametrize("history", [None, 5], ids=["no-history", "history"])
def test_lost_answers_and_internal_errors_lose_no_row(
    bulkreset: Command, sim: Simulator, rows: int, history: int | None
) -> None:
    users = people(rows)
    seed(sim, [name for name, _ in users], history=history)
    sim.configure(faults={"random": {"seed": 3, "rules": RULES}})
    ran = bulkreset.reset(write_csv(bulkreset.home / "users.csv", users), "--rate", "none")
    assert ran.code == 0
    assert ran.summary["counts"] == {"set": rows}
    assert_they_agree(ran, sim)
    calls = sim.calls(SET)
    lost = {call.username for call in calls if call.answer in {"cut", "InternalErrorException"}}
    assert lost
    assert {row["username"] for row in ran.report if row["in_doubt"] == "true"} == lost
    settled: set[str] = set()
    for call in calls:
        assert call.username not in settled
        if call.answer in {"ok", "PasswordHistoryPolicyViolationException"}:
            settled.add(call.username)
    twice = {user for user in lost if sum(call.applied for call in calls if call.username == user) > 1}
    assert twice <= lost
