"""Discovery of the account: parallel requests, one for each route, and limited waits."""

import pytest

from bulkreset.cognito import account
from bulkreset.cognito.account import AccountDiscovery
from bulkreset.cognito.quota import AccountQuota
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.job import Target
from tests.cognito.conftest import POOL
from tests.cognito.endpoint import answering, of_the_service
from tests.sim.handle import Simulator

OTHER = "us-east-1_Another01"

pytestmark = pytest.mark.usefixtures("credentials")


@pytest.fixture(autouse=True)
def _side_services(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sim.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", sim.url)


def session(url: str, pool: str = POOL, region: str = "us-east-1") -> TargetSession:
    return open_session(Target(user_pool_id=pool, region=region, endpoint_url=url))


def test_caller_quota_and_facts_are_reported_by_pool(sim: Simulator) -> None:
    sim.add_pool(OTHER, name="others")
    asked = AccountDiscovery({POOL: session(sim.url), OTHER: session(sim.url, OTHER)}, None)
    assert {pool: facts.name for pool, facts in asked.pools().items()} == {POOL: POOL, OTHER: "others"}
    assert {caller.account for caller in asked.callers().values()} == {"123456789012"}
    assert asked.quotas() == dict.fromkeys((POOL, OTHER), AccountQuota(30.0, "Service Quotas, default value"))


def test_targets_with_one_route_ask_for_the_quota_once(sim: Simulator) -> None:
    sim.add_pool(OTHER)
    AccountDiscovery({POOL: session(sim.url), OTHER: session(sim.url, OTHER)}, None).quotas()
    assert len(sim.calls("GetProvisionedLimit")) == 1


def test_each_region_has_its_own_quota_request(sim: Simulator) -> None:
    elsewhere = "eu-west-1_Another01"
    asked = AccountDiscovery({POOL: session(sim.url), elsewhere: session(sim.url, elsewhere, "eu-west-1")}, None)
    asked.quotas()
    assert {call.region for call in sim.calls("GetProvisionedLimit")} == {"us-east-1", "eu-west-1"}


def test_emulator_has_its_own_quota_and_aws_is_not_asked(sim: Simulator) -> None:
    asked = AccountDiscovery({POOL: session(sim.url)}, 77.0)
    assert asked.quotas() == {POOL: AccountQuota(77.0, "the emulator")}
    asked.pools()
    assert sim.calls("GetProvisionedLimit") == []


def test_missing_answers_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "POOL_SECONDS", 0.05)
    monkeypatch.setattr(account, "ask_in_background", lambda _question, otherwise, _seconds=0.0: lambda: otherwise)
    with answering(of_the_service({})) as endpoint:
        asked = AccountDiscovery({POOL: session(endpoint.url)}, None)
    gap = asked.pools()[POOL].unknown
    assert gap
    assert (gap.action, gap.code, gap.fatal) == ("cognito-idp:DescribeUserPool", "no answer", False)
    quota = asked.quotas()[POOL]
    assert (quota.value, [gap.code for gap in quota.unknown]) == (30.0, ["no answer"])
