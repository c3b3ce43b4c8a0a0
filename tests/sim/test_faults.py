"""Every fault happens as configured, to the intended call."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from tests.sim import Simulator
from tests.sim.clients import GOOD, POOL, cognito, refusal, set_password, sts
from tests.waiting import wait_until

THROTTLED = "TooManyRequestsException 400"

CODES = {
    "AccessDenied": 400,
    "AccessDeniedException": 400,
    "ExpiredToken": 400,
    "ExpiredTokenException": 400,
    "InternalErrorException": 500,
    "InvalidClientTokenId": 400,
    "InvalidParameterException": 400,
    "InvalidPasswordException": 400,
    "InvalidSignatureException": 400,
    "LimitExceededException": 400,
    "NotAuthorizedException": 400,
    "OperationNotEnabledException": 400,
    "OptInRequired": 400,
    "PasswordHistoryPolicyViolationException": 400,
    "RequestExpired": 400,
    "RequestLimitExceeded": 400,
    "ResourceNotFoundException": 400,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 400,
    "SubscriptionRequired": 400,
    "Throttling": 400,
    "ThrottlingException": 400,
    "TooManyRequestsException": 400,
    "UnrecognizedClientException": 400,
    "UserNotFoundException": 400,
}


def script(sim: Simulator, *steps: dict[str, Any]) -> None:
    """Script what happens to ann's next calls."""
    sim.configure(faults={"users": {"ann": list(steps)}})


def test_every_code_has_its_status_and_headers(sim: Simulator) -> None:
    script(sim, *({"error": code} for code in CODES))
    client = cognito(sim.url)
    for code, status in CODES.items():
        with pytest.raises(ClientError) as caught:
            client.admin_set_user_password(UserPoolId=POOL, Username="ann", Password=GOOD)
        response = caught.value.response
        assert response["Error"]["Code"] == code
        meta = response["ResponseMetadata"]
        assert meta["HTTPStatusCode"] == status
        assert meta["RequestId"] == sim.calls()[-1].request_id
        assert meta["HTTPHeaders"]["x-amzn-errortype"] == code
    assert sim.stats().applied == 0


def test_script_is_consumed_step_by_step_by_its_user_only(sim: Simulator) -> None:
    denied = {"error": "AccessDeniedException", "status": 403, "message": "no"}
    script(sim, {"throttle": 2}, denied, {"ok": True}, {"error": "X", "apply": True})
    client = cognito(sim.url)
    assert set_password(client, "bob") == "ok"
    wanted = [THROTTLED, THROTTLED, "AccessDeniedException 403", "ok", "X 400", "ok"]
    assert [set_password(client) for _ in wanted] == wanted
    assert sim.users(POOL)["ann"]["applied"] == 3


def test_script_of_another_operation_and_of_any_user(sim: Simulator) -> None:
    scripts = {"ListUsers": {"*": [{"throttle": 1}]}}
    sim.configure(faults={"scripts": scripts, "users": {"*": [{"throttle": 1}]}})
    client = cognito(sim.url)
    with pytest.raises(ClientError, match="TooManyRequests"):
        client.list_users(UserPoolId=POOL)
    assert client.list_users(UserPoolId=POOL)["Users"]
    assert [set_password(client, user) for user in ("ann", "bob")] == [THROTTLED, "ok"]


@pytest.mark.parametrize(("when", "applied"), [("before", False), ("after", True)])
def test_cut_closes_the_connection(sim: Simulator, when: str, *, applied: bool) -> None:
    script(sim, {"cut": when})
    with pytest.raises(ConnectionClosedError):
        set_password(cognito(sim.url))
    (call,) = sim.calls()
    assert (call.answer, call.applied) == ("cut", applied)
    assert sim.passwords(POOL)["ann"] == (GOOD if applied else None)


@pytest.mark.parametrize("applied", [False, True])
def test_hang_outlasts_the_client(sim: Simulator, *, applied: bool) -> None:
    script(sim, {"hang": 3600, "apply": applied})
    with pytest.raises(ReadTimeoutError):
        set_password(cognito(sim.url, read_timeout=0.2))
    # the simulator has noticed that the client is gone
    wait_until(lambda: [call.done for call in sim.calls()] not in ([], [None]))
    (call,) = sim.calls()
    assert (call.answer, call.applied) == ("hang", applied)
    assert set_password(cognito(sim.url)) == "ok"
    assert sim.stats().overlapping_calls == 0


def test_hang_ends_without_an_answer(sim: Simulator) -> None:
    script(sim, {"hang": 0.1})
    with pytest.raises(ConnectionClosedError):
        set_password(cognito(sim.url))


def test_slow_answers_in_the_end(sim: Simulator) -> None:
    script(sim, {"slow": 0.1})
    assert set_password(cognito(sim.url)) == "ok"
    (call,) = sim.calls()
    assert (call.done or 0) - call.time >= 0.1


def test_delayed_answer_is_sent_when_the_rule_is_removed(sim: Simulator) -> None:
    sim.configure(faults={"every": {"from_call": 2, "hold": True}})
    client = cognito(sim.url)
    assert set_password(client) == "ok"
    with ThreadPoolExecutor() as executor:
        held = executor.submit(set_password, client)
        wait_until(lambda: len(sim.calls()) == 2)
        with pytest.raises(TimeoutError):
            held.result(0.1)
        call = sim.calls()[1]
        assert (call.applied, call.done) == (True, None)
        sim.configure(faults={"every": None})
        assert held.result(90) == "ok"


@pytest.mark.parametrize("status", [200, 500])
def test_garbage_is_not_json_and_has_no_request_id(sim: Simulator, status: int) -> None:
    script(sim, {"garbage": True, "status": status, "apply": True})
    client = cognito(sim.url)
    try:
        answer: Any = client.admin_set_user_password(UserPoolId=POOL, Username="ann", Password=GOOD)
    except ClientError as error:
        answer = error.response
    # botocore treats a page of HTML with status 200 as a success: only the missing request id shows the error.
    meta = answer["ResponseMetadata"]
    assert meta["HTTPStatusCode"] == status
    assert "x-amzn-requestid" not in meta["HTTPHeaders"]
    assert sim.calls()[0].applied


@pytest.mark.parametrize("body", ["binary", "array", "truncated"])
def test_garbage_of_other_kinds(sim: Simulator, body: str) -> None:
    script(sim, {"garbage": body, "status": 500})
    # Not all of these are botocore's own errors: a caller must expect any exception.
    with pytest.raises((AttributeError, ClientError, UnicodeDecodeError)):
        cognito(sim.url).admin_set_user_password(UserPoolId=POOL, Username="ann", Password=GOOD)
    assert not sim.calls()[0].applied


def test_bare_http_status(sim: Simulator) -> None:
    script(sim, {"http": 502}, {"http": 503, "apply": True})
    client = cognito(sim.url)
    assert [set_password(client) for _ in range(2)] == ["502 502", "503 503"]
    assert [call.answer for call in sim.calls()] == ["http 502", "http 503"]


def test_chances_repeat_with_their_seed(sim: Simulator) -> None:
    rules = [{"p": 0.4, "step": {"throttle": 1}}]
    client = cognito(sim.url)
    seen = []
    for _ in range(2):
        sim.configure(faults={"random": {"seed": 7, "rules": rules}})
        seen.append([set_password(client) for _ in range(30)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {"ok", THROTTLED}


@pytest.mark.parametrize(
    "code",
    ["AccessDeniedException", "ResourceNotFoundException", "InvalidSignatureException"],
)
def test_rule_for_every_call_from_the_nth_on(sim: Simulator, code: str) -> None:
    sim.configure(faults={"every": {"error": code, "from_call": 3}})
    client = cognito(sim.url)
    answers = [set_password(client) for _ in range(4)]
    assert answers == ["ok", "ok", f"{code} 400", f"{code} 400"]
    assert sts(sim.url).get_caller_identity()["Account"]
    sim.configure(faults={"every": None})
    assert set_password(client) == "ok"


def test_rule_for_one_pool_and_for_a_while(sim: Simulator) -> None:
    other = "us-east-1_Other"
    sim.add_pool(other, ["ann"])
    rule = {"error": "AccessDeniedException", "pool": other, "until_call": 1}
    sim.configure(faults={"every": [rule]})
    client = cognito(sim.url)
    denied = "AccessDeniedException 400"
    wanted = [(POOL, "ok"), (other, denied), (other, "ok")]
    assert [(pool, set_password(client, pool=pool)) for pool, _ in wanted] == wanted


def test_credentials_expire_after_calls(sim: Simulator) -> None:
    sim.configure(faults={"expire": {"AKIDOLD": {"calls": 2}}})
    old, new = cognito(sim.url, "AKIDOLD"), cognito(sim.url, "AKIDNEW")
    wanted = ["ok", "ok", "ExpiredTokenException 400", "ExpiredTokenException 400"]
    assert [set_password(old) for _ in wanted] == wanted
    assert set_password(new) == "ok"
    with pytest.raises(ClientError, match="ExpiredToken"):
        sts(sim.url, "AKIDOLD").get_caller_identity()
    sim.configure(faults={"expire": {"AKIDOLD": None}})
    assert set_password(old) == "ok"


def test_credentials_expire_after_seconds(sim: Simulator) -> None:
    sim.configure(faults={"expire": {"AKIDOLD": {"seconds": 0}}})
    assert set_password(cognito(sim.url, "AKIDOLD")) == "ExpiredTokenException 400"


def test_signature_is_verified_when_secrets_are_known(sim: Simulator) -> None:
    sim.configure(secret_keys={"AKIDA": "right"})
    assert set_password(cognito(sim.url, "AKIDA", "right")) == "ok"
    wrong = cognito(sim.url, "AKIDA", "wrong")
    assert set_password(wrong) == "InvalidSignatureException 400"
    stranger = cognito(sim.url, "AKIDB", "right")
    assert set_password(stranger) == "UnrecognizedClientException 400"


def test_password_is_echoed_only_when_asked(sim: Simulator) -> None:
    client = cognito(sim.url)
    weak = "weak-pässword"
    assert weak not in refusal(client, password=weak)
    sim.configure(faults={"echo_password": True})
    assert weak in refusal(client, password=weak)
    script(sim, {"throttle": 1})
    assert GOOD in refusal(client)


def test_latency_delays_every_answer(sim: Simulator) -> None:
    sim.configure(latency=0.05, jitter=0.2)
    set_password(cognito(sim.url))
    (call,) = sim.calls()
    assert (call.done or 0) - call.time >= 0.04
