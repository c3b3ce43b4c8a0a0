"""Opens a session for one target, with its credentials, Region, endpoint and clients, and finds the caller."""

import os
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NoReturn

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

from bulkreset.cognito.background_call import ask_in_background
from bulkreset.cognito.bounded_http import Answers, bound_answers
from bulkreset.cognito.response_parser import require_readable
from bulkreset.cognito.role_credentials import RoleProvider, sts_problem
from bulkreset.errors import TargetError
from bulkreset.job import Target
from bulkreset.version import __version__

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

SIDE_SERVICE_SECONDS = 2.0  # timeout for a service that the run can do without
CONNECTIONS = 256
EMULATED_ACCOUNT = "123456789012"

# botocore does not retry: we do, so that every attempt uses a slot of the rate. botocore's parameter check is off,
# because its error prints the value it refuses, which may be a password; the input's types were checked before.
_CONFIG: Mapping[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 1},
    "parameter_validation": False,
    # A complete value: otherwise botocore builds it for every call, which is a tenth of the call's cost.
    "user_agent": f"bulkreset/{__version__} boto3/{boto3.__version__}",
}


_MFA = "MFA"  # the provider in the error if nobody can be asked for a code

# All sessions share one loader of botocore's models: otherwise each target would load them again, 12 MB each.
_loader = cache(create_loader)


def refuse_code(prompt: str) -> NoReturn:
    """Raise CredentialRetrievalError: nobody can be asked for an MFA code. Otherwise botocore would read the input."""
    raise CredentialRetrievalError(provider=_MFA, error_msg=prompt)


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller's identity from STS. If STS gave none, `account` and `arn` are "" and `problem` says why."""

    account: str = ""
    arn: str = ""
    problem: str = ""


class AwsSession(boto3.Session):
    """A boto3 session with its botocore session in `inner`. boto3 hides it, but only it has the configuration."""

    def __init__(self, inner: botocore.session.Session, region: str | None, profile: str | None = None) -> None:
        super().__init__(botocore_session=inner, region_name=region, profile_name=profile)
        self.inner = inner


class TargetSession:
    """A boto3 session for one target, with refreshable credentials. `emulated`: it can only reach the emulator."""

    def __init__(self, target: Target, session: AwsSession, *, emulated: bool = False) -> None:
        self.target = target
        self._session = session
        self.emulated = emulated
        self._key_in_use = _credential_id(session)
        self._refresh_lock = threading.Lock()
        self._client_lock = threading.Lock()  # many threads may use a client, but only one at a time may create one

    @property
    def region(self) -> str:
        """Return the Region of the calls, "" if unknown."""
        return self._session.region_name or ""

    @cached_property
    def endpoint(self) -> str:
        """Return the URL of the calls, wherever it was configured."""
        return self.cognito().meta.endpoint_url

    def cognito(self, answers: Answers | None = None) -> "CognitoIdentityProviderClient":
        """Return a new client for the target's endpoint. Raises TargetError if none can be created.

        Its read time-out applies to the whole answer. `answers` can set another size limit, and end all waiting.
        """
        target = self.target
        limits = Config(
            connect_timeout=target.connect_timeout,
            read_timeout=target.read_timeout,
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
        )
        client: CognitoIdentityProviderClient = self._client("cognito-idp", limits, answers)
        return client

    def side_client(self, service: str) -> Any:  # noqa: ANN401  (boto3 has a class for each service)
        """Return a new client with short timeouts, for calls that the run can do without.

        The client for Cognito uses the target's endpoint. Raises TargetError if no client can be created.
        """
        limits = Config(connect_timeout=SIDE_SERVICE_SECONDS, read_timeout=SIDE_SERVICE_SECONDS)
        return self._client(service, limits)

    def _client(self, service: str, limits: Config, answers: Answers | None = None) -> Any:  # noqa: ANN401  (as above)
        make: Any = self._session.client
        target, place = self.target, dict[str, Any]()
        if service == "cognito-idp":  # other services use boto3's own configuration
            bundle = str(target.ca_bundle) if target.ca_bundle else None
            place = {"endpoint_url": target.endpoint_url, "verify": bundle if target.verify_ssl else False}
        config = Config(**_CONFIG, proxies={} if self.emulated else None).merge(limits)
        try:
            with self._client_lock:
                client = make(service, config=config, **place)
        except (BotoCoreError, ValueError) as error:
            raise TargetError(
                f"No client can be made for {self.target.user_pool_id}: {error}.",
                "Check the target's Region and endpoint.",
            ) from None
        bound_answers(client, answers or Answers())
        if service == "cognito-idp":
            client.meta.events.register("before-parse.cognito-identity-provider", require_readable)
        return client

    def credentials(self) -> "Credentials | None":
        """Return the source of each call's keys, None if there is none. It renews expiring keys when they are read."""
        return self._session.get_credentials()

    def config_value(self, name: str) -> Any:  # noqa: ANN401  (any type of setting)
        """Return a setting of botocore, such as "ca_bundle", from the environment or the profile."""
        return self._session.inner.get_config_variable(name)

    def credential_refresher(self) -> Callable[[], bool]:
        """Return a function for one user of this session that refreshes expired credentials.

        It returns whether there are newer credentials; from then on `cognito` and `credentials` use them. Each function
        tracks its own credential version, so that one user's refresh is visible to the others.
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
        """Ask the provider again (a role, SSO, a process, a file). Return whether it has other credentials now."""
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
        """Ask STS in the background who is calling. Return a function that waits for the answer."""
        if self.emulated:
            return lambda: Caller(EMULATED_ACCOUNT, f"arn:aws:iam::{EMULATED_ACCOUNT}:user/emulated")
        return ask_in_background(lambda: _caller(self), Caller(problem="STS did not answer"))

    def caller(self) -> Caller:
        """Return who is calling. Waits for STS for a limited time; without an answer only `problem` is set."""
        return self.start_caller_lookup()()


def _caller(session: TargetSession) -> Caller:
    try:
        answer = session.side_client("sts").get_caller_identity()
    except Exception as error:  # noqa: BLE001  (also a response that is not STS's: the run can do without it)
        return Caller(problem=sts_problem(error))
    account, arn = answer.get("Account"), answer.get("Arn")
    return Caller(account, arn) if account and arn else Caller(problem="STS did not say who is calling")


def _credential_id(session: boto3.Session) -> tuple[str | None, str | None] | None:
    """Return the access key and session token, which identify a set of credentials; None without a provider.

    Raises TargetError if a provider is configured but gives no credentials.
    """
    try:
        credentials = session.get_credentials()
        frozen = credentials.get_frozen_credentials() if credentials else None
    except (BotoCoreError, ClientError, OSError) as error:
        what = error.response["Error"].get("Code") if isinstance(error, ClientError) else type(error).__name__
        if isinstance(error, PartialCredentialsError):
            what = str(error)
        message = f"No AWS credentials could be obtained ({what})."
        advice = "Sign in again, or check the profile's role and settings."
        details: Any = error.kwargs if isinstance(error, CredentialRetrievalError) else {"provider": ""}
        if details["provider"] == _MFA:
            message = "The AWS profile asks for an MFA code, and there is no terminal to ask."
            advice = "Run it in a terminal, or pass temporary credentials, for example from aws sts get-session-token."
        elif details["provider"].startswith("arn:"):
            message = f"The role {details['provider']} could not be assumed: {details['error_msg']}."
            advice = "Check its trust policy, its external id, and that these credentials may call sts:AssumeRole."
        raise TargetError(message, advice) from None
    return (frozen.access_key, frozen.token) if frozen else None


def aws_session(
    profile: str | None,
    region: str | None,
    resolver: CredentialResolver | None = None,
    ask_code: Callable[[str], str] = refuse_code,
) -> AwsSession:
    """Return a session that shares botocore's models with all others, with the resolver's credentials if there is one.

    `ask_code` is asked for the code of a profile with MFA. Raises botocore's errors, for example ProfileNotFound.
    """
    inner = botocore.session.Session(profile=profile)
    inner.register_component("data_loader", _loader(inner.get_config_variable("data_path")))
    if resolver:
        inner.register_component("credential_provider", resolver)
    else:
        # botocore has no public way to replace its getpass, which reads standard input if there is no terminal, and
        # which a signal does not end. A test checks that the name exists.
        provider: Any = inner.get_component("credential_provider").get_provider("assume-role")
        provider._prompter = ask_code  # noqa: SLF001
    return AwsSession(inner, region, profile)


def open_session(target: Target, ask_code: Callable[[str], str] = refuse_code) -> TargetSession:
    """Return the session for `target`. `ask_code` is only called now, for the code of a profile with MFA.

    Raises TargetError if its profile, Region, credentials or certificates are missing or cannot be used.
    """
    may_ask = True

    def asking(prompt: str) -> str:
        return (ask_code if may_ask else refuse_code)(prompt)

    try:
        region = target.region or (None if target.replica else target.region_of_id or None)
        session = aws_session(target.profile, region, ask_code=asking)
        if not session.region_name and os.environ.get("AWS_REGION"):  # boto3 itself only reads AWS_DEFAULT_REGION
            session = aws_session(target.profile, os.environ["AWS_REGION"], ask_code=asking)
    except ProfileNotFound:
        of_the_environment = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
        name = of_the_environment if target.profile is None else target.profile
        raise TargetError(
            f"There is no AWS profile {name!r}.", "Check --profile, AWS_PROFILE and your AWS configuration files."
        ) from None
    except BotoCoreError as error:
        raise TargetError(f"The AWS configuration cannot be used: {error}.", "Fix it, then run again.") from None
    _require_ca_bundle(target, session)
    if not session.region_name:
        raise TargetError(
            f"No Region is known for the user pool {target.user_pool_id}.",
            "Pass --region or set AWS_REGION: its ID does not begin with one.",
        )
    if _credential_id(session) is None:
        raise TargetError(
            "No AWS credentials were found.",
            "Pass --profile, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in with aws sso login.",
        )
    if target.role_arn:
        session = _with_role(target, session)
        _credential_id(session)
    may_ask = False  # a thread that sends must not ask: the credentials have expired then
    return TargetSession(target, session)


def _require_ca_bundle(target: Target, session: AwsSession) -> None:
    """Raise TargetError if the trusted certificates cannot be read. botocore would only fail at every call."""
    places = {
        "--ca-bundle": target.ca_bundle,
        "AWS_CA_BUNDLE or ca_bundle of the profile": session.inner.get_config_variable("ca_bundle"),
        "REQUESTS_CA_BUNDLE": os.environ.get("REQUESTS_CA_BUNDLE"),
    }
    place, path = next(((place, path) for place, path in places.items() if path), ("", None))
    if not path or not target.verify_ssl:
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        reason = error.strerror or error
        raise TargetError(f"The CA bundle {path} cannot be used: {reason}.", f"Name a PEM file with {place}.") from None


def _with_role(target: Target, session: AwsSession) -> AwsSession:
    """Return the session, or one with the credentials of the target's role. Makes no call yet."""
    if not target.role_arn:
        return session
    return aws_session(target.profile, session.region_name, CredentialResolver([RoleProvider(target, session)]))


def emulated_session(target: Target, region: str, url: str) -> TargetSession:
    """Return a session that can only reach the emulator at `url`: no profile, no real credentials, no proxy."""
    inner = botocore.session.Session()
    inner.set_credentials("emulated", "emulated")
    session = AwsSession(inner, region)
    # The emulator uses plain HTTP on loopback, so the job's TLS settings do not apply.
    nowhere_else = {"endpoint_url": url, "profile": None, "role_arn": None, "region": region, "ca_bundle": None}
    emulated = target.model_copy(update=nowhere_else)
    return TargetSession(emulated, session, emulated=True)
