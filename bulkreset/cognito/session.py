"""One target's way to AWS: its credentials, Region and endpoint, its clients, and who is calling."""

import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, PartialCredentialsError, ProfileNotFound

from bulkreset import __version__
from bulkreset.errors import TargetError
from bulkreset.job import Target

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_sts import STSClient

SIDE_SERVICE_SECONDS = 2.0  # how long a service that the run can do without is waited for
CONNECTIONS = 256
EMULATED_ACCOUNT = "123456789012"

# One retry layer: ours, where every attempt pays its slot. botocore's parameter check is off because its error prints
# the value it refuses, and a value here may be a password; the screen has checked the types.
_CONFIG: Mapping[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 1},
    "parameter_validation": False,
    # Given whole: what botocore builds of its parts, for every call anew, is a tenth of the call's cost.
    "user_agent": f"bulkreset/{__version__} boto3/{boto3.__version__}",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as STS says; "" where STS could not be reached, and `problem` says why."""

    account: str = ""
    arn: str = ""
    problem: str = ""


class TargetSession:
    """A boto3 session for one target."""

    def __init__(self, target: Target, session: boto3.Session, *, emulated: bool = False) -> None:
        self.target = target
        self._session = session
        self.emulated = emulated
        self._used = _keys(session)

    @property
    def region(self) -> str:
        """The Region the calls go to."""
        return self._session.region_name or ""

    @property
    def endpoint(self) -> str:
        """The URL that the calls go to, wherever it was configured."""
        return self.cognito().meta.endpoint_url

    def cognito(self) -> "CognitoIdentityProviderClient":
        """A new client for the target's endpoint. Creating it is not thread-safe; using it is."""
        target = self.target
        verify: bool | str | None = False if not target.verify_ssl else None
        if target.verify_ssl and target.ca_bundle:
            verify = str(target.ca_bundle)
        config = Config(
            **_CONFIG,
            connect_timeout=target.connect_timeout,
            read_timeout=target.read_timeout,
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
            proxies={} if self.emulated else None,
        )
        try:
            return self._session.client("cognito-idp", endpoint_url=target.endpoint_url, verify=verify, config=config)
        except (BotoCoreError, ValueError) as error:
            raise TargetError(
                f"No client can be made for {target.user_pool_id}: {error}.", "Check the target's Region and endpoint."
            ) from None

    def credentials(self) -> "Credentials | None":
        """Where each call's keys come from: a provider that renews them does so when it is asked for them."""
        return self._session.get_credentials()

    def configured(self, name: str) -> Any:  # noqa: ANN401  (what the configuration holds)
        """A setting of botocore's, such as "ca_bundle", from environment or profile."""
        return self._session._session.get_config_variable(name)  # noqa: SLF001  (boto3 has no other way to it)

    def renewed(self) -> "CognitoIdentityProviderClient | None":
        """A client with newer credentials where the provider has some (a role, SSO, a process); None where it has not."""
        if self.emulated:
            return None
        try:
            session = boto3.Session(profile_name=self.target.profile, region_name=self.region)
            keys = _keys(session)
        except (BotoCoreError, TargetError):
            return None
        if keys in {None, self._used}:
            return None
        self._session, self._used = session, keys
        return self.cognito()

    def ask_caller(self) -> Callable[[], Caller]:
        """Ask STS who is calling, aside; what is returned waits for the answer, a few seconds from now at most."""
        if self.emulated:
            return lambda: Caller(EMULATED_ACCOUNT, f"arn:aws:iam::{EMULATED_ACCOUNT}:user/emulated")
        config = Config(**_CONFIG, connect_timeout=SIDE_SERVICE_SECONDS, read_timeout=SIDE_SERVICE_SECONDS)
        try:
            client = self._session.client("sts", config=config)
        except (BotoCoreError, ValueError) as error:
            problem = f"STS could not be reached ({type(error).__name__})"
            return lambda: Caller(problem=problem)
        until = time.monotonic() + 2 * SIDE_SERVICE_SECONDS
        answers: list[Caller] = []
        # A thread of its own, which the process need not wait for: no time-out of botocore's bounds the name look-up.
        thread = threading.Thread(target=lambda: answers.append(_caller(client)), name="sts", daemon=True)
        thread.start()

        def answer() -> Caller:
            thread.join(max(0.0, until - time.monotonic()))
            return answers[0] if answers else Caller(problem="STS did not answer")

        return answer

    def caller(self) -> Caller:
        """Ask STS, and wait; the run goes on without an answer."""
        return self.ask_caller()()


def _caller(client: "STSClient") -> Caller:
    try:
        answer = client.get_caller_identity()
    except ClientError as error:
        return Caller(problem=f"STS answered {error.response['Error'].get('Code', 'an error')}")
    except (BotoCoreError, ValueError) as error:
        return Caller(problem=f"STS could not be reached ({type(error).__name__})")
    except Exception as error:  # noqa: BLE001  (an answer that is not STS's: the run can do without)
        return Caller(problem=f"STS could not be understood ({type(error).__name__})")
    account, arn = answer.get("Account"), answer.get("Arn")
    return Caller(account, arn) if account and arn else Caller(problem="STS did not say who is calling")


def _keys(session: boto3.Session) -> tuple[str | None, str | None] | None:
    """What tells one set of credentials from the next: the access key and the session token.

    Raises TargetError where a provider is configured and gives none.
    """
    try:
        credentials = session.get_credentials()
        frozen = credentials.get_frozen_credentials() if credentials else None
    except (BotoCoreError, ClientError, OSError) as error:
        what = error.response["Error"].get("Code") if isinstance(error, ClientError) else type(error).__name__
        if isinstance(error, PartialCredentialsError):
            what = str(error)
        raise TargetError(
            f"No AWS credentials could be obtained ({what}).",
            "Sign in again, or check the profile's role and settings.",
        ) from None
    return (frozen.access_key, frozen.token) if frozen else None


def open_session(target: Target) -> TargetSession:
    """The session for `target`. Raises TargetError where profile, Region, credentials or certificates are missing."""
    try:
        if target.ca_bundle:
            ssl.create_default_context(cafile=target.ca_bundle)
    except OSError as error:
        raise TargetError(f"The CA bundle {target.ca_bundle} cannot be used: {error}.", "Name a PEM file.") from None
    try:
        session = boto3.Session(profile_name=target.profile, region_name=target.region)
        if not session.region_name and os.environ.get("AWS_REGION"):  # boto3 itself reads AWS_DEFAULT_REGION only
            session = boto3.Session(profile_name=target.profile, region_name=os.environ["AWS_REGION"])
    except ProfileNotFound:
        name = target.profile or os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
        raise TargetError(
            f"There is no AWS profile {name!r}.", "Check --profile, AWS_PROFILE and your AWS configuration files."
        ) from None
    except BotoCoreError as error:
        raise TargetError(f"The AWS configuration cannot be used: {error}.", "Mend it, then run again.") from None
    if not session.region_name:
        hint = target.user_pool_id.partition("_")[0]
        raise TargetError(
            f"No Region is known for the user pool {target.user_pool_id}.",
            f"Pass --region (its id suggests {hint}) or set AWS_REGION.",
        )
    if _keys(session) is None:
        raise TargetError(
            "No AWS credentials were found.",
            "Pass --profile, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in with aws sso login.",
        )
    return TargetSession(target, session)


def emulated_session(target: Target, region: str, url: str) -> TargetSession:
    """A session that can reach nothing but the emulator at `url`: no profile, no real credentials, no proxy."""
    session = boto3.Session(aws_access_key_id="emulated", aws_secret_access_key="emulated", region_name=region)  # noqa: S106
    # The emulator speaks plain HTTP on loopback, so what the job says of TLS does not apply.
    emulated = target.model_copy(update={"endpoint_url": url, "profile": None, "region": region, "ca_bundle": None})
    return TargetSession(emulated, session, emulated=True)
