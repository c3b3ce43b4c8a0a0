"""The exception tree: each class with its published exit code."""

import inspect

import pytest

from bulkreset import errors
from bulkreset.errors import BulkresetError, Interrupted, ServiceError

EXIT_CODES = {
    "BulkresetError": 70,
    "Refused": 2,
    "JobError": 2,
    "InputError": 2,
    "TargetError": 2,
    "RunDirError": 2,
    "FleetError": 2,
    "ApprovalError": 2,
    "Stopped": 3,
    "GuardTripped": 3,
    "ServiceError": 3,
    "FleetLost": 3,
    "RecordError": 3,
    "Busy": 4,
    "TimeLimit": 5,
    "Bug": 70,
    "Interrupted": 130,
}
CLASSES = {
    name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__
}


def test_table_has_every_class() -> None:
    assert set(CLASSES) == set(EXIT_CODES)


@pytest.mark.parametrize("name", EXIT_CODES)
def test_class_has_its_exit_code_and_its_place_in_the_tree(name: str) -> None:
    kind = CLASSES[name]
    assert issubclass(kind, BulkresetError)
    error = ServiceError("X", "why") if kind is ServiceError else kind("why")
    assert error.exit_code == EXIT_CODES[name]
    assert name in (errors.__doc__ or "")


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (1, 129)])
def test_signal_is_in_the_exit_code(number: int, code: int) -> None:
    assert Interrupted("x", signal_number=number).exit_code == code


def test_sentence_is_what_happened_and_what_to_do() -> None:
    error = BulkresetError("It broke.", "Mend it.")
    assert (str(error), error.message, error.advice) == ("It broke. Mend it.", "It broke.", "Mend it.")
    assert str(BulkresetError("It broke.")) == "It broke."
    assert str(ServiceError("Code", "It broke.", "Mend it.")) == "It broke. Mend it."
