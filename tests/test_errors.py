"""The exception tree: each class with its published exit code."""

import inspect

import pytest

from bulkreset import errors
from bulkreset.errors import BulkresetError, Interrupted, ServiceError, error_from_summary

EXIT_CODES = {
    "BulkresetError": 70,
    "Refused": 2,
    "JobError": 2,
    "InputError": 2,
    "TargetError": 2,
    "RunDirError": 2,
    "ClusterError": 2,
    "ApprovalError": 2,
    "Stopped": 3,
    "GuardTripped": 3,
    "ServiceError": 3,
    "ClusterLost": 3,
    "RecordError": 3,
    "Busy": 4,
    "TimeLimit": 5,
    "RowLimit": 5,
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
    error = BulkresetError("It broke.", "Fix it.")
    assert (str(error), error.message, error.advice) == ("It broke. Fix it.", "It broke.", "Fix it.")
    assert str(BulkresetError("It broke.")) == "It broke."
    assert str(ServiceError("Code", "It broke.", "Fix it.")) == "It broke. Fix it."


@pytest.mark.parametrize("name", sorted(set(EXIT_CODES) - {"BulkresetError", "ServiceError", "Interrupted"}))
def test_summary_tells_of_the_same_error(name: str) -> None:
    error = error_from_summary(EXIT_CODES[name], name, "It broke.", "Fix it.")
    assert (type(error), error.exit_code) == (CLASSES[name], EXIT_CODES[name])
    assert str(error) == "It broke. Fix it."


@pytest.mark.parametrize(
    ("exit_code", "code", "name"),
    [
        (3, "AccessDeniedException", "ServiceError"),
        (3, "Busy", "ServiceError"),
        (143, "Interrupted", "Interrupted"),
        (130, "GuardTripped", "Interrupted"),
        (2, "Unheard", "Refused"),
        (4, "Unheard", "Busy"),
        (5, "Unheard", "TimeLimit"),
        (70, "Unheard", "Bug"),
    ],
)
def test_summary_that_names_no_class_tells_by_its_exit_code(exit_code: int, code: str, name: str) -> None:
    error = error_from_summary(exit_code, code, "It broke.", "")
    assert (type(error), error.exit_code) == (CLASSES[name], exit_code)
    assert not isinstance(error, ServiceError) or error.code == code
