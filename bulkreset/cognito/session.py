"""One target's way to AWS: its credentials, Region and endpoint, its clients, and who is calling."""

import os
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialResolver
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.loaders import create_loader

from bulkreset.cognito.background import ask_in_background
from bulkreset.cognito.role_credentials import RoleProvider
from bulkreset.errors import TargetError
from bulkreset.job import Target
from bulkreset.version import __version__

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

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


# One loader of botocore's models for all sessions: each of its own would read them anew, 12 MB for every target.
_loader = cache(create_loader)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as STS says; "" where STS could not be reached, and `problem` says why."""

    account: str = ""
    arn: str = ""
    problem: str = ""


class AwsSession(boto3.Session):
    """A boto3 session that keeps its botocore session, which boto3 hides: only that one has the configuration."""

    def __init__(self, inner: botocore.session.Session, region: str | None, profile: str | None = None) -> None:
        super().__init__(botocore_session=inner, region_name=region, profile_name=profile)
        self.inner = inner


class TargetSession:
    """A boto3 session for one target."""

    def __init__(self, target: Target, session: AwsSession, *, emulated: bool = False) -> None:
        self.target = target
        self._session = session
        self.emulated = emulated
        self._key_in_use = _credential_id(session)
        self._refresh_lock = threading.Lock()
        self._client_lock = threading.Lock()  # a client may be used by many threads, but is made by one at a time
        self._endpoint = ""

    @property
    def region(self) -> str:
        """The Region the calls go to."""
        return self._session.region_name or ""

    @property
    def endpoint(self) -> str:
        """The URL that the calls go to, wherever it was configured."""
        self._endpoint = self._endpoint or self.cognito().meta.endpoint_url
        return self._endpoint

    def cognito(self) -> "CognitoIdentityProviderClient":
        """A new client for the target's endpoint. Raises TargetError where none can be made."""
        target = self.target
        config = Config(
            **_CONFIG,
            connect_timeout=target.connect_timeout,
            read_timeout=target.read_timeout,
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
            proxies={} if self.emulated else None,
        )
        client: CognitoIdentityProviderClient = self._client(
            "cognito-idp", config, endpoint_url=target.endpoint_url, verify=self._verify()
        )
        return client

    def side_client(self, service: str) -> Any:  # noqa: ANN401  (boto3 has a class for each service)
        """A new client of a service that the run can do without, which is not waited for long; Cognito is at the target's endpoint."""
        config = Config(
            **_CONFIG,
            connect_timeout=SIDE_SERVICE_SECONDS,
            read_timeout=SIDE_SERVICE_SECONDS,
            proxies={} if self.emulated else None,
        )
        if service != "cognito-idp":  # these follow boto3's own configuration
            return self._client(service, config)
        return self._client(service, config, endpoint_url=self.target.endpoint_url, verify=self._verify())

    def _verify(self) -> bool | str | None:
        if not self.target.verify_ssl:
            return False
        return str(self.target.ca_bundle) if self.target.ca_bundle else None

    def _client(self, service: str, config: Config, **place: Any) -> Any:  # noqa: ANN401  (as above)
        make: Any = self._session.client
        try:
            with self._client_lock:
                return make(service, config=config, **place)
        except (BotoCoreError, ValueError) as error:
            raise TargetError(
                f"No client can be made for {self.target.user_pool_id}: {error}.",
                "Check the target's Region and endpoint.",
            ) from None

    def credentials(self) -> "Credentials | None":
        """Where each call's keys come from: a provider that renews them does so when it is asked for them."""
        return self._session.get_credentials()

    def config_value(self, name: str) -> Any:  # noqa: ANN401  (what the configuration holds)
        """A setting of botocore's, such as "ca_bundle", from environment or profile."""
        return self._session.inner.get_config_variable(name)

    def credential_refresher(self) -> Callable[[], bool]:
        """For one of several that send with this session: where its credentials have expired, whether there are newer ones now.

        From then on `cognito` and `credentials` give those. Each has a renewal of its own: that the first one has renewed must
        not make the newer credentials old ones for the others.
        """
        had = self._key_in_use

        def renewed() -> bool:
            nonlocal had
            with self._refresh_lock:
                there_are = self._key_in_use != had or self._refresh_credentials()
                had = self._key_in_use
            return there_are

        return renewed

    def _refresh_credentials(self) -> bool:
        """Ask the provider anew: a role, SSO, a process, a file."""
        if self.emulated:
            return False
        try:
            session = _with_role(self.target, aws_session(self.target.profile, self.region))
            keys = _credential_id(session)
        except (BotoCoreError, TargetError):
            return False
        if keys in {None, self._key_in_use}:
            return False
        self._session, self._key_in_use = session, keys
        return True

    def start_caller_lookup(self) -> Callable[[], Caller]:
        """Ask STS who is calling, aside."""
        if self.emulated:
            return lambda: Caller(EMULATED_ACCOUNT, f"arn:aws:iam::{EMULATED_ACCOUNT}:user/emulated")
        return ask_in_background(lambda: _caller(self), Caller(problem="STS did not answer"))

    def caller(self) -> Caller:
        """Ask STS, and wait; the run goes on without an answer."""
        return self.start_caller_lookup()()


def _caller(session: TargetSession) -> Caller:
    try:
        answer = session.side_client("sts").get_caller_identity()
    except ClientError as error:
        return Caller(problem=f"STS answered {error.response['Error'].get('Code', 'an error')}")
    except (BotoCoreError, TargetError, ValueError) as error:
        return Caller(problem=f"STS could not be reached ({type(error).__name__})")
    except Exception as error:  # noqa: BLE001  (an answer that is not STS's: the run can do without)
        return Caller(problem=f"STS could not be understood ({type(error).__name__})")
    account, arn = answer.get("Account"), answer.get("Arn")
    return Caller(account, arn) if account and arn else Caller(problem="STS did not say who is calling")


def _credential_id(session: boto3.Session) -> tuple[str | None, str | None] | None:
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
        told: Any = getattr(error, "kwargs", {})
        if isinstance(error, CredentialRetrievalError) and told["provider"].startswith("arn:"):
            raise TargetError(
                f"The role {told['provider']} could not be assumed: {told['error_msg']}.",
                "Check its trust policy, its external id, and that these credentials may call sts:AssumeRole.",
            ) from None
        raise TargetError(
            f"No AWS credentials could be obtained ({what}).",
            "Sign in again, or check the profile's role and settings.",
        ) from None
    return (frozen.access_key, frozen.token) if frozen else None


def aws_session(profile: str | None, region: str | None, resolver: CredentialResolver | None = None) -> AwsSession:
    """Return a session that shares botocore's models with all others, with the resolver's credentials if there is one.

    Raises errors of botocore's, ProfileNotFound among them.
    """
    inner = botocore.session.Session(profile=profile)
    inner.register_component("data_loader", _loader(inner.get_config_variable("data_path")))
    if resolver:
        inner.register_component("credential_provider", resolver)
    return AwsSession(inner, region, profile)


def open_session(target: Target) -> TargetSession:
    """The session for `target`. Raises TargetError where profile, Region, credentials or certificates are missing."""
    try:
        if target.ca_bundle:
            ssl.create_default_context(cafile=target.ca_bundle)
    except OSError as error:
        raise TargetError(f"The CA bundle {target.ca_bundle} cannot be used: {error}.", "Name a PEM file.") from None
    try:
        session = aws_session(target.profile, target.region)
        if not session.region_name and os.environ.get("AWS_REGION"):  # boto3 itself reads AWS_DEFAULT_REGION only
            session = aws_session(target.profile, os.environ["AWS_REGION"])
    except ProfileNotFound:
        of_the_environment = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
        name = of_the_environment if target.profile is None else target.profile
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
    if _credential_id(session) is None:
        raise TargetError(
            "No AWS credentials were found.",
            "Pass --profile, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in with aws sso login.",
        )
    if target.role_arn:
        session = _with_role(target, session)
        _credential_id(session)
    return TargetSession(target, session)


def _with_role(target: Target, session: AwsSession) -> AwsSession:
    """The session, or one with the credentials of the target's role. Asks nobody yet."""
    if not target.role_arn:
        return session
    return aws_session(target.profile, session.region_name, CredentialResolver([RoleProvider(target, session)]))


def emulated_session(target: Target, region: str, url: str) -> TargetSession:
    """A session that can reach nothing but the emulator at `url`: no profile, no real credentials, no proxy."""
    inner = botocore.session.Session()
    inner.set_credentials("emulated", "emulated")
    session = AwsSession(inner, region)
    # The emulator speaks plain HTTP on loopback, so what the job says of TLS does not apply.
    nowhere_else = {"endpoint_url": url, "profile": None, "role_arn": None, "region": region, "ca_bundle": None}
    emulated = target.model_copy(update=nowhere_else)
    return TargetSession(emulated, session, emulated=True)
