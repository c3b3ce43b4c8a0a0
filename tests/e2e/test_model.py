"""All requests to AWS, compared with the API's own model: no unknown field."""

import pytest

from tests.e2e.campaigns import STRICT, names, write_campaign, write_names
from tests.e2e.command import POOL, Command
from tests.sim import Simulator
from tests.sim.test_model import ANN, RICH


@pytest.mark.parametrize("transport", ["boto3", "crt"])
def test_program_asks_nothing_that_the_model_does_not_have(bulkreset: Command, sim: Simulator, transport: str) -> None:
    users = [{"username": name, "attributes": ANN["attributes"]} for name in names(5)]
    sim.add_pool(POOL, users, STRICT, **RICH | {"groups": {"staff": []}})
    sim.configure(check_model=True)
    more = f'[pace]\nrate = "none"\ntransport = "{transport}"\n[guards.protected]\ngroups = ["staff"]\n'
    job = write_campaign(bulkreset, write_names(bulkreset.home, names(5)), permanent=True, more=more, plan="")
    ran = bulkreset("run", job, "--yes")
    assert (ran.code, ran.summary["counts"]) == (0, {"set": 5})
    assert ran.summary["signed_out"]["done"] == 5
    assert sim.model_faults() == []
    # Every call that the program makes is among them.
    assert {call.operation for call in sim.calls()} == {
        *("AdminSetUserPassword", "AdminUserGlobalSignOut", "DescribeUserPool", "ListUsers", "ListUsersInGroup"),
        *("GetUserPoolMfaConfig", "ListUserPoolReplicas", "ListPointInTimeRecoveries", "GetCallerIdentity"),
        "GetUserPoolSessionConfiguration",
        *("GetProvisionedLimit", "GetServiceQuota", "GetAWSDefaultServiceQuota"),
    }
