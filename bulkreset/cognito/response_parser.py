"""Parses responses with the same strictness and the same messages for every transport."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore.exceptions import (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import JSONParser

from bulkreset.cognito.response import HISTORY_VIOLATION, PASSWORD_REFUSALS, Disposition, Response, classify
from bulkreset.text import show_invisible

_PARSER: Final[Any] = JSONParser()  # Any: its stubs require a shape, which an error does not need
PROVIDER_FAILED = (PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError, UnauthorizedSSOTokenError)
NO_CREDENTIALS = (NoCredentialsError, *PROVIDER_FAILED)
_ERROR_FIELDS = ("__type", "code", "message", "Message")
CODE_LETTERS = 200  # the longest code that a report holds
MESSAGE_LETTERS = 1000
TOO_LARGE = Response(Disposition.AMBIGUOUS, "ResponseTooLarge", "the answer was longer than any of the service's")
UNREADABLE = Response(Disposition.AMBIGUOUS, "UnreadableResponse", "the answer could not be read")
WITHHELD = Response(Disposition.WITHHELD, "Withheld", "it was not sent: the run may not send now")
BAD_CERTIFICATE = Response(Disposition.FATAL, "SSLError", "the endpoint's certificate could not be verified")


class UnreadableResponseError(Exception):
    """A response is not the service's own. botocore would accept any body with HTTP 200 as a success."""


def parse_body(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body, None if it is empty. Raises UnreadableResponseError for anything else."""
    if body == b"{}":  # the body of every success
        return {}
    try:
        # as text: for bytes, json would accept UTF-16 and a BOM, too
        answer = json.loads(body.decode()) if body else None
    except (ValueError, RecursionError):
        raise UnreadableResponseError from None
    if body and not isinstance(answer, dict):
        raise UnreadableResponseError
    if any(not isinstance(text, str | None) for text in map((answer or {}).get, _ERROR_FIELDS)):
        raise UnreadableResponseError
    return answer


def require_readable(response_dict: dict[str, Any], **_kwargs: object) -> None:
    """Raise UnreadableResponseError if a body is neither empty nor a JSON object, as behind a captive portal.

    botocore accepts any body with HTTP 200 as a success, and uses an unreadable 5xx body as the error message.
    """
    parse_body(response_dict["body"])


def require_service_response(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise UnreadableResponseError for a body that is not a JSON object, or a success that is not Cognito's own.

    An empty body is allowed. A success of Cognito names no error; it is an empty object, or has the service's request
    id. `headers` must ignore case, or have lower-case names.
    """
    answer = parse_body(body)
    if status < 300 and "x-amzn-errortype" in headers:  # noqa: PLR2004
        raise UnreadableResponseError
    if status >= 300 or answer == {}:  # noqa: PLR2004
        return
    if "x-amzn-requestid" not in headers or "__type" in (answer or {}):
        raise UnreadableResponseError


def success_response(request_id: str | None, withhold: Callable[[str], str]) -> Response:
    """Return the Response for a success. `withhold` removes the password from a text; the same below."""
    return Response(Disposition.DONE, request_id=scrub_message(request_id, withhold, CODE_LETTERS))


def error_response(parsed: Mapping[str, Any], withhold: Callable[[str], str]) -> Response:
    """Return the Response for an error that botocore's parser has parsed ("Error", "ResponseMetadata")."""
    details: Any = parsed.get("Error", {})
    metadata: Any = parsed.get("ResponseMetadata", {})
    received = details.get("Code")
    service_code = received if isinstance(received, str) else ""
    # Classify the code as received: a password inside it must not change what the run does.
    verdict = classify(service_code, int(metadata.get("HTTPStatusCode", 0)))
    known = verdict is not Disposition.REFUSED or service_code == HISTORY_VIOLATION or service_code in PASSWORD_REFUSALS
    code = service_code if known else scrub_message(service_code, withhold, CODE_LETTERS)
    if verdict is Disposition.AMBIGUOUS and (not code or code.isdigit()):
        code = f"HTTP{metadata.get('HTTPStatusCode', '')}"
    elif verdict is Disposition.AMBIGUOUS:
        code = scrub_message(code, withhold, CODE_LETTERS)
    return Response(
        verdict,
        code,
        scrub_message(details.get("Message"), withhold),
        scrub_message(metadata.get("RequestId"), withhold, CODE_LETTERS),
    )


def read_response(status: int, headers: Mapping[str, str], body: bytes, withhold: Callable[[str], str]) -> Response:
    """Return the Response for an HTTP response, by the same rules as for botocore's. `headers` as above."""
    try:
        require_service_response(status, headers, body)
        if status < 300:  # noqa: PLR2004
            return success_response(headers.get("x-amzn-requestid"), withhold)
        return error_response(_PARSER.parse({"status_code": status, "headers": headers, "body": body}, None), withhold)
    except UnreadableResponseError:
        return UNREADABLE
    except Exception as error:  # noqa: BLE001  (botocore cannot parse the error)
        return lost_response(error)


def lost_response(error: Exception) -> Response:
    """Return the Response for an answer that was lost, or that botocore cannot parse: it may have been applied."""
    return Response(Disposition.AMBIGUOUS, type(error).__name__, "the answer was lost or could not be read")


def not_sent_response(code: str) -> Response:
    """Return the Response for an attempt that was not sent."""
    return Response(Disposition.NOT_SENT, code, "no connection could be made")


def no_credentials_response(error: Exception) -> Response:
    """Return the Response for a request that could not be signed. `error` is one of NO_CREDENTIALS."""
    return Response(Disposition.EXPIRED, type(error).__name__, "no valid credentials could be obtained")


def scrub_message(text: object, withhold: Callable[[str], str], letters: int = MESSAGE_LETTERS) -> str:
    """Return the service's text as valid UTF-8 without the password, "" for None.

    Control characters become visible signs, and a text longer than `letters` is cut. The password is removed first, so
    that a cut cannot leave a part of it.
    """
    kept = str(text or "")
    if not (kept.isascii() and kept.isprintable()):  # most texts are
        kept = show_invisible(withhold(kept.encode("utf-8", "backslashreplace").decode())[: letters + 1])
    else:
        kept = withhold(kept)
    return kept if len(kept) <= letters else kept[: letters - 1] + "…"
