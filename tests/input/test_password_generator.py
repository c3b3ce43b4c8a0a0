"""Generated passwords: they meet any policy with a margin, differ, and are readable if people type them."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.input.password_generator import OF_EACH, PasswordGenerator
from bulkreset.input.password_policy import failed_rules
from bulkreset.job import PasswordPolicy

POOL = "eu-west-1_Here00001"
KINDS = (string.ascii_uppercase, string.ascii_lowercase, string.digits)
LOOK_ALIKE = "0OoQ1lI|5S2Z8B"

policies = st.builds(
    PasswordPolicy,
    minimum_length=st.none() | st.integers(6, 99),
    require_uppercase=st.booleans(),
    require_lowercase=st.booleans(),
    require_numbers=st.booleans(),
    require_symbols=st.booleans(),
)


def made(policy: PasswordPolicy = PasswordPolicy(), length: int = 24, *, permanent: bool = True) -> str:  # noqa: B008  (frozen)
    """Return one password."""
    return PasswordGenerator({POOL: policy}, length).make(POOL, permanent=permanent).reveal()


@given(policies, st.integers(12, 64), st.booleans())
def test_any_policy_is_met_with_margin(policy: PasswordPolicy, length: int, permanent: bool) -> None:  # noqa: FBT001  (given)
    password = made(policy, length, permanent=permanent)
    assert failed_rules(policy, password) == []
    assert length <= len(password) <= 101
    for kind in KINDS:
        assert sum(character in kind for character in password) >= OF_EACH
    assert sum(not character.isalnum() for character in password) >= OF_EACH


@given(st.booleans())
def test_content_is_safe_for_spreadsheets_mail_merges_and_shells(permanent: bool) -> None:  # noqa: FBT001  (given)
    password = made(permanent=permanent)
    assert password[0].isalpha()
    assert password.isascii()
    assert password.isprintable()
    assert not set(password) & set(" ,;\"'\\`$&<>|(){}[]")


def test_typed_passwords_have_no_look_alikes() -> None:
    typed = "".join(made(permanent=False) for _ in range(200))
    assert not set(typed) & set(LOOK_ALIKE)


def test_every_allowed_character_is_generated() -> None:
    kept = set("".join(made() for _ in range(500)))
    assert kept >= set(string.ascii_letters + string.digits)


def test_no_two_are_alike() -> None:
    generator = PasswordGenerator({POOL: PasswordPolicy()}, 12)
    passwords = [generator.make(POOL, permanent=False).reveal() for _ in range(4000)]
    assert len(set(passwords)) == len(passwords)


@pytest.mark.parametrize(("minimum", "length", "expected"), [(None, 24, 24), (24, 24, 26), (40, 24, 42), (99, 12, 101)])
def test_length_leaves_room_above_the_pool_s_minimum(minimum: int | None, length: int, expected: int) -> None:
    assert len(made(PasswordPolicy(minimum_length=minimum), length)) == expected
