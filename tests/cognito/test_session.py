"""A target's session: missing settings are named before sending; the emulator's connects to nothing else."""

import io
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import DeferredRefreshableCredentials

from bulkreset.cognito import role_credentials
from bulkreset.cognito.response import Disposition
from bulkreset.cognito.session import EMULATED_ACCOUNT, Caller, TargetSession, emulated_session, open_session
from bulkreset.cognito.transport import TransportKind, open_transport
from bulkreset.errors import Interrupted, TargetError
from bulkreset.job import Target
from bulkreset.models import Row, Secret
from bulkreset.send.pacer import Pacer
from tests.cognito.conftest import POOL
from tests.e2e.command import LAX
from tests.send.fakes import FakeClock
from tests.sim.handle import Simulator

NOWHERE = "local_Pool1"  # an id without a Region


def target(**keys: Any) -> Target:  # noqa: ANN401  (the keys of a target)
    """Return a target."""
    return Target(**({"user_pool_id": POOL} | keys))


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write the AWS configuration file."""

    def write(text: str) -> None:
        path = tmp_path / "config"
        path.write_text(text)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))

    return write


@pytest.mark.usefixtures("credentials")
def test_region_is_taken_from_the_pool_id() -> None:
    assert open_session(target()).region == "us-east-1"
    with pytest.raises(TargetError, match=r"No Region is known for the user pool local_Pool1.*--region"):
        open_session(target(user_pool_id=NOWHERE))
    with pytest.raises(TargetError, match="No Region is known"):
        open_session(target(replica=True))


def test_missing_credentials_are_named() -> None:
    with pytest.raises(TargetError, match=r"No AWS credentials were found.*--profile"):
        open_session(target(region="us-east-1"))


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("name", ["nightly", ""])
def test_missing_profile_is_named(name: str) -> None:
    with pytest.raises(TargetError, match=f"There is no AWS profile '{name}'"):
        open_session(target(region="us-east-1", profile=name))


@pytest.mark.usefixtures("credentials")
def test_missing_profile_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nightly")
    with pytest.raises(TargetError, match="There is no AWS profile 'nightly'"):
        open_session(target(region="us-east-1"))


def test_broken_configuration_is_a_target_error(configure: Callable[[str], None]) -> None:
    configure("this is no configuration\n")
    with pytest.raises(TargetError, match="configuration cannot be used"):
        open_session(target(region="us-east-1"))


def test_half_credentials_are_a_target_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDHALF")
    with pytest.raises(TargetError):
        open_session(target(region="us-east-1"))


SSO = """[profile nightly]
sso_session = main
sso_account_id = 111122223333
sso_role_name = operator
[sso-session main]
sso_region = eu-west-1
sso_start_url = https://sign-in.example/start
"""
ROLE = """[profile nightly]
role_arn = arn:aws:iam::111122223333:role/operator
source_profile = main
[profile main]
aws_access_key_id = A
aws_secret_access_key = B
"""
WEB_IDENTITY = """[profile nightly]
web_identity_token_file = /none/token
role_arn = arn:aws:iam::111122223333:role/operator
"""


@pytest.mark.parametrize("text", [SSO, ROLE, WEB_IDENTITY], ids=["sso", "role", "web identity"])
def test_provider_that_gives_no_credentials_is_a_target_error(
    text: str, configure: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # the place of a stored sign-in
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://sts.invalid")
    configure(text)
    with pytest.raises(TargetError, match="No AWS credentials could be obtained"):
        open_session(target(region="us-east-1", profile="nightly"))


def test_profile_brings_region_and_credentials(configure: Callable[[str], None]) -> None:
    configure("[profile nightly]\nregion = eu-north-1\naws_access_key_id = A\naws_secret_access_key = B\n")
    session = open_session(target(user_pool_id=NOWHERE, profile="nightly"))
    assert session.region == "eu-north-1"
    assert session.endpoint == "https://cognito-idp.eu-north-1.amazonaws.com"
    assert open_session(target(profile="nightly", region="us-east-1")).region == "us-east-1"


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_region_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "eu-north-1")
    assert open_session(target(user_pool_id=NOWHERE)).region == "eu-north-1"
    assert open_session(target(replica=True)).region == "eu-north-1"
    assert open_session(target()).region == "us-east-1"
    assert open_session(target(region="us-east-1")).region == "us-east-1"


@pytest.mark.usefixtures("credentials")
def test_endpoint_is_shown_from_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", "http://redirected.example:1")
    assert open_session(target(region="us-east-1")).endpoint == "http://redirected.example:1"
    named = target(region="us-east-1", endpoint_url="https://named.example")
    assert open_session(named).endpoint == "https://named.example"


@pytest.mark.usefixtures("credentials")
def test_endpoint_that_is_not_a_url_is_a_target_error() -> None:
    with pytest.raises(TargetError, match=f"No client can be made for {POOL}"):
        open_session(target(region="us-east-1", endpoint_url="https://[half")).cognito()


@pytest.mark.usefixtures("credentials")
def test_caller_comes_from_sts(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sim.url)
    caller = open_session(target(region="us-east-1")).caller()
    assert caller.account.isdigit()
    assert caller.account in caller.arn
    assert caller.problem == ""


@pytest.mark.usefixtures("credentials")
def test_sts_that_cannot_be_reached_is_a_problem_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://sts.invalid")
    caller = open_session(target(region="us-east-1")).caller()
    assert caller == Caller(problem="STS could not be reached (EndpointConnectionError)")


@pytest.mark.usefixtures("credentials")
def test_sts_that_refuses_is_a_problem_and_no_error(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sim.url)
    sim.configure(faults={"expire": {"AKIDSIMULATED": {"calls": 0}}})
    caller = open_session(target(region="us-east-1")).caller()
    assert (caller.account, caller.arn) == ("", "")
    assert "Expired" in caller.problem


def test_emulated_session_reaches_only_the_emulator(
    monkeypatch: pytest.MonkeyPatch, configure: Callable[[str], None]
) -> None:
    configure("[profile nightly]\nendpoint_url = https://real.example\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://real.example")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    real = target(region="us-east-1", profile="nightly", endpoint_url="https://real.example", ca_bundle="/none.pem")
    session = emulated_session(real, "eu-west-1", "http://127.0.0.1:9")
    assert (session.endpoint, session.region, session.emulated) == ("http://127.0.0.1:9", "eu-west-1", True)
    assert session.caller() == Caller(EMULATED_ACCOUNT, f"arn:aws:iam::{EMULATED_ACCOUNT}:user/emulated")
    assert session.target.profile is None
    config: Any = session.cognito().meta.config
    assert config.proxies == {}


@pytest.mark.usefixtures("credentials")
def test_client_has_one_attempt_and_room_for_every_thread() -> None:
    keys = target(region="us-east-1", connect_timeout=1.5, read_timeout=2.5)
    config: Any = open_session(keys).cognito().meta.config
    assert config.retries["total_max_attempts"] == 1
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (1.5, 2.5, 256)
    assert config.user_agent.startswith("bulkreset/")


def test_newer_credentials_are_found_and_the_same_ones_are_not(configure: Callable[[str], None]) -> None:
    keys = "[profile nightly]\nregion = eu-west-1\naws_access_key_id = {}\naws_secret_access_key = B\n"
    configure(keys.format("FIRST"))
    session = open_session(target(profile="nightly"))
    one, other = session.credential_refresher(), session.credential_refresher()
    assert not one()
    configure(keys.format("SECOND"))
    assert one()
    assert not one()
    assert other()  # another user of the session still sends with the older ones
    assert not other()
    assert not session.credential_refresher()()
    configure("[profile other]\n")
    assert not one()


# ---- roles

ROLE = "arn:aws:iam::444444444444:role/path/resetter"


def in_role(sim: Simulator, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> TargetSession:  # noqa: ANN401
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sim.url)
    return open_session(target(region="us-east-1", endpoint_url=sim.url, role_arn=ROLE, **keys))


@pytest.mark.usefixtures("credentials")
def test_calls_are_made_in_the_role(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    sim.configure(roles={ROLE: None})
    session = in_role(sim, monkeypatch)
    assert session.caller().account == "444444444444"
    assumed, asked = sim.calls()
    assert (assumed.operation, assumed.pool, assumed.region) == ("AssumeRole", ROLE, "us-east-1")
    assert asked.access_key.startswith("ASIA")
    assert session.credential_refresher()()  # other keys than before: the role is assumed again


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("kind", ["boto3", "crt"])
def test_role_is_assumed_anew_before_the_first_call_after_a_long_pause(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, kind: TransportKind
) -> None:
    clock, stop = FakeClock(time.time()), threading.Event()

    def shown() -> datetime:
        return datetime.fromtimestamp(clock.now(), UTC)

    by_clock = partial(DeferredRefreshableCredentials, time_fetcher=shown)
    monkeypatch.setattr(role_credentials, "DeferredRefreshableCredentials", by_clock)
    monkeypatch.setattr("botocore.credentials._local_now", shown)
    sim.configure(roles={ROLE: None})
    sim.add_pool(POOL, ["ann"], LAX, account="444444444444")
    session = in_role(sim, monkeypatch)
    sending, pacer = open_transport(kind, session), Pacer(20, clock)
    row = Row(1, "ann", Secret("New-Word.1"), POOL, permanent=True)
    keys = session.credentials()
    assert keys
    first = keys.access_key
    for _ in range(2):
        assert pacer.wait(stop)
        assert sending.set_password(row).disposition is Disposition.DONE
    pacer.set_ceiling(0)
    sim.configure(role_seconds=24 * 3600, faults={"expire": {first: {"calls": 2}}})
    clock.advance(8 * 3600)
    pacer.set_ceiling(20)
    assert pacer.wait(stop)
    assert sending.set_password(row).disposition is Disposition.DONE
    *before, after = sim.calls("AdminSetUserPassword")
    assert {call.access_key for call in before} == {first}
    assert after.access_key != first
    assert len(sim.calls("AssumeRole")) == 2


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(("external_id", "wanted"), [(None, "secret-1"), ("secret-2", "secret-1"), ("secret-1", None)])
def test_role_that_cannot_be_assumed_is_named_with_the_code(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, external_id: str | None, wanted: str | None
) -> None:
    sim.configure(roles={ROLE: wanted})
    with pytest.raises(TargetError, match="AccessDenied") as caught:
        in_role(sim, monkeypatch, external_id=external_id)
    assert ROLE in caught.value.message
    assert "sts:AssumeRole" in caught.value.advice


@pytest.mark.usefixtures("credentials")
def test_role_needs_an_sts_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    with pytest.raises(TargetError, match=f"{ROLE} could not be assumed: STS could not be reached"):
        open_session(target(region="us-east-1", role_arn=ROLE))


def test_role_needs_credentials_to_assume_it_with(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetError, match="No AWS credentials were found"):
        in_role(sim, monkeypatch)
    assert sim.calls() == []


def test_sessions_share_the_models(configure: Callable[[str], None]) -> None:
    configure("[profile nightly]\nregion = eu-west-1\naws_access_key_id = A\naws_secret_access_key = B\n")
    one, other = (open_session(target(profile="nightly"))._session.inner for _ in range(2))
    assert one.get_component("data_loader") is other.get_component("data_loader")


WITH_CODE = """
[profile keys]
aws_access_key_id = AKID
aws_secret_access_key = secret
[profile nightly]
region = eu-west-1
role_arn = arn:aws:iam::123456789012:role/reset
source_profile = keys
mfa_serial = arn:aws:iam::123456789012:mfa/me
"""


def test_mfa_profile_is_refused_without_a_terminal(
    configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(WITH_CODE)
    monkeypatch.setattr("sys.stdin", io.StringIO("123456\n"))  # an input of rows, not a code
    with pytest.raises(TargetError, match="asks for an MFA code, and there is no terminal"):
        open_session(target(profile="nightly"))
    assert sys.stdin.read() == "123456\n"


def test_code_of_an_mfa_profile_is_requested_and_can_be_interrupted(
    configure: Callable[[str], None], sim: Simulator
) -> None:
    configure(WITH_CODE.replace("[profile nightly]", f"[profile nightly]\nendpoint_url = {sim.url}"))
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        raise Interrupted("Stopped by SIGINT.")

    with pytest.raises(Interrupted):
        open_session(target(profile="nightly"), ask)
    (prompt,) = asked
    assert "arn:aws:iam::123456789012:mfa/me" in prompt
