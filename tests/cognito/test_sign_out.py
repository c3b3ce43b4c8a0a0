"""The sign-out call: its answers are read like those of a password call."""

from typing import Any

import pytest

from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.response import Disposition, Response
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.job import Target
from tests.cognito.conftest import POOL
from tests.sim.handle import Simulator

pytestmark = pytest.mark.usefixtures("credentials")


def session(sim: Simulator) -> TargetSession:
    """Open a session at the simulator."""
    return open_session(Target(user_pool_id=POOL, region="us-east-1", endpoint_url=sim.url))


def sign_out(sim: Simulator, *steps: dict[str, Any]) -> Response:
    """Make one attempt for ann with this result."""
    sim.configure(faults={"scripts": {"AdminUserGlobalSignOut": {"ann": list(steps)}}})
    return BotoTransport.of(session(sim)).call("AdminUserGlobalSignOut", {"UserPoolId": POOL, "Username": "ann"})


def test_user_is_signed_out(sim: Simulator) -> None:
    answer = sign_out(sim)
    assert answer.disposition is Disposition.DONE
    assert answer.request_id
    assert sim.users(POOL)["ann"]["sign_outs"] == 1
    assert sim.passwords(POOL) == {"ann": None, "bob": None}


@pytest.mark.parametrize(
    ("step", "verdict", "code"),
    [
        ({"throttle": 1}, Disposition.THROTTLED, "TooManyRequestsException"),
        ({"error": "AccessDeniedException"}, Disposition.FATAL, "AccessDeniedException"),
        ({"error": "UserNotFoundException"}, Disposition.REFUSED, "UserNotFoundException"),
        ({"error": "ExpiredTokenException"}, Disposition.EXPIRED, "ExpiredTokenException"),
        ({"cut": "after"}, Disposition.AMBIGUOUS, "ConnectionClosedError"),
        ({"garbage": True}, Disposition.AMBIGUOUS, "UnreadableResponse"),
        ({"http": 503}, Disposition.AMBIGUOUS, "HTTP503"),
    ],
)
def test_sign_out_answers_have_the_same_meaning_as_password_answers(
    sim: Simulator, step: dict[str, Any], verdict: Disposition, code: str
) -> None:
    answer = sign_out(sim, step)
    assert (answer.disposition, answer.code) == (verdict, code)
    assert len(sim.calls()) == 1


def test_sign_out_renews_credentials_that_have_expired(sim: Simulator) -> None:
    sim.configure(faults={"scripts": {"AdminUserGlobalSignOut": {"ann": [{"error": "ExpiredTokenException"}]}}})
    sending = BotoTransport(session(sim).cognito, lambda: True)
    first, second = (sending.call("AdminUserGlobalSignOut", {"UserPoolId": POOL, "Username": "ann"}) for _ in range(2))
    assert (first.disposition, second.disposition) == (Disposition.NOT_SENT, Disposition.DONE)
