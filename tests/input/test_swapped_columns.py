"""Swapped columns: passwords that look like names are refused, and nothing else is."""

import uuid
from collections.abc import Sequence

import pytest

from bulkreset.errors import InputError
from bulkreset.input.batch import RowBatch
from bulkreset.input.swapped_columns import SAMPLE_ROWS, require_not_swapped
from bulkreset.job import InputConfig

MAILS = [f"ann.{number}@mail.example.com" for number in range(20)]
PHONES = [f"+4930123{number:04d}" for number in range(20)]
SUBS = [str(uuid.UUID(int=number)) for number in range(20)]
PASSWORDS = [f"Quiet-Garden.{number:03d}" for number in range(20)]


def check(names: Sequence[str], passwords: Sequence[str], first: int = 1, **keys: object) -> None:
    spec = InputConfig.model_validate({"path": "in.csv", "columns": {"username": "u", "password": "p"}} | keys)
    require_not_swapped(spec, RowBatch(first, {"username": list(names), "password": list(passwords)}))


@pytest.mark.parametrize("names", [MAILS, PHONES, SUBS, [*MAILS[:6], *PHONES[:6], *SUBS[:8]]])
def test_passwords_that_are_names_are_refused(names: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        check(PASSWORDS, names)
    assert str(caught.value).startswith("The column 'p' of the input ")
    assert "the column 'u' has none: they seem to be swapped. Correct the header" in str(caught.value)
    assert not any(value in str(caught.value) for value in (*PASSWORDS, *names))
    check(PASSWORDS, names, passwords_may_be_names=True)
    check(names, PASSWORDS)
    check(names, names)


def test_few_other_values_do_not_hide_it() -> None:
    with pytest.raises(InputError):
        check([*PASSWORDS[:19], "a@b.example"], [*MAILS[:18], "", "Quiet-Garden.1"])


@pytest.mark.parametrize(
    "passwords",
    [
        PASSWORDS,
        [f"{number:08d}" for number in range(20)],  # digits, but not phone numbers
        [f"P@ss.word{number}" for number in range(20)],
        [*MAILS[:10], *PASSWORDS[:10]],
        [""] * 20,
    ],
)
def test_other_passwords_are_taken(passwords: list[str]) -> None:
    check([f"user.{number}" for number in range(20)], passwords)


def test_only_the_first_rows_are_looked_at() -> None:
    names = ["user"] * SAMPLE_ROWS
    check([*names, *PASSWORDS], [*names, *MAILS], first=20_001)
    with pytest.raises(InputError):
        check([*names, *MAILS], ["a@b.example"] * SAMPLE_ROWS + PASSWORDS, first=20_001)
