"""Both transports against the simulator: one request for each attempt, and the correct meaning of every answer."""

import json
import logging
from collections.abc import Callable, Iterator
from itertools import product, repeat
from pathlib import Path
from typing import Any

import pytest

from bulkreset.cognito.response import Disposition, Response
from bulkreset.models import Outcome, Row, Secret, Status
from tests.cognito.conftest import POOL, Opened
from tests.cognito.endpoint import Endpoint, Said, answering
from tests.e2e.command import LAX
from tests.journal.journals import commit, planned
from tests.sim.handle import Simulator

OutcomeOf = Callable[[Said], Response]

PASSWORD = 'Pässword "x"\\1-🚀'

pytestmark = pytest.mark.usefixtures("credentials")


ROW = Row(1, "ann", Secret(PASSWORD), POOL, permanent=True)


def send(sim: Simulator, opened: Opened, row: Row = ROW, **target: Any) -> Response:  # noqa: ANN401  (the keys of a target)
    """Send one attempt."""
    sending = opened(sim.url, **target) if target else opened.shared(sim.url)
    return sending.set_password(row)


def script(sim: Simulator, *steps: dict[str, Any]) -> None:
    """Script the result of ann's next calls."""
    sim.configure(faults={"users": {"ann": list(steps)}})


@pytest.mark.parametrize(("permanent", "status"), [(True, "CONFIRMED"), (False, "FORCE_CHANGE_PASSWORD")])
def test_password_is_set_as_written(sim: Simulator, opened: Opened, status: str, *, permanent: bool) -> None:
    answer = send(sim, opened, Row(1, "ann", Secret(PASSWORD), POOL, permanent))
    assert answer.disposition is Disposition.DONE
    assert answer.request_id
    assert (answer.code, answer.message) == ("", "")
    assert sim.passwords(POOL) == {"ann": PASSWORD, "bob": None}
    assert sim.users(POOL)["ann"]["status"] == status


def test_request_has_the_expected_form_and_user_agent(sim: Simulator, opened: Opened) -> None:
    send(sim, opened)
    (call,) = sim.calls()
    assert (call.operation, call.username) == ("AdminSetUserPassword", "ann")
    assert sim.users(POOL)["ann"]["applied"] == 1


CODES = [
    ("TooManyRequestsException", Disposition.THROTTLED),
    ("InternalErrorException", Disposition.AMBIGUOUS),
    ("UserNotFoundException", Disposition.REFUSED),
    ("InvalidPasswordException", Disposition.REFUSED),
    ("InvalidParameterException", Disposition.REFUSED),
    ("PasswordHistoryPolicyViolationException", Disposition.REFUSED),
    ("NotAuthorizedException", Disposition.REFUSED),
    ("SomethingNewException", Disposition.REFUSED),
    ("ResourceNotFoundException", Disposition.FATAL),
    ("AccessDeniedException", Disposition.FATAL),
    ("InvalidSignatureException", Disposition.FATAL),
    ("ExpiredTokenException", Disposition.EXPIRED),
]


@pytest.mark.parametrize(("code", "verdict"), CODES)
def test_error_is_classified_by_its_code_after_one_request(
    sim: Simulator, opened: Opened, code: str, verdict: Disposition
) -> None:
    script(sim, {"error": code, "message": "why it failed"})
    answer = send(sim, opened)
    assert (answer.disposition, answer.code, answer.message) == (verdict, code, "why it failed")
    assert answer.request_id
    assert len(sim.calls()) == 1


def test_message_that_repeats_the_password_is_withheld(sim: Simulator, opened: Opened) -> None:
    sim.configure(faults={"echo_password": True})
    for step in ({"throttle": 1}, {"error": "InvalidParameterException"}, {"error": "InternalErrorException"}):
        script(sim, step)
        answer = send(sim, opened)
        assert answer.disposition is not Disposition.DONE
        assert "Pässword" not in repr(answer)
        assert "withheld" in answer.message


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", [True, "binary", "array", "truncated"])
@pytest.mark.parametrize("applied", [True, False])
def test_answer_that_is_not_the_services_is_in_doubt(
    sim: Simulator, opened: Opened, status: int, body: object, *, applied: bool
) -> None:
    script(sim, {"garbage": body, "status": status, "apply": applied})
    answer = send(sim, opened)
    assert (answer.disposition, answer.code) == (Disposition.AMBIGUOUS, "UnreadableResponse")
    assert len(sim.calls()) == 1


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with answering(Said()) as running:
        yield running


@pytest.fixture
def outcome_of(opened: Opened, endpoint: Endpoint) -> OutcomeOf:
    """Return the result of one attempt with this answer."""

    def attempt(said: Said) -> Response:
        endpoint.answers = repeat(said)
        # The endpoint hangs up after each answer: awscrt may notice that only after it has begun the next call.
        sending = opened(endpoint.url) if opened.kind == "crt" else opened.shared(endpoint.url)
        return sending.set_password(ROW)

    return attempt


NAMED = {"x-amzn-requestid": "r-1"}


@pytest.mark.parametrize(
    ("body", "headers", "verdict"),
    [
        (b"{}", {}, Disposition.DONE),
        (b"{}", NAMED, Disposition.DONE),
        (b"", NAMED, Disposition.DONE),
        (b'{"Something":"new"}', NAMED, Disposition.DONE),
        (b"", {}, Disposition.AMBIGUOUS),
        (b'{"login":"please"}', {}, Disposition.AMBIGUOUS),
        (b'{"__type":"UserNotFoundException","message":"no"}', {}, Disposition.AMBIGUOUS),
        (b'{"__type":"UserNotFoundException","message":"no"}', NAMED, Disposition.AMBIGUOUS),
        (b"[]", NAMED, Disposition.AMBIGUOUS),
        (b"null", {}, Disposition.AMBIGUOUS),
        (b"null", NAMED, Disposition.AMBIGUOUS),
    ],
)
@pytest.mark.parametrize("status", [200, 202])
def test_success_is_an_empty_object_or_an_answer_with_the_services_mark(
    outcome_of: OutcomeOf, body: bytes, headers: dict[str, str], verdict: Disposition, status: int
) -> None:
    answer = outcome_of(Said(body, status, headers))
    assert answer.disposition is verdict
    assert answer.code == ("" if verdict is Disposition.DONE else "UnreadableResponse")


@pytest.mark.parametrize("status", [200, 400, 500])
def test_answer_that_is_nested_without_end_is_in_doubt(outcome_of: OutcomeOf, status: int) -> None:
    assert outcome_of(Said(b"[" * 200_000, status)).disposition is Disposition.AMBIGUOUS


@pytest.mark.parametrize("body", [b'{"__type":5,"message":7}', b'{"__type":["x"],"message":["y"]}'])
def test_error_whose_code_is_not_text_is_in_doubt(outcome_of: OutcomeOf, body: bytes) -> None:
    assert outcome_of(Said(body, 400)).disposition is Disposition.AMBIGUOUS


def test_error_that_says_nothing_has_no_words(outcome_of: OutcomeOf) -> None:
    answer = outcome_of(Said(b'{"__type":null,"message":null}', 400))
    assert (answer.disposition, answer.message) == (Disposition.AMBIGUOUS, "")


def test_message_that_is_not_unicode_can_be_recorded(outcome_of: OutcomeOf, tmp_path: Path) -> None:
    answer = outcome_of(Said(b'{"__type":"UserNotFoundException","message":"half \\ud800"}', 400))
    assert (answer.disposition, answer.message) == (Disposition.REFUSED, "half \\ud800")
    journal = planned(tmp_path, "ann")
    commit(journal, [1], [Outcome(1, Status.FAILED, answer.code, answer.message)])
    assert journal.read.codes() == {"UserNotFoundException": 1}


@pytest.mark.parametrize("when", ["before", "after"])
def test_answer_that_is_lost_is_in_doubt(sim: Simulator, opened: Opened, when: str) -> None:
    script(sim, {"cut": when})
    answer = send(sim, opened)
    assert (answer.disposition, answer.code) == (Disposition.AMBIGUOUS, "ConnectionClosedError")
    assert sim.users(POOL)["ann"]["applied"] == (1 if when == "after" else 0)
    assert len(sim.calls()) == 1


def test_answer_that_comes_too_late_is_in_doubt(sim: Simulator, opened: Opened) -> None:
    script(sim, {"hang": 3600, "apply": True})
    answer = send(sim, opened, read_timeout=0.05)
    assert (answer.disposition, answer.code) == (Disposition.AMBIGUOUS, "ReadTimeoutError")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_bare_server_error_is_in_doubt(sim: Simulator, opened: Opened, status: int) -> None:
    script(sim, {"http": status})
    answer = send(sim, opened)
    assert (answer.disposition, answer.code) == (Disposition.AMBIGUOUS, f"HTTP{status}")
    assert len(sim.calls()) == 1


def test_expired_credentials_without_newer_ones_end_the_run(sim: Simulator, opened: Opened) -> None:
    sim.configure(faults={"expire": {"AKIDSIMULATED": {"calls": 1}}})
    sending = opened(sim.url)
    assert [sending.set_password(ROW).disposition for _ in range(3)] == [
        Disposition.DONE,
        Disposition.EXPIRED,
        Disposition.EXPIRED,
    ]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """A credentials file instead of the environment, and a function that writes it."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    def write(access: str, secret: str, token: str = "") -> None:
        lines = ["[default]", f"aws_access_key_id = {access}", f"aws_secret_access_key = {secret}"]
        lines += [f"aws_session_token = {token}"] if token else []
        (tmp_path / "credentials").write_text("\n".join(lines), encoding="utf-8")

    return write


def test_expired_credentials_are_renewed_once_and_the_attempt_repeated(
    sim: Simulator, opened: Opened, keys: Callable[..., None]
) -> None:
    sim.configure(secret_keys={"FIRST": "one", "SECOND": "two"}, faults={"expire": {"FIRST": {"calls": 1}}})
    keys("FIRST", "one", "token-1")
    sending = opened(sim.url)
    assert sending.set_password(ROW).disposition is Disposition.DONE
    keys("SECOND", "two", "token-2")
    first, second = sending.set_password(ROW), sending.set_password(ROW)
    assert (first.disposition, first.code) == (Disposition.NOT_SENT, "ExpiredTokenException")
    assert second.disposition is Disposition.DONE
    script(sim, {"garbage": True})
    assert sending.set_password(ROW).disposition is Disposition.AMBIGUOUS  # the new transport reads as strictly
    assert [call.access_key for call in sim.calls()] == ["FIRST", "FIRST", "SECOND", "SECOND"]


def test_signature_verifies_and_that_of_a_wrong_secret_does_not(
    sim: Simulator, opened: Opened, keys: Callable[..., None]
) -> None:
    sim.configure(secret_keys={"GOOD": "right"})
    for path in ("", "/", "/some/where", "/a%20b/"):
        keys("GOOD", "right", "a-session-token")
        assert opened(sim.url + path).set_password(ROW).disposition is Disposition.DONE, path
        keys("GOOD", "wrong")
        answer = opened(sim.url + path).set_password(ROW)
        assert (answer.disposition, answer.code) == (Disposition.FATAL, "InvalidSignatureException")
    keys("UNKNOWN", "right")
    answer = opened(sim.url).set_password(ROW)
    assert (answer.disposition, answer.code) == (Disposition.FATAL, "UnrecognizedClientException")


NAMES = ["josé", "山田", "a+b@example.com", 'quo"te', "emoji-🚀", "back\\slash"]
PASSWORDS = ["Quiet-1", "Pässwörd-1", "密码-Aa1", '"\\/\b-Aa1', "🚀-Aa1", "é" * 256]


def test_text_arrives_as_written(sim: Simulator, opened: Opened) -> None:
    sim.add_pool(POOL, NAMES, LAX)
    sending = opened.shared(sim.url)
    for name, password in product(NAMES, PASSWORDS):
        row = Row(1, name, Secret(password), POOL, permanent=True)
        assert sending.set_password(row).disposition is Disposition.DONE
        assert sim.passwords(POOL)[name] == password


def test_value_of_a_wrong_type_is_not_printed(sim: Simulator, opened: Opened) -> None:
    row = Row(1, "ann", Secret(73501973), POOL, permanent=True)  # type: ignore[arg-type]
    try:
        text = repr(send(sim, opened, row))
    except Exception as error:  # noqa: BLE001  (any exception, but without the value)
        text = repr(error)
    assert "73501973" not in text


def test_requests_are_not_logged_at_warning(sim: Simulator, opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        script(sim, {"error": "InvalidPasswordException"}, {"garbage": True}, {"cut": "after"}, {"ok": True})
        for _ in range(4):
            send(sim, opened)
    assert caplog.text == ""
    assert json.dumps(PASSWORD)[1:-1] not in caplog.text
