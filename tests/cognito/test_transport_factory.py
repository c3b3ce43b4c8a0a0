"""The transport of a run."""

from importlib.machinery import ModuleSpec

import pytest

from bulkreset.cognito import transport_factory
from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.crt_transport import CrtTransport
from bulkreset.cognito.session import open_session
from bulkreset.cognito.transport_factory import BOTO3_CARRIES, TransportKind, choose_transport, open_transport
from bulkreset.job import Target
from tests.cognito.conftest import POOL

SLOW = [24.0, float(BOTO3_CARRIES) - 24]
FAST: list[list[float | None]] = [[None], [24.0, None], [BOTO3_CARRIES + 1], [*SLOW, 1.0]]


@pytest.mark.parametrize("wanted", ["boto3", "crt"])
@pytest.mark.parametrize("ceilings", [[24.0], [None]])
def test_job_may_say_which(wanted: TransportKind, ceilings: list[float | None]) -> None:
    assert choose_transport(wanted, ceilings) == wanted


def test_boto3_sends_up_to_its_maximum() -> None:
    assert choose_transport("auto", SLOW) == "boto3"
    assert choose_transport("auto", []) == "boto3"


@pytest.mark.parametrize("ceilings", FAST)
def test_runtime_has_a_higher_maximum_if_it_is_installed(
    ceilings: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_transport("auto", ceilings) == "crt"

    def missing(_name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(transport_factory, "find_spec", missing)
    assert choose_transport("auto", ceilings) == "boto3"


@pytest.mark.usefixtures("credentials")
def test_each_kind_is_opened() -> None:
    session = open_session(Target(user_pool_id=POOL, region="us-east-1", endpoint_url="http://127.0.0.1:9"))
    assert isinstance(open_transport("boto3", session), BotoTransport)
    assert isinstance(open_transport("crt", session), CrtTransport)
