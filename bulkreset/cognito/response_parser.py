"""What came back, read: as strictly, and in the same words, whichever transport it came through."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from bulkreset.cognito.response import HISTORY_VIOLATION, PASSWORD_REFUSALS, Disposition, Response, classify

NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
UNREADABLE = Response(Disposition.AMBIGUOUS, "UnreadableResponse", "the answer could not be read")
BAD_CERTIFICATE = Response(Disposition.FATAL, "SSLError", "the endpoint's certificate could not be verified")


class UnreadableResponseError(Exception):
    """An answer that is not the service's: botocore would take any body with HTTP 200 for success."""


def parse_body(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a body, None where it is empty. Raises UnreadableResponseError for anything else."""
    if body == b"{}":  # every success
        return {}
    try:
        answer = json.loads(body) if body else None
    except (ValueError, RecursionError):
        raise UnreadableResponseError from None
    if body and not isinstance(answer, dict):
        raise UnreadableResponseError
    return answer


def require_service_response(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise UnreadableResponseError for what is no JSON object, and where a success is not Cognito's own.

    A success is an empty object, or at least has the service's request id. `headers` know no case, or have small letters.
    """
    answer = parse_body(body)
    if status >= 300 or answer == {}:  # noqa: PLR2004
        return
    if "x-amzn-requestid" not in headers or "__type" in (answer or {}):
        raise UnreadableResponseError


def success_response(request_id: str | None, withhold: Callable[[str], str]) -> Response:
    """It is done. `withhold` keeps the password out of what is told, here and below."""
    return Response(Disposition.DONE, request_id=scrub_message(request_id, withhold))


def error_response(parsed: Mapping[str, Any], withhold: Callable[[str], str]) -> Response:
    """An error answer, as botocore's parser gives it ("Error", "ResponseMetadata")."""
    details: Any = parsed.get("Error", {})
    metadata: Any = parsed.get("ResponseMetadata", {})
    said = details.get("Code")
    told = said if isinstance(said, str) else ""
    # By the code as it came: a password that is a part of it must not change what the run does.
    verdict = classify(told, int(metadata.get("HTTPStatusCode", 0)))
    known = verdict is not Disposition.REFUSED or told == HISTORY_VIOLATION or told in PASSWORD_REFUSALS
    code = told if known else scrub_message(told, withhold)
    if verdict is Disposition.AMBIGUOUS and (not code or code.isdigit()):
        code = f"HTTP{metadata.get('HTTPStatusCode', '')}"
    elif verdict is Disposition.AMBIGUOUS:
        code = scrub_message(code, withhold)
    return Response(
        verdict,
        code,
        scrub_message(details.get("Message"), withhold),
        scrub_message(metadata.get("RequestId"), withhold),
    )


def not_sent_response(code: str) -> Response:
    """Nothing has left this machine."""
    return Response(Disposition.NOT_SENT, code, "no connection could be made")


def no_credentials_response(error: Exception) -> Response:
    """No request could be signed: `error` is one of NO_CREDENTIALS."""
    return Response(Disposition.EXPIRED, type(error).__name__, "no valid credentials could be obtained")


def scrub_message(text: object, withhold: Callable[[str], str]) -> str:
    """What the service says, as text that can be kept and does not repeat the password."""
    kept = str(text or "").encode("utf-8", "backslashreplace").decode()
    return withhold(kept)
