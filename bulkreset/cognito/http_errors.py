"""Classifies calls that failed: refused, not sent, a wrong certificate, or a lost or unreadable answer."""

import ssl
from collections.abc import Callable
from http.client import HTTPException

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util.ssl_match_hostname import CertificateError

from bulkreset.cognito.bounded_http import AnswerTooLargeError
from bulkreset.cognito.response import Disposition, Response
from bulkreset.cognito.response_parser import (
    BAD_CERTIFICATE,
    NO_CREDENTIALS,
    TOO_LARGE,
    UNREADABLE,
    WITHHELD,
    UnreadableResponseError,
    error_response,
    lost_response,
    no_credentials_response,
    not_sent_response,
)
from bulkreset.send_permit import WithheldError

UNSENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)


def failure_response(  # noqa: PLR0911  (one return for each kind of result)
    error: Exception, withhold: Callable[[str], str]
) -> Response:
    """Return the Response for what a boto3 client has raised; it never has a library's own text."""
    if isinstance(error, ClientError):
        return error_response(error.response, withhold)
    if isinstance(error, SSLError):
        if is_about_the_certificate(error):
            return BAD_CERTIFICATE
        return Response(Disposition.AMBIGUOUS, "SSLError", "the answer was lost")  # the request may have been sent
    if isinstance(error, UNSENT):
        return not_sent_response(type(error).__name__)
    if isinstance(error, NO_CREDENTIALS):
        return no_credentials_response(error)
    if isinstance(error, UnreadableResponseError):
        return UNREADABLE
    cause = error.kwargs.get("error") if isinstance(error, HTTPClientError) else None
    if isinstance(cause, WithheldError):
        return WITHHELD
    return TOO_LARGE if isinstance(cause, AnswerTooLargeError) else lost_response(error)


def exchange_error(error: BaseException, url: str) -> BotoCoreError:
    """Return botocore's error for one of an open connection."""
    if isinstance(error, TimeoutError):
        return ReadTimeoutError(endpoint_url=url, error=error)
    if isinstance(error, ssl.SSLError):
        return SSLError(endpoint_url=url, error=error)
    if isinstance(error, OSError | HTTPException):
        return ConnectionClosedError(endpoint_url=url, error=error)
    return HTTPClientError(error=error)


def is_about_the_certificate(error: SSLError) -> bool:
    """Return whether the TLS handshake failed because of the certificate, so that nothing was sent."""
    cause: object = error.kwargs.get("error")
    while isinstance(cause, BaseException):
        if isinstance(cause, ssl.SSLCertVerificationError | CertificateError):  # the latter: another host's
            return True
        cause = cause.args[0] if cause.args else None
    return "CERTIFICATE_VERIFY_FAILED" in str(error)
