"""The advice: one table with a sentence for every code of a report."""

import re
from pathlib import Path

import pytest

from bulkreset import causes
from bulkreset.cognito import http_errors, response, response_parser
from bulkreset.models import RejectCode, SkipReason, Status
from bulkreset.statuses import next_step

ALL = {**causes.PLAN, **causes.FAILED, **causes.IN_DOUBT, **causes.FATAL, **causes.STOPS, "step": causes.STEP}
OF_THE_SERVICE = {
    *causes.THROTTLED,
    *(response._EXPIRED | response.PASSWORD_REFUSALS | causes.FATAL.keys()),
    *(kind.__name__ for kind in (*http_errors.UNSENT, *response_parser.NO_CREDENTIALS)),
    *("UserNotFoundException", "NotAuthorizedException"),
}
RUNBOOK = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")


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
    assert said not in {next_step(status, "SomethingNew"), next_step(Status.FAILED, "SomethingNewException")}
    assert said.endswith(".")
    assert not {"{", "}"} & set(said)


def test_advice_depends_on_the_status_if_that_says_more() -> None:
    assert next_step("in_doubt", "").startswith("Resume")
    assert next_step("in_doubt", causes.HISTORY_VIOLATION) != next_step("failed", causes.HISTORY_VIOLATION)
    assert "resume" in next_step("in_doubt", causes.HISTORY_VIOLATION)
    assert next_step("in_doubt", "UserNotFoundException") == next_step("in_doubt", "ReadTimeoutError")
    assert "a step after it failed" in next_step("set", "AccessDeniedException")
    assert "See the message" in next_step("failed", "SomethingNewException")
    assert next_step("failed", "AccessDenied").endswith("then resume with --failed.")
    assert next_step("unprocessed", "") == Status.UNPROCESSED.facts.advice


SENTENCES = {name: causes.advice_for(name) if name in causes.FATAL else cause.advice for name, cause in ALL.items()}


@pytest.mark.parametrize(("cause", "advice"), [*SENTENCES.items()])
def test_a_new_run_is_always_one_of_the_rows_that_are_not_set(cause: str, advice: str) -> None:
    assert advice.endswith("."), cause
    for rest in re.split("a new run", advice)[1:]:
        assert rest.startswith(f" {causes.NOT_SET}"), cause


def test_the_runbook_never_advises_to_send_every_row_again() -> None:
    cells = [line for line in RUNBOOK.splitlines() if line.startswith("|")]
    assert len(cells) > 50
    for line in cells:
        for rest in re.split("a new run", line)[1:]:
            assert rest.replace("`", "").startswith(f" {causes.NOT_SET}"), line


def test_the_runbook_has_the_advice_of_every_cause_word_for_word() -> None:
    for cause, advice in SENTENCES.items():
        lines = [line.replace("`", "") for line in RUNBOOK.splitlines() if line.startswith("|")]
        assert [line for line in lines if advice in line] or cause in {"step", *_BY_EXIT_CODE}, cause
        if cause in {*causes.PLAN, *causes.FAILED, *causes.IN_DOUBT, *causes.FATAL}:
            assert sum(1 for line in lines if re.match(rf"\|[^|]*\b{cause}\b[^|]*\| {re.escape(advice)}", line)) == 1


_BY_EXIT_CODE = {"time_limit", "row_limit", "interrupted", "not_confirmed"}  # these are in the table by exit code


def test_only_a_wrong_job_cannot_be_resumed() -> None:
    assert {code for code in ALL if not causes.resume_helps(code)} == {"ResourceNotFoundException"}
    for code, cause in causes.FATAL.items():
        assert cause.advice.endswith("then {then}."), code
        assert causes.advice_for(code).endswith("then resume.") is cause.resume_helps, code
