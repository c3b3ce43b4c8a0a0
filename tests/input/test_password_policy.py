"""The password policy: Cognito's rules, with the same result for one password and for a column."""

from uuid import UUID

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from moto.cognitoidp.exceptions import InvalidPasswordException
from moto.cognitoidp.models import CognitoIdpBackend, CognitoIdpUser, CognitoIdpUserPool, cognitoidp_backends

from bulkreset.input.password_policy import combine, describe, failed_rules, violation_mask
from bulkreset.job import PasswordPolicy

SYMBOLS = "^$*.[]{}()?\"!@#%&/\\,><':;|_~`=+-"
STRICT = PasswordPolicy(
    minimum_length=8, require_uppercase=True, require_lowercase=True, require_numbers=True, require_symbols=True
)

POLICIES = st.builds(
    PasswordPolicy,
    minimum_length=st.none() | st.integers(6, 99),
    require_uppercase=st.booleans(),
    require_lowercase=st.booleans(),
    require_numbers=st.booleans(),
    require_symbols=st.booleans(),
)
PASSWORDS = st.text(st.characters(codec="utf-8"), max_size=20) | st.text(
    st.sampled_from(" aZ5-_~\t\n\r\x00éÄ٣🚀ß\u00a0"), max_size=12
)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_each_symbol_of_the_services_list_counts(symbol: str) -> None:
    policy = PasswordPolicy(require_symbols=True)
    for password in (f"{symbol}Abcdef1", f"Abc{symbol}def1", f"Abcdef1{symbol}", symbol):
        assert failed_rules(policy, password) == []


@pytest.mark.parametrize("other", [*"€£§°¬¿¡«÷éßΩж王٣🚀", "\t", "\n", "\u00a0", "\u3000", "\x00", "\x7f"])
def test_no_other_character_counts_as_a_symbol(other: str) -> None:
    assert failed_rules(PasswordPolicy(require_symbols=True), f"Abc{other}def1") == ["a symbol"]


@pytest.mark.parametrize(
    ("password", "counts"),
    [("Abc def1", True), ("Abc  def1", True), ("a b", True), (" Abcdef1", False), ("Abcdef1 ", False), (" ", False)],
)
def test_space_counts_as_a_symbol_only_inside(password: str, *, counts: bool) -> None:
    assert failed_rules(PasswordPolicy(require_symbols=True), password) == ([] if counts else ["a symbol"])


@pytest.mark.parametrize(
    ("rule", "password", "words"),
    [
        ("require_uppercase", "éÉÀŻΩЖ-1a", "an upper-case letter (A-Z)"),
        ("require_uppercase", "\uff21\uff22-1a", "an upper-case letter (A-Z)"),
        ("require_uppercase", "\u0130\u212a-1a", "an upper-case letter (A-Z)"),
        ("require_lowercase", "ÉéàżωжS-1", "a lower-case letter (a-z)"),
        ("require_lowercase", "ß\u017f\u0131-1A", "a lower-case letter (a-z)"),
        ("require_numbers", "Abcdef-٣²½", "a digit (0-9)"),
        ("require_numbers", "Abcdef-\uff11", "a digit (0-9)"),
    ],
)
def test_letters_and_digits_are_basic_latin_only(rule: str, password: str, words: str) -> None:
    assert failed_rules(PasswordPolicy.model_validate({rule: True}), password) == [words]
    assert failed_rules(PasswordPolicy.model_validate({rule: True}), password + "aA1") == []


@pytest.mark.parametrize("length", [6, 8, 12, 99])
def test_minimum_length_counts_characters(length: int) -> None:
    policy = PasswordPolicy(minimum_length=length)
    for character in ("a", "é", "王", "\uffff"):
        assert failed_rules(policy, character * length) == []
        assert failed_rules(policy, character * (length - 1)) == [f"at least {length} characters"]


@pytest.mark.parametrize("length", [6, 8, 99])
def test_character_beyond_the_basic_plane_is_counted_as_the_service_may_count_it_at_most(length: int) -> None:
    policy = PasswordPolicy(minimum_length=length)
    enough = -(-length // 2)  # as UTF-16 units: each character is two
    for password in ("🚀" * length, "🚀" * enough, "🚀" + "a" * (length - 2), "a" * (length - 2) + "\U0001f680"):
        assert failed_rules(policy, password) == []
        assert not violation_mask(policy, pd.Series([password], dtype="str")).any()
    assert failed_rules(policy, "🚀" * (enough - 1)) == [f"at least {length} characters"]


# Passwords, and the rule of STRICT that Cognito says they violate ("": none).
CASES = {
    "Abcdef1!": "",
    "Abcdef1^": "",
    "Abcdef1~": "",
    "Abcd ef1": "",
    "A b1cdef": "",
    "AЖЖЖЖ1-aЖ": "",
    "ÄÖÜß1-aB": "",
    "Abcdef1€-": "",
    "Abc1-🚀🚀🚀": "",
    "Abcdef1€": "a symbol",
    "Abcdef1§": "a symbol",
    "Abcdef1\u00a0x": "a symbol",
    "Abc1-🚀": "at least 8 characters",
    "Abcde1-": "at least 8 characters",
    "ÄÖabcde1-": "an upper-case letter (A-Z)",
    "жжжABCD1-": "a lower-case letter (a-z)",
    "Abcdefg-": "a digit (0-9)",
    "Abcdefg-٣": "a digit (0-9)",
    "Aa1-" * 64: "",
}


@pytest.mark.parametrize("password", CASES)
def test_password_is_judged_as_the_service_does(password: str) -> None:
    assert failed_rules(STRICT, password) == ([CASES[password]] if CASES[password] else [])


def test_only_failed_rules_are_named() -> None:
    words = ["an upper-case letter (A-Z)", "a lower-case letter (a-z)", "a digit (0-9)", "a symbol"]
    assert failed_rules(STRICT, "ж") == ["at least 8 characters", *words]
    assert failed_rules(STRICT, "Пароль-Aa1") == []
    assert failed_rules(STRICT, "password-1") == words[:1]
    assert failed_rules(STRICT, "Aa1-" * 64) == []


def test_without_a_policy_nothing_is_checked() -> None:
    assert failed_rules(PasswordPolicy(), "") == []
    assert not violation_mask(PasswordPolicy(), pd.Series(["", "a"], dtype="str")).any()


@given(policy=POLICIES, passwords=st.lists(PASSWORDS, min_size=1, max_size=8))
@example(policy=STRICT, passwords=["Aa1-aaaa\n", "\nAa1 aaaa", "Aa1\n \naaaa", "a\x00 \x00B1aaa"])
def test_a_column_is_judged_as_each_of_its_passwords(policy: PasswordPolicy, passwords: list[str]) -> None:
    column = pd.Series(passwords, dtype="str")
    assert violation_mask(policy, column).tolist() == [bool(failed_rules(policy, password)) for password in passwords]


# Parts of a password that meet each rule, and parts that meet none.
MEETS = {
    "require_uppercase": (st.sampled_from("ABCXYZ"), "an upper-case letter (A-Z)"),
    "require_lowercase": (st.sampled_from("abcxyz"), "a lower-case letter (a-z)"),
    "require_numbers": (st.sampled_from("0123456789"), "a digit (0-9)"),
    "require_symbols": (st.sampled_from(SYMBOLS), "a symbol"),
}
MEETS_NOTHING = st.sampled_from("éÄßΩжЖ王٣½€§°ⅷＡａ１")


@st.composite
def policy_and_password(draw: st.DrawFn) -> tuple[PasswordPolicy, str, list[str]]:
    """A policy, a password, and the rules of the policy that it violates."""
    asked = {rule: draw(st.booleans()) for rule in MEETS}
    met = {rule: draw(st.booleans()) for rule in MEETS}
    parts = [draw(st.lists(part, min_size=1, max_size=4)) for rule, (part, _) in MEETS.items() if met[rule]]
    letters = [letter for part in parts for letter in part] + draw(st.lists(MEETS_NOTHING, max_size=12))
    password = "".join(draw(st.permutations(letters)))
    shortest = draw(st.none() | st.integers(6, 99) | st.sampled_from([max(6, len(password) + more) for more in (0, 1)]))
    missing = [words for rule, (_, words) in MEETS.items() if asked[rule] and not met[rule]]
    if shortest is not None and len(password) < shortest:
        missing.insert(0, f"at least {shortest} characters")
    return PasswordPolicy.model_validate({"minimum_length": shortest, **asked}), password, missing


@given(case=policy_and_password())
def test_passwords_on_both_sides_of_every_rule_have_each_unmet_one_named(
    case: tuple[PasswordPolicy, str, list[str]],
) -> None:
    policy, password, missing = case
    assert failed_rules(policy, password) == missing
    assert violation_mask(policy, pd.Series([password], dtype="str")).tolist() == [bool(missing)]


@given(case=policy_and_password(), salt=st.uuids())
def test_message_about_a_password_never_contains_it(case: tuple[PasswordPolicy, str, list[str]], salt: UUID) -> None:
    policy, password, _ = case
    core = f"{password}{salt.hex[:4]}"
    assert core not in ", ".join(failed_rules(policy, core))


@given(one=POLICIES, other=POLICIES, password=PASSWORDS)
def test_stricter_policy_has_the_rules_of_both(one: PasswordPolicy, other: PasswordPolicy, password: str) -> None:
    both = combine(one, other)
    met = not failed_rules(one, password) and not failed_rules(other, password)
    assert (not failed_rules(both, password)) is met
    assert combine(other, one) == both
    assert combine(both, one) == both


def test_unknown_policy_requires_nothing() -> None:
    assert combine(STRICT, None) is STRICT
    assert combine(STRICT, PasswordPolicy()) == STRICT
    assert combine(PasswordPolicy(), PasswordPolicy.model_construct(minimum_length=128)).minimum_length == 128


@pytest.fixture(scope="module")
def pool() -> CognitoIdpUserPool:
    """A pool of moto with one user. moto implements a part of the policy."""
    backend: CognitoIdpBackend = cognitoidp_backends["123456789012"]["us-east-1"]
    pool = backend.create_user_pool("compared", {"Policies": {"PasswordPolicy": {}}})
    pool.users["ann"] = CognitoIdpUser(pool.id, "ann", None, "CONFIRMED", [])
    return pool


@given(policy=POLICIES, password=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40))
def test_moto_agrees_on_the_rules_that_it_models(
    pool: CognitoIdpUserPool, policy: PasswordPolicy, password: str
) -> None:
    # moto accepts any digit and any space, and nothing of 99 characters or more, so these are left out.
    pool.extended_config["Policies"]["PasswordPolicy"] = {
        "MinimumLength": policy.minimum_length or 0,
        "RequireUppercase": policy.require_uppercase,
        "RequireLowercase": policy.require_lowercase,
        "RequireNumbers": policy.require_numbers,
        "RequireSymbols": policy.require_symbols,
    }
    try:
        cognitoidp_backends["123456789012"]["us-east-1"].admin_set_user_password(
            pool.id, "ann", password, permanent=True
        )
        accepted = True
    except InvalidPasswordException:
        accepted = False
    assert accepted == (not failed_rules(policy, password))


@pytest.mark.parametrize("switch", ["require_uppercase", "require_lowercase", "require_numbers", "require_symbols"])
@pytest.mark.parametrize("length", [None, 8])
def test_policy_is_the_same_after_the_way_through_cognitos_names(switch: str, length: int | None) -> None:
    policy = PasswordPolicy.model_validate({"minimum_length": length, switch: True})
    rules = policy.to_cognito()
    assert rules[switch.title().replace("_", "")] is True
    assert rules.get("MinimumLength") == length
    assert PasswordPolicy.from_cognito(rules) == policy


def test_policy_is_described_in_short_words() -> None:
    policy = PasswordPolicy(minimum_length=8, require_uppercase=True, require_symbols=True)
    assert describe(policy) == "8 characters, an upper-case letter, a symbol"
    assert describe(PasswordPolicy()) == ""
