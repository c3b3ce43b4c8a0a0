"""Resolves how boto3 would reach Cognito: URL, headers, signature, certificates and proxy."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from botocore.httpsession import ProxyConfiguration, get_cert_path, mask_proxy_url
from botocore.utils import get_environ_proxies

from bulkreset.causes import STOPS, advice_for
from bulkreset.cognito.read_calls import NO_ANSWER
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import TargetError

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_NO_CONNECTION: Final = frozenset({"EndpointConnectionError", "ConnectTimeoutError"})
_BEFORE_CALL: Final = "before-call.cognito-identity-provider.AdminSetUserPassword"
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `user` and `password` are "" if the proxy needs none."""

    scheme: str
    host: str
    port: int
    user: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a call and how to reach it.

    `ca_file` is a file of trusted certificates, None if the server's certificate is not verified. Timeouts are seconds.
    """

    url: str
    scheme: str
    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...]
    region: str
    service: str
    ca_file: str | None
    certificates: bytes | None = field(repr=False)
    proxies: Mapping[str, str] = field(repr=False)  # in botocore's format
    proxy: Proxy | None
    connect_timeout: float
    read_timeout: float


def resolve_endpoint(session: TargetSession) -> Endpoint:
    """Return the endpoint of `session`'s calls. Raises TargetError if the certificates or the proxy cannot be used."""
    request, signing = request_of(session.cognito())
    url = urlsplit(request["url"])
    path = url.path or "/"
    trusted = _trusted_by(session) if url.scheme == "https" else None
    proxies = {} if session.emulated else get_environ_proxies(request["url"])
    return Endpoint(
        url=request["url"],
        scheme=url.scheme,
        host=url.hostname or "",
        port=url.port or _PORTS[url.scheme],
        path=f"{path}?{url.query}" if url.query else path,
        headers=tuple((name, str(value)) for name, value in request["headers"].items()),
        region=signing.region_name,
        service=signing.signing_name,
        ca_file=trusted,
        certificates=_certificates_in(trusted) if trusted else None,
        proxies=proxies,
        proxy=_proxy(ProxyConfiguration(proxies).proxy_url_for(request["url"])),
        connect_timeout=session.target.connect_timeout,
        read_timeout=session.target.read_timeout,
    )


def connection_problem(code: str, session: TargetSession) -> tuple[str, str] | None:
    """Return what is wrong with the connection and what to fix, None if `code` is about something else.

    `code` is botocore's name of an error.
    """
    url = session.endpoint
    proxy = None if session.emulated else get_environ_proxies(url).get(urlsplit(url).scheme)
    if code == "SSLError":
        trusted = _trusted_by(session)
        return f"The certificate of {url} could not be verified with {trusted}.", advice_for(code)
    if code == "ProxyConnectionError" or (proxy and code in _NO_CONNECTION):
        return f"The proxy {mask_proxy_url(proxy or '')} gives no connection to {url}.", STOPS["proxy"].advice
    return {
        "EndpointConnectionError": (f"Cannot connect to {url}.", STOPS["no_connection"].advice),
        "ConnectTimeoutError": (f"{url} gave no connection in time.", STOPS["connect_timeout"].advice),
        NO_ANSWER: (f"{url} gave no answer in time.", STOPS["answer_timeout"].advice),
    }.get(code)


def netloc(scheme: str, host: str, port: int | None) -> str:
    """Return the value of a Host header, without a port if it is the scheme's default."""
    name = f"[{host}]" if ":" in host else host
    return name if port in {None, _PORTS[scheme]} else f"{name}:{port}"


def request_of(client: "CognitoIdentityProviderClient") -> tuple[Mapping[str, Any], Any]:
    """Return the request that a boto3 client prepares, and its signer. The client neither signs nor sends it."""
    prepared: list[tuple[Mapping[str, Any], Any]] = []

    def instead(params: Mapping[str, Any], request_signer: object, **_kwargs: object) -> tuple[object, object]:
        prepared.append((params, request_signer))
        return SimpleNamespace(status_code=200), {}

    events: Any = client.meta.events  # Any: the stubs do not allow a hook to return a value
    events.register(_BEFORE_CALL, instead)
    client.admin_set_user_password(UserPoolId="x_x", Username="x", Password="x", Permanent=True)  # noqa: S106  (not sent)
    events.unregister(_BEFORE_CALL, instead)
    return prepared[0]


def _trusted_by(session: TargetSession) -> str | None:
    """Return the path of the CA file that botocore would trust; None if certificates are not verified."""
    if not session.target.verify_ssl:
        return None
    named = session.target.ca_bundle or session.config_value("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return str(named or get_cert_path(verify=True))


def _certificates_in(path: str) -> bytes:
    try:
        found = _CERTIFICATE.findall(Path(path).read_bytes())
    except OSError as error:
        raise TargetError(f"The CA bundle {path} cannot be used: {error}.", "Name a PEM file.") from None
    if not found:
        raise TargetError(f"The CA bundle {path} has no certificate in it.", "Name a PEM file.")
    # Return only the certificates: the runtime refuses a file that also has a key or a line of text.
    return b"\n".join(found) + b"\n"


def _proxy(url: str | None) -> Proxy | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise TargetError(
            "The proxy of the environment cannot be used: its URL cannot be read.", "Fix HTTPS_PROXY, or HTTP_PROXY."
        ) from None
    # Like botocore: use the user name only if there is a password too.
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    known = bool(user and password)
    return Proxy(parts.scheme, parts.hostname or "", port, user if known else "", password if known else "")
