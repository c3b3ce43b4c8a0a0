"""The shared values: a Secret is never shown, and a message that repeats it is withheld."""

import copy
import dataclasses
import json
import logging
import pickle
import pprint
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.models import Outcome, RejectCode, Row, Secret, Status

PASSWORD = "Hunter-22"
NOTICE = "(the message repeated the password and was withheld)"
ROW = Row(1, "ann", Secret(PASSWORD), "eu-west-1_A", permanent=True)


def test_secret_is_revealed_only_when_asked() -> None:
    assert Secret(PASSWORD).reveal() == PASSWORD


@pytest.mark.parametrize(
    "value", [Secret(PASSWORD), ROW, [Secret(PASSWORD)], {"a": (Secret(PASSWORD), ROW)}], ids=range(4)
)
def test_secret_is_in_no_text(value: object) -> None:
    shown = [
        repr(value),
        str(value),
        f"{value} {value!s} {value!r} {value!a}",
        "%s %r" % (value, value),  # noqa: UP031  (the way logging does it)
        pprint.pformat(value),
        ascii(value),
        logging.LogRecord("x", 10, "x", 1, "%s", ({"a": value},), None).getMessage(),
    ]
    assert not [text for text in shown if "Hunter" in text]


@pytest.mark.parametrize("spec", ["", "20", ">40", "s"])
def test_secret_is_masked_in_every_format(spec: str) -> None:
    assert format(Secret(PASSWORD), spec) == "********"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_secret_is_never_pickled(protocol: int) -> None:
    for value in (Secret(PASSWORD), ROW):
        with pytest.raises(TypeError, match="never serialised"):
            pickle.dumps(value, protocol)


def test_secret_is_never_copied_or_iterated() -> None:
    secret = Secret(PASSWORD)
    for take in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never serialised"):
            take(secret)
    with pytest.raises(TypeError, match="never serialised"):
        dataclasses.asdict(ROW)
    with pytest.raises(TypeError):
        vars(secret)


def test_secret_is_not_json() -> None:
    with pytest.raises(TypeError) as caught:
        json.dumps({"password": Secret(PASSWORD)})
    assert "Hunter" not in str(caught.value)
    assert "Hunter" not in json.dumps({"password": Secret(PASSWORD)}, default=str)


def test_secret_is_in_no_traceback() -> None:
    def fail(secret: Secret) -> None:
        raise ValueError(secret, ROW)

    with pytest.raises(ValueError, match=r"\*\*\*") as caught:
        fail(Secret(PASSWORD))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "secret" in (shown.stack[-1].locals or {})
    assert "Hunter" not in f"{shown.stack[-1].locals} {shown} {caught.value!r}"


def test_secret_is_equal_to_nothing_else() -> None:
    other: object = PASSWORD
    assert Secret(PASSWORD) != other
    assert Secret(PASSWORD) != Secret(PASSWORD)


def test_secret_takes_no_attributes() -> None:
    with pytest.raises(AttributeError):
        Secret(PASSWORD).shown = True  # type: ignore[attr-defined]


PASSWORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
AROUND = st.text(max_size=20)


@given(password=PASSWORDS, before=AROUND, after=AROUND)
def test_message_that_repeats_the_password_is_withheld(password: str, before: str, after: str) -> None:
    spellings = [password, json.dumps(password)[1:-1], json.dumps(password, ensure_ascii=False)[1:-1]]
    for spelling in spellings:
        assert Secret(password).withhold(before + spelling + after) == NOTICE


@given(password=PASSWORDS, message=AROUND)
def test_other_message_is_passed_on(password: str, message: str) -> None:
    said = Secret(password).withhold(message)
    assert said == NOTICE or (said == message and password not in said)


def test_message_about_something_else_is_passed_on() -> None:
    assert (
        Secret(PASSWORD).withhold("Password must have uppercase characters")
        == "Password must have uppercase characters"
    )


def test_statuses_and_codes_are_the_reports_words() -> None:
    assert [status.value for status in Status] == (
        ["ready", "rejected", "skipped", "claimed", "set", "failed", "in_doubt", "unprocessed"]
    )
    assert {
        *("bad_value", "missing_username", "missing_password", "too_long", "unknown_pool"),
        *("password_whitespace", "password_policy", "duplicate_username"),
    } <= {code.value for code in RejectCode}


def test_values_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ROW.username = "bob"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Outcome(1, Status.SET).status = Status.FAILED  # type: ignore[misc]
