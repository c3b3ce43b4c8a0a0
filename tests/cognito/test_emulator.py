"""The emulator's quota: accepted calls, refused calls, and calls that do not count."""

import io
import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from bulkreset.cognito.emulator import _COUNTED, _QuotaMiddleware
from tests.send.fakes import FakeClock


class Service:
    """The application behind the quota: counts the calls that come through."""

    def __init__(self, rate: float) -> None:
        self.clock = FakeClock()
        self.reached = 0
        self._quota = _QuotaMiddleware(self._answer, rate, self.clock.now)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        del environ
        self.reached += 1
        start_response("200 OK", [])
        return [b"{}"]

    def asked(self, target: str = _COUNTED, region: str = "us-east-1") -> tuple[str, bytes]:
        """Return status and body of one answer; every byte of the request must have been read."""
        said: list[str] = []
        body = io.BytesIO(b"request")
        scope = (
            f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261130/{region}/cognito-idp/aws4_request, SignedHeaders=host"
        )
        environ = {
            "HTTP_X_AMZ_TARGET": target,
            "HTTP_AUTHORIZATION": scope,
            "CONTENT_LENGTH": "7",
            "wsgi.input": body,
        }
        answer = b"".join(self._quota(environ, lambda status, _: said.append(status)))
        assert said[0] == "200 OK" or body.read() == b""
        return said[0], answer

    def let_through(self, calls: int) -> int:
        """Return how many of so many concurrent calls are accepted."""
        return [self.asked()[0] for _ in range(calls)].count("200 OK")


@pytest.mark.parametrize(("rate", "depth"), [(100, 10), (30, 3), (5, 1), (0.5, 1)])
def test_as_many_calls_at_once_as_a_tenth_of_a_second_has_are_let_through(rate: float, depth: int) -> None:
    service = Service(rate)
    assert service.let_through(30) == depth == service.reached


def test_refused_call_is_answered_as_cognito_does() -> None:
    service = Service(1)
    service.asked()
    status, body = service.asked()
    assert status == "400 Bad Request"
    assert json.loads(body)["__type"] == "TooManyRequestsException"
    assert service.reached == 1


def test_refused_calls_take_nothing_out_and_nothing_is_saved_up_beyond_the_depth() -> None:
    service = Service(100)
    assert service.let_through(50) == 10
    service.clock.wait(threading.Event(), 0.051)
    assert service.let_through(50) == 5
    service.clock.wait(threading.Event(), 60)
    assert service.let_through(50) == 10


def test_each_region_has_its_own_quota() -> None:
    service = Service(1)
    assert [service.asked(region=region)[0][:3] for region in ("us-east-1", "us-east-1", "eu-west-1", "eu-west-1")] == [
        "200",
        "400",
        "200",
        "400",
    ]


def test_other_calls_are_not_counted() -> None:
    service = Service(1)
    service.asked()
    for _ in range(5):
        assert service.asked("AWSCognitoIdentityProviderService.DescribeUserPool")[0] == "200 OK"
    assert service.asked()[0] == "400 Bad Request"
