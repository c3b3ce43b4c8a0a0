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

from bulkreset.cognito.response import HISTORY, OF_THE_PASSWORD, Answer, Verdict, classify

NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
UNREADABLE = Answer(Verdict.DOUBTFUL, "UnreadableAnswer", "the answer could not be read")
BAD_CERTIFICATE = Answer(Verdict.FATAL, "SSLError", "the endpoint's certificate could not be verified")


class UnreadableAnswerError(Exception):
    """An answer that is not the service's: botocore would take any body with HTTP 200 for success."""


def answer_in(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a body, None where it is empty. Raises UnreadableAnswerError for anything else."""
    if body == b"{}":  # every success
        return {}
    try:
        answer = json.loads(body) if body else None
    except (ValueError, RecursionError):
        raise UnreadableAnswerError from None
    if body and not isinstance(answer, dict):
        raise UnreadableAnswerError
    return answer


def must_be_the_services(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise UnreadableAnswerError for what is no JSON object, and where a success is not Cognito's own.

    A success is an empty object, or at least has the service's request id. `headers` know no case, or have small letters.
    """
    answer = answer_in(body)
    if status >= 300 or answer == {}:  # noqa: PLR2004
        return
    if "x-amzn-requestid" not in headers or "__type" in (answer or {}):
        raise UnreadableAnswerError


def success(request_id: str | None, withhold: Callable[[str], str]) -> Answer:
    """It is done. `withhold` keeps the password out of what is told, here and below."""
    return Answer(Verdict.SET, request_id=shown(request_id, withhold))


def refusal(parsed: Mapping[str, Any], withhold: Callable[[str], str]) -> Answer:
    """An error answer, as botocore's parser gives it ("Error", "ResponseMetadata")."""
    details: Any = parsed.get("Error", {})
    metadata: Any = parsed.get("ResponseMetadata", {})
    said = details.get("Code")
    told = said if isinstance(said, str) else ""
    # By the code as it came: a password that is a part of it must not change what the run does.
    verdict = classify(told, int(metadata.get("HTTPStatusCode", 0)))
    known = verdict is not Verdict.REFUSED or told == HISTORY or told in OF_THE_PASSWORD
    code = told if known else shown(told, withhold)
    if verdict is Verdict.DOUBTFUL and (not code or code.isdigit()):
        code = f"HTTP{metadata.get('HTTPStatusCode', '')}"
    elif verdict is Verdict.DOUBTFUL:
        code = shown(code, withhold)
    return Answer(verdict, code, shown(details.get("Message"), withhold), shown(metadata.get("RequestId"), withhold))


def unsent(code: str) -> Answer:
    """Nothing has left this machine."""
    return Answer(Verdict.UNSENT, code, "no connection could be made")


def without_credentials(error: Exception) -> Answer:
    """No request could be signed: `error` is one of NO_CREDENTIALS."""
    return Answer(Verdict.EXPIRED, type(error).__name__, "no valid credentials could be obtained")


def shown(text: object, withhold: Callable[[str], str]) -> str:
    """What the service says, as text that can be kept and does not repeat the password."""
    kept = str(text or "").encode("utf-8", "backslashreplace").decode()
    return withhold(kept)
