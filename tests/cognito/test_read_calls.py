"""The read calls: an answer, or the reason for its absence, by code and without the text of the answer."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
)

from bulkreset.cognito.read_calls import ReadCallError, UnknownFact, call_read
from bulkreset.cognito.response import Disposition
from bulkreset.cognito.response_parser import UnreadableResponseError

HERE = {"endpoint_url": "https://cognito.invalid"}


def refusal(code: str, status: int = 400) -> ClientError:
    """Return botocore's exception for an error answer."""
    answer: Any = {"Error": {"Code": code, "Message": "why"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "ListUsers")


def failed(error: BaseException) -> ReadCallError:
    """Return the error of a read for an exception."""

    def call() -> Mapping[str, Any]:
        raise error

    with pytest.raises(ReadCallError) as caught:
        call_read(call)
    assert caught.value.__cause__ is None
    return caught.value


def test_answer_is_given_as_it_is() -> None:
    def call(**params: Any) -> Mapping[str, Any]:  # noqa: ANN401  (any call's)
        return {"Users": [], "asked": params}

    assert call_read(call, UserPoolId="p", Limit=60) == {"Users": [], "asked": {"UserPoolId": "p", "Limit": 60}}


@pytest.mark.parametrize(
    ("code", "status", "verdict", "passes"),
    [
        ("TooManyRequestsException", 400, Disposition.THROTTLED, True),
        ("ThrottlingException", 400, Disposition.THROTTLED, True),
        ("InternalErrorException", 500, Disposition.AMBIGUOUS, True),
        ("ExpiredTokenException", 400, Disposition.EXPIRED, False),
        ("AccessDeniedException", 400, Disposition.FATAL, False),
        ("ResourceNotFoundException", 400, Disposition.FATAL, False),
        ("InvalidParameterException", 400, Disposition.REFUSED, False),
        ("NotAuthorizedException", 400, Disposition.REFUSED, False),
    ],
)
def test_error_answer_has_its_code_and_its_disposition(
    code: str, status: int, verdict: Disposition, *, passes: bool
) -> None:
    error = failed(refusal(code, status))
    assert (error.code, error.verdict, error.is_transient) == (code, verdict, passes)


def test_error_answer_whose_code_is_its_status_is_named_as_for_a_password_call() -> None:
    error = failed(refusal("503", 503))
    assert (error.code, error.verdict, error.is_transient) == ("HTTP503", Disposition.AMBIGUOUS, True)


@pytest.mark.parametrize("answer", [{}, {"Error": {}}, {"Error": {"Code": ""}}, {"Error": {"Code": None}}], ids=str)
def test_error_answer_without_a_code_may_pass(answer: Any) -> None:  # noqa: ANN401  (nonsense)
    error = failed(ClientError(answer, "ListUsers"))
    assert (error.code, error.verdict) == ("an unreadable error", Disposition.AMBIGUOUS)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (NoCredentialsError(), Disposition.EXPIRED),
        (EndpointConnectionError(**HERE), Disposition.NOT_SENT),
        (ConnectTimeoutError(**HERE), Disposition.NOT_SENT),
        (ProxyConnectionError(proxy_url="http://proxy.invalid"), Disposition.NOT_SENT),
        (ReadTimeoutError(**HERE), Disposition.AMBIGUOUS),
        (ConnectionClosedError(**HERE), Disposition.AMBIGUOUS),
        (json.JSONDecodeError("why", "doc", 0), Disposition.AMBIGUOUS),
        (AttributeError("'list' object has no attribute 'get'"), Disposition.AMBIGUOUS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_missing_answer_is_named_by_its_cause(error: Exception, verdict: Disposition) -> None:
    found = failed(error)
    assert (found.code, found.verdict, found.denied) == (type(error).__name__, verdict, False)


def test_answer_that_cannot_be_read_is_in_doubt() -> None:
    found = failed(UnreadableResponseError())
    assert (found.code, found.verdict) == ("UnreadableResponse", Disposition.AMBIGUOUS)


@pytest.mark.parametrize("answer", [None, [], "Users"], ids=repr)
def test_answer_that_is_not_an_object_is_in_doubt(answer: Any) -> None:  # noqa: ANN401  (nonsense)
    with pytest.raises(ReadCallError, match="UnreadableResponse"):
        call_read(lambda: answer)


@pytest.mark.parametrize(
    "code", ["AccessDenied", "AccessDeniedException", "NotAuthorizedException", "UnauthorizedOperation"]
)
def test_missing_permission_leaves_a_gap_that_is_denied_and_ends_nothing(code: str) -> None:
    gap = failed(refusal(code)).unknown_fact("who is there", "cognito-idp:ListUsers", "arn:pool")
    assert gap == UnknownFact("who is there", "cognito-idp:ListUsers", code, "arn:pool", denied=True, fatal=False)


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "UnrecognizedClientException", "SignatureDoesNotMatch"])
def test_answer_after_which_no_call_can_succeed_leaves_a_fatal_gap(code: str) -> None:
    gap = failed(refusal(code)).unknown_fact("what", "action")
    assert (gap.code, gap.denied, gap.fatal, gap.resource) == (code, False, True, "*")


@pytest.mark.parametrize("code", ["InvalidParameterException", "TooManyRequestsException", "ExpiredTokenException"])
def test_other_failures_leave_a_different_gap(code: str) -> None:
    gap = failed(refusal(code)).unknown_fact("what", "action")
    assert (gap.denied, gap.fatal) == (False, False)
