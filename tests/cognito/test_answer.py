"""The verdict for every error code that the service is known to give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.cognito.answer import HISTORY, Verdict, advice, classify

CODES = {
    Verdict.THROTTLED: [
        *("TooManyRequestsException", "ThrottlingException", "Throttling", "RequestLimitExceeded"),
        "LimitExceededException",
    ],
    Verdict.DOUBTFUL: ["InternalErrorException", "ServiceUnavailable"],
    Verdict.REFUSED: [
        *("UserNotFoundException", "InvalidPasswordException", "InvalidParameterException", "NotAuthorizedException"),
        *(HISTORY, "SomethingNewException"),
    ],
    Verdict.FATAL: [
        *("ResourceNotFoundException", "OperationNotEnabledException", "AccessDenied", "AccessDeniedException"),
        *("UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSignatureException"),
        *("OptInRequired", "SubscriptionRequired"),
    ],
    Verdict.EXPIRED: ["ExpiredToken", "ExpiredTokenException", "RequestExpired"],
}
TABLE = [(code, verdict) for verdict, codes in CODES.items() for code in codes]


@pytest.mark.parametrize(("code", "verdict"), TABLE)
def test_code_decides_at_the_usual_status(code: str, verdict: Verdict) -> None:
    assert classify(code, 400) is verdict


@pytest.mark.parametrize(("code", "verdict"), TABLE)
@pytest.mark.parametrize("status", [0, 200, 400, 403, 429, 500, 503])
def test_known_code_decides_at_any_status(code: str, verdict: Verdict, status: int) -> None:
    expected = {verdict}
    if verdict is Verdict.REFUSED and status >= 500:
        expected = {Verdict.DOUBTFUL}  # what a server says that has lost its way is no refusal
    assert classify(code, status) in expected


@pytest.mark.parametrize("code", ["", "400", "403", "413", "429", "500", "502", "503"])
@pytest.mark.parametrize("status", [0, 301, 400, 403, 429, 500, 503])
def test_answer_without_a_code_may_have_been_applied(code: str, status: int) -> None:
    assert classify(code, status) is Verdict.DOUBTFUL


@given(code=st.text(min_size=1), status=st.integers(500, 599))
def test_server_error_never_settles_a_row_for_good(code: str, status: int) -> None:
    assert classify(code, status) not in {Verdict.SET, Verdict.REFUSED}


@given(code=st.text(), status=st.integers(0, 599))
def test_no_error_answer_is_success(code: str, status: int) -> None:
    assert classify(code, status) is not Verdict.SET


def test_advice_names_the_call_and_what_comes_then() -> None:
    right = "Allow cognito-idp:{} on the user pool for these credentials, then {}."
    assert advice("AccessDenied") == right.format("AdminSetUserPassword", "resume")
    assert advice("AccessDenied", "ListUsers", "ask again") == right.format("ListUsers", "ask again")
    assert advice("SomethingNewException") == "Mend the cause, then resume."


@pytest.mark.parametrize("code", [*CODES[Verdict.FATAL], *CODES[Verdict.EXPIRED], "SSLError"])
def test_what_ends_a_run_has_its_own_advice(code: str) -> None:
    assert advice(code) != advice("SomethingNewException")
    assert advice(code).endswith(
        "." if code in {"ResourceNotFoundException", "OperationNotEnabledException"} else "resume."
    )
