"""The advice: every code that a report may hold has a sentence of its own."""

import pytest

from bulkreset.cognito import boto3_transport, response, response_parser
from bulkreset.models import RejectCode, SkipReason, Status
from bulkreset.report.advice import next_step

OF_THE_SERVICE = {
    *(
        response._THROTTLED
        | response._DOUBTFUL
        | response._EXPIRED
        | response.PASSWORD_REFUSALS
        | response._ADVICE.keys()
    ),
    *(kind.__name__ for kind in (*boto3_transport.UNSENT, *response_parser.NO_CREDENTIALS)),
    *("UserNotFoundException", "NotAuthorizedException", "UnreadableResponse", "ReadTimeoutError"),
}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((Status.REJECTED, code.value) for code in RejectCode),
        *((Status.SKIPPED, kind.value) for kind in SkipReason),
        *((Status.FAILED, code) for code in sorted(OF_THE_SERVICE)),
    ],
)
def test_every_code_has_its_sentence(status: Status, code: str) -> None:
    said = next_step(status, code)
    assert said != next_step(Status.FAILED, "SomethingNewException")
    assert said.endswith(".")
    assert not {"{", "}"} & set(said)


def test_advice_goes_by_the_status_where_that_says_more() -> None:
    assert next_step("in_doubt", "").startswith("Resume")
    assert "not signed out" in next_step("set", "AccessDeniedException")
    assert "Read the message" in next_step("failed", "SomethingNewException")
