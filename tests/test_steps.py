"""The table of the steps, compared with the API's own model and with all code that has a field for each step."""

from dataclasses import fields
from typing import Any

import pytest

from bulkreset.cognito.emulator import STEP_ANSWERS
from bulkreset.job.job import AfterConfig
from bulkreset.models import ReportRow, Summary
from bulkreset.plan.preflight_text import LABEL
from bulkreset.send.operations import TakeStep
from bulkreset.steps import BY_COLUMN, CALLS, COLUMNS, STEPS, Step
from tests.cognito.conftest import POOL
from tests.sim.model import answer_faults, operation_model, request_faults
from tests.sim.operations import OPERATIONS, WRITES

USER = {"UserPoolId": POOL, "Username": "ann"}
each_step = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())


def members(call: str, *, of_answer: bool) -> dict[str, Any]:
    """Return the fields of a request or an answer."""
    model = operation_model(call)
    assert model is not None
    shape = model.output_shape if of_answer else model.input_shape
    return dict(shape.members) if shape else {}


@each_step
def test_requests_have_the_fields_of_the_model(step: Step) -> None:
    item = {}
    if listing := step.listing:
        assert request_faults(listing.call, {**USER, **listing.parameters, listing.token: "x"}) == []
        answer = members(listing.call, of_answer=True)
        assert {listing.items, listing.token} == answer.keys()
        assert listing.key in answer[listing.items].member.members
        item = {listing.key: "x" * 28}
    assert request_faults(step.call, {**USER, **step.parameters, **item}) == []
    assert members(step.call, of_answer=False).keys() == {*USER, *step.parameters, *item}


@each_step
def test_code_for_missing_items_is_in_the_model(step: Step) -> None:
    model = operation_model(step.call)
    assert model is not None
    assert step.gone <= {shape.name for shape in model.error_shapes}


@each_step
def test_every_output_that_shows_steps_has_each_step(step: Step) -> None:
    assert step.column in ReportRow._fields
    assert step.column in {field.name for field in fields(Summary)}
    assert step.name in AfterConfig.model_fields
    assert BY_COLUMN[step.column] is step
    assert TakeStep(step, {}).call == step.call
    assert len(step.label) < LABEL


def test_no_key_of_the_job_is_without_a_step_and_the_report_has_them_in_their_order() -> None:
    assert AfterConfig.model_fields.keys() == STEPS.keys()
    first = ReportRow._fields.index(COLUMNS[0])
    assert ReportRow._fields[first : first + len(COLUMNS)] == COLUMNS


def test_simulator_and_emulator_know_every_call() -> None:
    assert set(CALLS) <= OPERATIONS.keys()
    assert {step.call for step in STEPS.values()} <= WRITES
    # moto implements the sign-out itself.
    assert STEP_ANSWERS.keys() == set(CALLS) - {"AdminUserGlobalSignOut"}


@pytest.mark.parametrize("call", STEP_ANSWERS)
def test_answers_of_the_emulator_have_the_fields_of_the_model(call: str) -> None:
    assert answer_faults(call, STEP_ANSWERS[call]) == []
