"""The quota: the first source with an answer counts; failed sources are named."""

from typing import Any

import pytest

from bulkreset.cognito import quota as quota_module
from bulkreset.cognito.quota import PUBLISHED, AccountQuota, find_quota
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.errors import TargetError
from bulkreset.job import Target
from tests.cognito.conftest import POOL
from tests.cognito.endpoint import answering, of_the_service
from tests.sim.handle import Simulator

ASKED = ["GetProvisionedLimit", "GetServiceQuota", "GetAWSDefaultServiceQuota"]
ACTIONS = [
    "cognito-idp:GetProvisionedLimit",
    "servicequotas:GetServiceQuota",
    "servicequotas:GetAWSDefaultServiceQuota",
]
CODE = "L-7D6E8ED3"

pytestmark = pytest.mark.usefixtures("credentials")


@pytest.fixture
def simulated_session(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> TargetSession:
    """Open a session whose Cognito and Service Quotas are the simulator's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", sim.url)
    return open_session(Target(user_pool_id=POOL, region="us-east-1", endpoint_url=sim.url))


def operations(sim: Simulator) -> list[str]:
    """Return the operations that were called, in order."""
    return [call.operation for call in sim.calls()]


def test_provisioned_limit_comes_first(sim: Simulator, simulated_session: TargetSession) -> None:
    sim.configure(provisioned_limits={"UserAccountRecovery": 55}, service_quotas={CODE: 40})
    assert find_quota(simulated_session) == AccountQuota(55.0, "provisioned limit")
    assert operations(sim) == ASKED[:1]


def test_applied_quota_comes_second(sim: Simulator, simulated_session: TargetSession) -> None:
    sim.configure(service_quotas={CODE: 40})
    assert find_quota(simulated_session) == AccountQuota(40.0, "Service Quotas, applied value")
    assert operations(sim) == ASKED[:2]


def test_default_comes_third(sim: Simulator, simulated_session: TargetSession) -> None:
    assert find_quota(simulated_session) == AccountQuota(30.0, "Service Quotas, default value")
    assert operations(sim) == ASKED


def test_published_figure_comes_last(sim: Simulator, simulated_session: TargetSession) -> None:
    sim.configure(faults={"every": {"operation": ASKED[2], "error": "NoSuchResourceException"}})
    assert find_quota(simulated_session) == PUBLISHED == AccountQuota(30.0, "published by AWS")
    assert operations(sim) == ASKED


@pytest.mark.parametrize("failing", range(3), ids=ASKED)
def test_source_that_is_denied_is_named_and_the_next_one_asked(
    sim: Simulator, simulated_session: TargetSession, failing: int
) -> None:
    sim.configure(faults={"every": {"operation": ASKED[failing], "error": "AccessDeniedException"}})
    found = find_quota(simulated_session)
    assert found.unknown == (UnknownFact("the quota", ACTIONS[failing], "AccessDeniedException", denied=True),)
    assert (found.value, operations(sim)) == (30.0, ASKED)
    assert found.source == ("published by AWS" if failing == 2 else "Service Quotas, default value")


def test_all_that_are_denied_are_named(sim: Simulator, simulated_session: TargetSession) -> None:
    sim.configure(faults={"every": {"error": "AccessDeniedException"}})
    found = find_quota(simulated_session)
    assert [gap.action for gap in found.unknown] == ACTIONS
    assert (found.value, found.source) == (PUBLISHED.value, PUBLISHED.source)


@pytest.mark.parametrize("code", ["NoSuchResourceException", "ResourceNotFoundException", "UnknownOperationException"])
def test_source_without_a_value_is_not_a_gap(sim: Simulator, simulated_session: TargetSession, code: str) -> None:
    sim.configure(faults={"every": {"error": code}})
    assert find_quota(simulated_session) == PUBLISHED


def test_service_that_cannot_be_reached_is_named(
    sim: Simulator, simulated_session: TargetSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", "http://127.0.0.1:9")
    found = find_quota(simulated_session)
    assert [(gap.action, gap.code, gap.denied) for gap in found.unknown] == [
        (action, "EndpointConnectionError", False) for action in ACTIONS[1:]
    ]
    assert (found.value, operations(sim)) == (30.0, ASKED[:1])


def test_service_without_an_endpoint_in_the_region_is_named(
    simulated_session: TargetSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = simulated_session.side_client

    def refuse(service: str) -> object:
        if service == "service-quotas":
            raise TargetError("No client can be made.", "Fix it.")
        return made(service)

    monkeypatch.setattr(simulated_session, "side_client", refuse)
    assert [gap.code for gap in find_quota(simulated_session).unknown] == ["No client can be made."] * 2


def test_botocore_that_does_not_know_the_call_leaves_it_out(
    simulated_session: TargetSession, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = simulated_session.side_client
    monkeypatch.setattr(
        simulated_session, "side_client", lambda service: object() if service == "cognito-idp" else made(service)
    )
    assert find_quota(simulated_session) == AccountQuota(30.0, "Service Quotas, default value")
    assert operations(sim) == ASKED[1:]


@pytest.mark.parametrize("value", [0, -1, None, "many", [30], {"rate": 30}], ids=repr)
def test_invalid_figure_is_ignored(
    simulated_session: TargetSession, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    monkeypatch.setattr(quota_module, "_provisioned", lambda _session: value)
    assert find_quota(simulated_session) == AccountQuota(30.0, "Service Quotas, default value")


@pytest.mark.parametrize(
    "answer", [{}, {"Limit": None}, {"Limit": {}}, {"Quota": {"Value": 0}}, {"Quota": {}}], ids=str
)
def test_answers_without_a_figure_lead_to_the_published_one(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    with answering(of_the_service(answer)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", endpoint.url)
        simulated_session = open_session(Target(user_pool_id=POOL, region="us-east-1", endpoint_url=endpoint.url))
        assert find_quota(simulated_session) == PUBLISHED
        assert len(endpoint.received) == 3


def test_failure_marked_as_temporary_is_not_waited_for(sim: Simulator, simulated_session: TargetSession) -> None:
    sim.configure(faults={"every": {"operation": ASKED[1], "error": "TooManyRequestsException"}})
    found = find_quota(simulated_session)
    assert [gap.code for gap in found.unknown] == ["TooManyRequestsException"]
    assert operations(sim) == ASKED
