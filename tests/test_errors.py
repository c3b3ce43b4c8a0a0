"""The exception tree: each class with its published exit code."""

import inspect

import pytest

from bulkreset import errors
from bulkreset.errors import BulkresetError, Interrupted, ServiceError, StoppedBy

EXIT_CODES = {
    "BulkresetError": 70,
    "Refused": 2,
    "JobError": 2,
    "InputError": 2,
    "EmptyInput": 2,
    "TargetError": 2,
    "RunDirError": 2,
    "ClusterError": 2,
    "ApprovalError": 2,
    "Stopped": 3,
    "GuardTripped": 3,
    "NotConfirmed": 3,
    "ServiceError": 3,
    "ClusterLost": 3,
    "RecordError": 3,
    "Busy": 4,
    "TimeLimit": 5,
    "RowLimit": 5,
    "WavePause": 5,
    "Bug": 70,
    "Interrupted": 130,
}
CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__ and issubclass(kind, BulkresetError)
}


def test_table_has_every_class() -> None:
    assert set(CLASSES) == set(EXIT_CODES)


@pytest.mark.parametrize("name", EXIT_CODES)
def test_class_has_its_exit_code_and_its_base_class(name: str) -> None:
    kind = CLASSES[name]
    assert issubclass(kind, BulkresetError)
    error = ServiceError("X", "why") if kind is ServiceError else kind("why")
    assert error.exit_code == EXIT_CODES[name]
    assert name in (errors.__doc__ or "")


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (1, 129)])
def test_signal_is_in_the_exit_code(number: int, code: int) -> None:
    assert Interrupted("x", signal_number=number).exit_code == code


def test_sentence_gives_the_cause_and_the_next_step() -> None:
    error = BulkresetError("It broke.", "Fix it.")
    assert (str(error), error.message, error.advice) == ("It broke. Fix it.", "It broke.", "Fix it.")
    assert str(BulkresetError("It broke.")) == "It broke."
    assert str(ServiceError("Code", "It broke.", "Fix it.")) == "It broke. Fix it."


@pytest.mark.parametrize("name", sorted(set(EXIT_CODES) - {"BulkresetError", "ServiceError", "Interrupted"}))
def test_error_as_a_value_has_its_class_and_its_exit_code(name: str) -> None:
    assert CLASSES[name]("It broke.", "Fix it.").describe() == StoppedBy(
        name, name, "It broke.", "Fix it.", EXIT_CODES[name]
    )


def test_error_as_a_value_has_the_services_code_and_the_signal() -> None:
    assert ServiceError("Denied", "It broke.").describe() == StoppedBy("ServiceError", "Denied", "It broke.", "", 3)
    assert Interrupted("Left.", signal_number=15).describe() == StoppedBy(
        "Interrupted", "Interrupted", "Left.", "", 143
    )
