"""The simulator answers like Cognito and STS, and its controls are correct."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.sim import Simulator
from tests.sim.clients import (
    GOOD,
    POOL,
    cognito,
    refusal,
    set_password,
    sts,
)
from tests.sim.handle import SimulatorError
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("Aa1-", "not long enough"),
        ("correct-horse-1", "uppercase"),
        ("CORRECT-HORSE-1", "lowercase"),
        ("Correct-Horse-", "numeric"),
        ("CorrectHorse1", "symbol"),
        ("ÉÉÉcorrect-1", "uppercase"),
    ],
)
def test_policy_refusal_names_the_missing_characters(sim: Simulator, password: str, reason: str) -> None:
    assert reason in refusal(cognito(sim.url), password=password)
    assert sim.calls()[0].answer == "InvalidPasswordException"


def test_policy_of_the_pool_is_the_one_that_counts(sim: Simulator) -> None:
    lax = {"MinimumLength": 6} | dict.fromkeys(
        ("RequireUppercase", "RequireLowercase", "RequireNumbers", "RequireSymbols"),
        False,
    )
    sim.add_pool(POOL, ["ann"], policy=lax)
    client, simple = cognito(sim.url), "a" * 6
    assert set_password(client, password=simple) == "ok"
    described = client.describe_user_pool(UserPoolId=POOL)["UserPool"]
    assert described["Policies"]["PasswordPolicy"]["MinimumLength"] == 6
    assert described["EstimatedNumberOfUsers"] == 1


@pytest.mark.parametrize("password", [" Correct-1", "Correct-1 ", "x", "Aa1-" + "x" * 253])
def test_password_that_no_pool_accepts(sim: Simulator, password: str) -> None:
    client = cognito(sim.url)
    assert set_password(client, password=password) == "InvalidParameterException 400"


def test_inner_space_counts_as_a_symbol(sim: Simulator) -> None:
    spaced = "Correct Horse 1"
    assert set_password(cognito(sim.url), password=spaced) == "ok"


@pytest.mark.parametrize("username", ["two words", "x" * 129, "tab\tbed"])
def test_username_that_no_user_can_have(sim: Simulator, username: str) -> None:
    client = cognito(sim.url)
    assert set_password(client, username) == "InvalidParameterException 400"


def test_history_refuses_the_current_and_earlier_passwords(sim: Simulator) -> None:
    sim.add_pool(POOL, ["ann"], history=2)
    client = cognito(sim.url)
    first, second, third = (f"{GOOD}{n}" for n in "abc")
    violation = "PasswordHistoryPolicyViolationException 400"
    assert set_password(client, password=first) == "ok"
    assert set_password(client, password=first) == violation
    assert set_password(client, password=second) == "ok"
    assert set_password(client, password=first) == violation
    assert set_password(client, password=third) == "ok"
    assert set_password(client, password=first) == "ok"


def test_pool_is_seen_only_in_its_region_and_account(sim: Simulator) -> None:
    sim.configure(accounts={"AKIDOTHER": "210987654321"})
    sim.add_pool(POOL, ["ann"], account="123456789012")
    missing = "ResourceNotFoundException 400"
    assert set_password(cognito(sim.url, region="eu-west-1")) == missing
    assert set_password(cognito(sim.url, "AKIDOTHER")) == missing
    assert set_password(cognito(sim.url)) == "ok"


def test_any_username_exists_with_auto_users(sim: Simulator) -> None:
    sim.add_pool(POOL, auto_users=True)
    assert set_password(cognito(sim.url), "never-created") == "ok"
    assert sim.passwords(POOL) == {"never-created": GOOD}


def test_reads_and_sign_outs_are_distinguished(sim: Simulator) -> None:
    client = cognito(sim.url)
    client.admin_user_global_sign_out(UserPoolId=POOL, Username="ann")
    client.admin_get_user(UserPoolId=POOL, Username="ann")
    assert sim.users(POOL)["ann"]["sign_outs"] == 1
    assert len(sim.calls("AdminGetUser")) == 1
    assert [call.applied for call in sim.calls()] == [True, False]


def test_sts_returns_the_account_of_the_access_key(sim: Simulator) -> None:
    sim.configure(accounts={"AKIDOTHER": "210987654321"})
    assert sts(sim.url).get_caller_identity()["Account"] == "123456789012"
    assert sts(sim.url, "AKIDOTHER").get_caller_identity()["Account"] == "210987654321"


def test_calls_are_recorded_as_they_arrived(sim: Simulator) -> None:
    before = time.monotonic()
    set_password(cognito(sim.url))
    set_password(cognito(sim.url), "nobody")
    first, second = sim.calls()
    assert before < first.time <= (first.done or 0) <= second.time < time.monotonic()
    assert (first.operation, first.pool) == ("AdminSetUserPassword", POOL)
    assert (first.username, first.password) == ("ann", GOOD)
    assert (first.permanent, first.access_key) == (True, "AKIDSIMULATED")
    assert (first.answer, first.applied) == ("ok", True)
    assert (second.answer, second.applied) == ("UserNotFoundException", False)
    assert sim.calls(since=1) == [second]


def test_stats_count_by_operation_and_answer(sim: Simulator) -> None:
    client = cognito(sim.url)
    for username in ("ann", "ann", "nobody"):
        set_password(client, username)
    stats = sim.stats()
    assert stats.operations == {"AdminSetUserPassword": {"ok": 2, "UserNotFoundException": 1}}
    assert (stats.total, stats.applied, stats.count(answer="ok")) == (3, 2, 2)
    assert stats.users_applied_more_than_once == 1
    assert 1 <= stats.max_per_second["AdminSetUserPassword"] <= 3
    assert list(stats.lanes) == ["123456789012/us-east-1"]
    assert (stats.max_in_flight, stats.overlapping_calls) == (1, 0)


def test_calls_for_one_user_at_once_are_noticed(sim: Simulator) -> None:
    sim.configure(faults={"every": {"hold": True, "waits": True}})
    client = cognito(sim.url)
    with ThreadPoolExecutor(3) as threads:
        answers = threads.map(lambda name: set_password(client, name), ("ann", "ann", "bob"))
        wait_until(lambda: len(sim.calls()) == 3)
        sim.configure(faults={"every": None})
        assert list(answers) == ["ok"] * 3
    stats = sim.stats()
    assert (stats.max_in_flight, stats.overlapping_calls) == (3, 1)


def test_reset_forgets_everything(sim: Simulator) -> None:
    set_password(cognito(sim.url))
    sim.reset()
    assert sim.calls() == []
    assert set_password(cognito(sim.url)) == "ResourceNotFoundException 400"


def test_unknown_setting_is_refused(sim: Simulator) -> None:
    with pytest.raises(SimulatorError, match="qouta"):
        sim.configure(qouta={"rate": 30})
    with pytest.raises(SimulatorError, match="exactly one of"):
        sim.configure(faults={"users": {"ann": [{"explode": True}]}})


def test_large_pool_is_there_for_the_next_call(sim: Simulator) -> None:
    sim.add_pool(POOL, [f"user{n}" for n in range(20_000)])
    assert set_password(cognito(sim.url), "user19999") == "ok"


def test_request_in_parts_is_joined(sim: Simulator) -> None:
    body = b'{"UserPoolId":"%s","Username":"ann","Password":"Correct-1"}'
    body %= POOL.encode()
    target = b"AWSCognitoIdentityProviderService.AdminSetUserPassword"
    head = b"POST / HTTP/1.1\r\nX-Amz-Target: %s\r\nContent-Length: %d\r\n\r\n"
    whole = head % (target, len(body)) + body
    parts = urlsplit(sim.url)
    with socket.create_connection((str(parts.hostname), parts.port or 0)) as raw:
        # Two requests over one connection, the second one sent before the first is answered.
        for piece in (whole[:30], whole[30:150], whole[150:] + whole):
            raw.sendall(piece)
        received = b""
        while received.count(b"{}") < 2:
            received += raw.recv(4096)
    assert received.count(b"HTTP/1.1 200 OK") == 2


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.terminate()


def _abandon(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.process
@pytest.mark.parametrize("end", [_kill, _abandon])
def test_process_ends_with_its_parent(
    end: Callable[[subprocess.Popen[bytes]], None],
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.sim"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"url": "http://127.0.0.1:')
        end(process)
        assert process.wait(timeout=90) == 0


def test_role_that_is_assumed_has_keys_of_its_account(sim: Simulator) -> None:
    role = "arn:aws:iam::444444444444:role/resetter"
    answer = sts(sim.url).assume_role(RoleArn=role, RoleSessionName="nightly", ExternalId="xx")
    keys = answer["Credentials"]
    assert sts(sim.url, keys["AccessKeyId"]).get_caller_identity()["Account"] == "444444444444"
    assert answer["AssumedRoleUser"]["Arn"] == "arn:aws:sts::444444444444:assumed-role/resetter/nightly"
    sim.configure(roles={role: "yy"})
    with pytest.raises(ClientError, match="AccessDenied"):
        sts(sim.url).assume_role(RoleArn=role, RoleSessionName="nightly", ExternalId="xx")
