"""Classifies calls without an answer: not sent, a wrong certificate, or too large an answer."""

import ssl
from http.client import HTTPException

from botocore.exceptions import (
    BotoCoreError,
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

UNSENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)


def is_too_large(error: HTTPClientError) -> bool:
    """Return whether reading an answer was stopped because of its size."""
    return isinstance(error.kwargs.get("error"), AnswerTooLargeError)


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
