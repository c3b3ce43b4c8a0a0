"""The disposition of every known error code of the service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.causes import advice_for, resume_helps
from bulkreset.cognito.response import HISTORY_VIOLATION, PASSWORD_REFUSALS, Disposition, classify

CODES = {
    Disposition.THROTTLED: [
        *("TooManyRequestsException", "ThrottlingException", "Throttling", "RequestLimitExceeded"),
        "LimitExceededException",
    ],
    Disposition.AMBIGUOUS: [
        *("InternalErrorException", "InternalError", "InternalFailure"),
        *("ServiceUnavailable", "ServiceUnavailableException"),
    ],
    Disposition.REFUSED: [
        *("UserNotFoundException", "InvalidPasswordException", "InvalidParameterException", "NotAuthorizedException"),
        *(HISTORY_VIOLATION, "SomethingNewException"),
    ],
    Disposition.FATAL: [
        *("ResourceNotFoundException", "AccessDenied", "AccessDeniedException"),
        *("UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSignatureException"),
        *("OptInRequired", "SubscriptionRequired", "NoCredentialsError", "PartialCredentialsError"),
        *("CredentialRetrievalError", "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSLError"),
    ],
    Disposition.PAUSED: ["OperationNotEnabledException"],
    Disposition.EXPIRED: ["ExpiredToken", "ExpiredTokenException", "RequestExpired"],
}
TABLE = [(code, verdict) for verdict, codes in CODES.items() for code in codes]


@pytest.mark.parametrize(("code", "verdict"), TABLE)
def test_code_decides_at_the_usual_status(code: str, verdict: Disposition) -> None:
    assert classify(code, 400) is verdict


@pytest.mark.parametrize(("code", "verdict"), TABLE)
@pytest.mark.parametrize("status", [0, 200, 400, 403, 429, 500, 503])
def test_known_code_decides_at_any_status(code: str, verdict: Disposition, status: int) -> None:
    expected = {verdict}
    if verdict is Disposition.REFUSED and status >= 500:
        expected = {Disposition.AMBIGUOUS}  # an error of the server is not a refusal
    assert classify(code, status) in expected


@pytest.mark.parametrize("code", ["", "400", "403", "413", "429", "500", "502", "503"])
@pytest.mark.parametrize("status", [0, 301, 400, 403, 429, 500, 503])
def test_answer_without_a_code_may_have_been_applied(code: str, status: int) -> None:
    assert classify(code, status) is Disposition.AMBIGUOUS


@given(code=st.text(min_size=1), status=st.integers(500, 599))
def test_server_error_never_settles_a_row_for_good(code: str, status: int) -> None:
    assert classify(code, status) not in {Disposition.DONE, Disposition.REFUSED}


@given(code=st.text(), status=st.integers(0, 599))
def test_no_error_answer_is_success(code: str, status: int) -> None:
    assert classify(code, status) is not Disposition.DONE


def test_advice_names_the_call_and_the_next_step() -> None:
    right = "Allow cognito-idp:{} on the user pool for these credentials, then {}."
    assert advice_for("AccessDenied") == right.format("AdminSetUserPassword", "resume")
    assert advice_for("AccessDenied", "ListUsers", "ask again") == right.format("ListUsers", "ask again")
    assert advice_for("SomethingNewException") == "Fix the cause, then resume."


ADVICE = {
    "Check the access key, its secret and the machine's clock, then resume.": [
        *("UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSignatureException"),
    ],
    "Sign in again or renew the credentials, then resume.": [
        *("ExpiredToken", "ExpiredTokenException", "NoCredentialsError", "PartialCredentialsError"),
        *("CredentialRetrievalError", "TokenRetrievalError", "UnauthorizedSSOTokenError"),
    ],
    "Set the machine's clock right or renew the credentials, then resume.": ["RequestExpired"],
    "Check the user pool ID, the Region and the account: a pool exists in one Region of one account. Fix the job, then"
    " start a new run of the rows that are not set.": ["ResourceNotFoundException"],
    "The pool accepts no writes now: a recovery is in progress, or this is a replica Region. Wait until the recovery is "
    "completed or cancelled, or use the pool's primary Region, then resume.": ["OperationNotEnabledException"],
    "Enable the Region or the service for this account, then resume.": ["OptInRequired"],
    "Enable the service for this account, then resume.": ["SubscriptionRequired"],
    "Check the host, and name its CA with AWS_CA_BUNDLE (run has --ca-bundle, too), then resume.": ["SSLError"],
}


@pytest.mark.parametrize(("said", "codes"), ADVICE.items())
def test_advice_fits_the_code(said: str, codes: list[str]) -> None:
    assert {advice_for(code) for code in codes} == {said}


def test_refusals_of_the_password_and_of_the_user_are_distinguished() -> None:
    assert {"InvalidPasswordException", "InvalidParameterException", HISTORY_VIOLATION} == PASSWORD_REFUSALS


@pytest.mark.parametrize("code", [*CODES[Disposition.FATAL], *CODES[Disposition.EXPIRED], *CODES[Disposition.PAUSED]])
def test_every_end_of_a_run_has_its_own_advice(code: str) -> None:
    assert advice_for(code) != advice_for("SomethingNewException")
    assert advice_for(code).endswith("then resume." if resume_helps(code) else "of the rows that are not set.")
