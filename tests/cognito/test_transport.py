"""The transport of a run."""

import pytest

from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.crt_transport import CrtTransport
from bulkreset.cognito.session import open_session
from bulkreset.cognito.transport import TransportKind, choose_transport, open_transport
from bulkreset.job import Target
from tests.cognito.conftest import POOL


@pytest.mark.parametrize("wanted", ["boto3", "crt"])
def test_job_may_say_which(wanted: TransportKind) -> None:
    assert choose_transport(wanted) == wanted


def test_boto3_sends_if_the_job_does_not_say() -> None:
    assert choose_transport("auto") == "boto3"


@pytest.mark.usefixtures("credentials")
def test_each_kind_is_opened() -> None:
    session = open_session(Target(user_pool_id=POOL, region="us-east-1", endpoint_url="http://127.0.0.1:9"))
    assert isinstance(open_transport("boto3", session), BotoTransport)
    assert isinstance(open_transport("crt", session), CrtTransport)
