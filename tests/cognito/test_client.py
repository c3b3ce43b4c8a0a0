"""The boto3 transport against the simulator: one request for each attempt, and every answer read for what it is."""

import json
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from bulkreset.cognito.answer import Answer, Verdict
from bulkreset.cognito.client import BotoTransport
from bulkreset.cognito.session import open_session
from bulkreset.job import Target
from bulkreset.rows import Leaver, Outcome, Row, Secret, Status
from tests.cognito.conftest import POOL
from tests.cognito.endpoint import Said, answering, certify
from tests.record.journals import planned
from tests.sim.handle import Simulator

PASSWORD = 'Pässword "x"\\1-🚀'

pytestmark = pytest.mark.usefixtures("credentials")


def transport(url: str, **target: Any) -> BotoTransport:  # noqa: ANN401  (the keys of a target)
    """A transport to one endpoint."""
    keys: dict[str, Any] = {"user_pool_id": POOL, "region": "us-east-1", "endpoint_url": url} | target
    return BotoTransport(open_session(Target(**keys)).cognito())


def send(sim: Simulator, username: str = "ann", *, permanent: bool = True, **target: Any) -> Answer:  # noqa: ANN401
    """One attempt."""
    return transport(sim.url, **target).set_password(Row(1, username, Secret(PASSWORD), POOL, permanent))


def script(sim: Simulator, *steps: dict[str, Any]) -> None:
    """What ann's next calls meet."""
    sim.configure(faults={"users": {"ann": list(steps)}})


@pytest.mark.parametrize(("permanent", "status"), [(True, "CONFIRMED"), (False, "FORCE_CHANGE_PASSWORD")])
def test_password_is_set_as_written(sim: Simulator, status: str, *, permanent: bool) -> None:
    answer = send(sim, permanent=permanent)
    assert answer.verdict is Verdict.SET
    assert answer.request_id
    assert (answer.code, answer.message) == ("", "")
    assert sim.passwords(POOL) == {"ann": PASSWORD, "bob": None}
    assert sim.users(POOL)["ann"]["status"] == status


def test_request_is_what_the_service_expects_and_says_who_calls(sim: Simulator) -> None:
    send(sim)
    (call,) = sim.calls()
    assert (call.operation, call.username) == ("AdminSetUserPassword", "ann")
    assert sim.users(POOL)["ann"]["applied"] == 1


CODES = [
    ("TooManyRequestsException", Verdict.THROTTLED),
    ("InternalErrorException", Verdict.DOUBTFUL),
    ("UserNotFoundException", Verdict.REFUSED),
    ("InvalidPasswordException", Verdict.REFUSED),
    ("InvalidParameterException", Verdict.REFUSED),
    ("PasswordHistoryPolicyViolationException", Verdict.REFUSED),
    ("NotAuthorizedException", Verdict.REFUSED),
    ("SomethingNewException", Verdict.REFUSED),
    ("ResourceNotFoundException", Verdict.FATAL),
    ("AccessDeniedException", Verdict.FATAL),
    ("InvalidSignatureException", Verdict.FATAL),
    ("ExpiredTokenException", Verdict.EXPIRED),
]


@pytest.mark.parametrize(("code", "verdict"), CODES)
def test_error_is_classified_by_its_code_after_one_request(sim: Simulator, code: str, verdict: Verdict) -> None:
    script(sim, {"error": code, "message": "why it failed"})
    answer = send(sim)
    assert (answer.verdict, answer.code, answer.message) == (verdict, code, "why it failed")
    assert answer.request_id
    assert len(sim.calls()) == 1


def test_message_that_repeats_the_password_is_withheld(sim: Simulator) -> None:
    sim.configure(faults={"echo_password": True})
    for step in ({"throttle": 1}, {"error": "InvalidParameterException"}, {"error": "InternalErrorException"}):
        script(sim, step)
        answer = send(sim)
        assert answer.verdict is not Verdict.SET
        assert "Pässword" not in repr(answer)
        assert "withheld" in answer.message


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", [True, "binary", "array", "truncated"])
@pytest.mark.parametrize("applied", [True, False])
def test_answer_that_is_not_the_services_is_in_doubt(
    sim: Simulator, status: int, body: object, *, applied: bool
) -> None:
    script(sim, {"garbage": body, "status": status, "apply": applied})
    answer = send(sim)
    assert (answer.verdict, answer.code) == (Verdict.DOUBTFUL, "UnreadableAnswer")
    assert len(sim.calls()) == 1


def told(said: Said) -> Answer:
    """What one attempt makes of an answer."""
    with answering(said) as endpoint:
        return transport(endpoint.url).set_password(Row(1, "ann", Secret(PASSWORD), POOL, permanent=True))


NAMED = {"x-amzn-requestid": "r-1"}


@pytest.mark.parametrize(
    ("body", "headers", "verdict"),
    [
        (b"{}", {}, Verdict.SET),
        (b"{}", NAMED, Verdict.SET),
        (b"", NAMED, Verdict.SET),
        (b'{"Something":"new"}', NAMED, Verdict.SET),
        (b"", {}, Verdict.DOUBTFUL),
        (b'{"login":"please"}', {}, Verdict.DOUBTFUL),
        (b'{"__type":"UserNotFoundException","message":"no"}', {}, Verdict.DOUBTFUL),
        (b'{"__type":"UserNotFoundException","message":"no"}', NAMED, Verdict.DOUBTFUL),
        (b"[]", NAMED, Verdict.DOUBTFUL),
        (b"null", {}, Verdict.DOUBTFUL),
    ],
)
@pytest.mark.parametrize("status", [200, 202])
def test_success_is_an_empty_object_or_an_answer_with_the_services_mark(
    body: bytes, headers: dict[str, str], verdict: Verdict, status: int
) -> None:
    answer = told(Said(body, status, headers))
    assert answer.verdict is verdict
    assert answer.code == ("" if verdict is Verdict.SET else "UnreadableAnswer")


@pytest.mark.parametrize("status", [200, 400, 500])
def test_answer_that_is_nested_without_end_is_in_doubt(status: int) -> None:
    assert told(Said(b"[" * 200_000, status)).verdict is Verdict.DOUBTFUL


@pytest.mark.parametrize("body", [b'{"__type":5,"message":7}', b'{"__type":["x"],"message":["y"]}'])
def test_error_whose_code_is_no_text_is_in_doubt(body: bytes) -> None:
    assert told(Said(body, 400)).verdict is Verdict.DOUBTFUL


def test_error_that_says_nothing_has_no_words() -> None:
    answer = told(Said(b'{"__type":null,"message":null}', 400))
    assert (answer.verdict, answer.message) == (Verdict.DOUBTFUL, "")


def test_message_that_is_no_unicode_can_be_recorded(tmp_path: Path) -> None:
    answer = told(Said(b'{"__type":"UserNotFoundException","message":"half \\ud800"}', 400))
    assert (answer.verdict, answer.message) == (Verdict.REFUSED, "half \\ud800")
    journal = planned(tmp_path, "ann")
    journal.record([1], [Outcome(1, Status.FAILED, answer.code, answer.message)])
    assert journal.codes() == {"UserNotFoundException": 1}


def test_encryption_that_breaks_after_the_request_left_is_in_doubt(tmp_path: Path) -> None:
    certificate = certify(tmp_path)
    with answering(Said(raw=b"no TLS record, as a middle box sends it"), certificate=certificate) as endpoint:
        sending = transport(endpoint.url, ca_bundle=certificate)
        answer = sending.set_password(Row(1, "ann", Secret(PASSWORD), POOL, permanent=True))
    assert [asked["Password"] for asked in endpoint.asked()] == [PASSWORD]
    assert (answer.verdict, answer.code) == (Verdict.DOUBTFUL, "SSLError")


def test_certificate_that_nobody_vouches_for_is_sent_nothing(tmp_path: Path) -> None:
    with answering(Said(b"{}"), certificate=certify(tmp_path)) as endpoint:
        sending = transport(endpoint.url)
        answer = sending.set_password(Row(1, "ann", Secret(PASSWORD), POOL, permanent=True))
    assert endpoint.received == []
    assert (answer.verdict, answer.code) == (Verdict.FATAL, "SSLError")


@pytest.mark.parametrize("when", ["before", "after"])
def test_answer_that_is_lost_is_in_doubt(sim: Simulator, when: str) -> None:
    script(sim, {"cut": when})
    answer = send(sim)
    assert (answer.verdict, answer.code) == (Verdict.DOUBTFUL, "ConnectionClosedError")
    assert sim.users(POOL)["ann"]["applied"] == (1 if when == "after" else 0)
    assert len(sim.calls()) == 1


def test_answer_that_comes_too_late_is_in_doubt(sim: Simulator) -> None:
    script(sim, {"hang": 1.0, "apply": True})
    answer = send(sim, read_timeout=0.05)
    assert (answer.verdict, answer.code) == (Verdict.DOUBTFUL, "ReadTimeoutError")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_bare_server_error_is_in_doubt(sim: Simulator, status: int) -> None:
    script(sim, {"http": status})
    answer = send(sim)
    assert (answer.verdict, answer.code) == (Verdict.DOUBTFUL, f"HTTP{status}")
    assert len(sim.calls()) == 1


def test_connection_that_is_refused_was_not_sent() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        answer = transport(url).set_password(Row(1, "ann", Secret(PASSWORD), POOL, permanent=True))
    assert (answer.verdict, answer.code) == (Verdict.UNSENT, "EndpointConnectionError")


def test_host_that_is_unknown_was_not_sent() -> None:
    row = Row(1, "ann", Secret(PASSWORD), POOL, permanent=True)
    answer = transport("http://cognito.invalid").set_password(row)
    assert (answer.verdict, answer.code) == (Verdict.UNSENT, "EndpointConnectionError")


def test_expired_credentials_without_newer_ones_end_the_run(sim: Simulator) -> None:
    sim.configure(faults={"expire": {"AKIDSIMULATED": {"calls": 1}}})
    sending = transport(sim.url)
    row = Row(1, "ann", Secret(PASSWORD), POOL, permanent=True)
    assert [sending.set_password(row).verdict for _ in range(3)] == [Verdict.SET, Verdict.EXPIRED, Verdict.EXPIRED]


def test_expired_credentials_are_renewed_once_and_the_attempt_made_again(sim: Simulator) -> None:
    sim.configure(faults={"expire": {"AKIDSIMULATED": {"calls": 0}}})
    renewals = []

    def renew() -> Any:  # noqa: ANN401  (a boto3 client)
        renewals.append(1)
        sim.configure(faults={"expire": {"AKIDSIMULATED": None}})
        return open_session(target).cognito()

    target = Target(user_pool_id=POOL, region="us-east-1", endpoint_url=sim.url)
    sending = BotoTransport(open_session(target).cognito(), renew)
    row = Row(1, "ann", Secret(PASSWORD), POOL, permanent=True)
    first, second = sending.set_password(row), sending.set_password(row)
    assert (first.verdict, first.code) == (Verdict.UNSENT, "ExpiredTokenException")
    assert second.verdict is Verdict.SET
    script(sim, {"garbage": True})
    assert sending.set_password(row).verdict is Verdict.DOUBTFUL  # the new client reads as carefully
    assert len(renewals) == 1


def test_value_of_a_wrong_type_is_not_printed(sim: Simulator) -> None:
    row = Row(1, "ann", Secret(73501973), POOL, permanent=True)  # type: ignore[arg-type]
    try:
        text = repr(transport(sim.url).set_password(row))
    except Exception as error:  # noqa: BLE001  (whatever it is, it must not say the value)
        text = repr(error)
    assert "73501973" not in text


def test_nothing_is_logged_of_a_request_at_warning(sim: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        script(sim, {"error": "InvalidPasswordException"}, {"garbage": True}, {"cut": "after"}, {"ok": True})
        for _ in range(4):
            send(sim)
    assert caplog.text == ""
    assert json.dumps(PASSWORD)[1:-1] not in caplog.text


# ---- the other call


def sign_out(sim: Simulator, *steps: dict[str, Any], **target: Any) -> Answer:  # noqa: ANN401
    """One attempt for ann, which meets this."""
    sim.configure(faults={"scripts": {"AdminUserGlobalSignOut": {"ann": list(steps)}}})
    return transport(sim.url, **target).sign_out(Leaver(1, "ann", POOL))


def test_user_is_signed_out(sim: Simulator) -> None:
    answer = sign_out(sim)
    assert answer.verdict is Verdict.SET
    assert answer.request_id
    assert sim.users(POOL)["ann"]["sign_outs"] == 1
    assert sim.passwords(POOL) == {"ann": None, "bob": None}


@pytest.mark.parametrize(
    ("step", "verdict", "code"),
    [
        ({"throttle": 1}, Verdict.THROTTLED, "TooManyRequestsException"),
        ({"error": "AccessDeniedException"}, Verdict.FATAL, "AccessDeniedException"),
        ({"error": "UserNotFoundException"}, Verdict.REFUSED, "UserNotFoundException"),
        ({"error": "ExpiredTokenException"}, Verdict.EXPIRED, "ExpiredTokenException"),
        ({"cut": "after"}, Verdict.DOUBTFUL, "ConnectionClosedError"),
        ({"garbage": True}, Verdict.DOUBTFUL, "UnreadableAnswer"),
        ({"http": 503}, Verdict.DOUBTFUL, "HTTP503"),
    ],
)
def test_answers_to_a_sign_out_mean_what_they_mean_to_a_password(
    sim: Simulator, step: dict[str, Any], verdict: Verdict, code: str
) -> None:
    answer = sign_out(sim, step)
    assert (answer.verdict, answer.code) == (verdict, code)
    assert len(sim.calls()) == 1


def test_sign_out_renews_credentials_that_have_expired(sim: Simulator) -> None:
    target = Target(user_pool_id=POOL, region="us-east-1", endpoint_url=sim.url)
    sim.configure(faults={"scripts": {"AdminUserGlobalSignOut": {"ann": [{"error": "ExpiredTokenException"}]}}})
    sending = BotoTransport(open_session(target).cognito(), open_session(target).cognito)
    first, second = (sending.sign_out(Leaver(1, "ann", POOL)) for _ in range(2))
    assert (first.verdict, second.verdict) == (Verdict.UNSENT, Verdict.SET)
