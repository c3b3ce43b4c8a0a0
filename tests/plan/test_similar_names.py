"""Near misses: causes from the name, causes from the pool's list, and only for rows without a user."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from bulkreset.plan.similar_names import (
    AND_FOUND,
    EXTRA_PLUS,
    NO_PLUS,
    OTHER_CASE,
    OTHER_FORM,
    found_cause,
    near_key,
    written_cause,
)
from bulkreset.plan.user_store import UserMatch, UserStore
from tests.journal.journals import POOL

ADA = "ada@example.com"
NFC = "renée@example.com"
NFD = unicodedata.normalize("NFD", NFC)
PHONE = "+491512345678"
WRITTEN = {
    "4.91512E+11": "it looks like a number that a spreadsheet has rounded",
    "4,91512E+11": "it looks like a number that a spreadsheet has rounded",
    "1.23457e+11": "it looks like a number that a spreadsheet has rounded",
    "ada%40example.com": "it is escaped as in a URL, such as %40 for @",
    f"mailto:{ADA}": "it begins with mailto: or tel:",
    "DOMAIN\\ada": "it has a Windows domain in front, as in DOMAIN\\name",
    f'"{ADA}"': "it has quotes or brackets around it",
    f"'{ADA}'": "it has quotes or brackets around it",
    f"“{ADA}”": "it has quotes or brackets around it",
    f"<{ADA}>": "it has quotes or brackets around it",
    f"Ada Lovelace <{ADA}>": "it has a person's name beside the address, as in Ann <ann@example.com>",
    "o&#39;brien": "it has an HTML escape such as &amp;",
    **dict.fromkeys(
        ("+49 151 2345678", "+49-(0)151/234.56", "00491512345678", "0049 151 2345678"),
        "it is a phone number with blanks or signs in it, or with 00 for the plus",
    ),
    "491512345678.0": "it looks like a number with .0 at the end",
}


def causes(folder: Path, names: Sequence[str], users: Sequence[str], *, swept: bool = True) -> dict[str, str]:
    """Return the cause found for each name, after a sweep that found these users."""
    with UserStore(folder / "users.sqlite") as store:
        store.fill(((row, POOL, name) for row, name in enumerate(names, 1)), lambda _pool, name: name)
        if swept:
            store.begin_sweep(POOL, ["*"])
            store.store_page(POOL, "*", [UserMatch((user,), user, "CONFIRMED", "") for user in users], None)
        store.mark_unlisted(POOL)
        found = {names[one.row - 1]: one.cause for one in store.findings()}
        store.discard()
    return found


@pytest.mark.parametrize(("name", "cause"), WRITTEN.items())
def test_cause_is_found_from_the_name(tmp_path: Path, name: str, cause: str) -> None:
    assert written_cause(name) == cause
    assert causes(tmp_path, [name], ["someone-else"], swept=False) == {name: cause}


@pytest.mark.parametrize("name", [ADA, "ann", PHONE, "o'brien", "1234", "50%", "a'b'", "E+1", "王🚀", "x.0", "''"])
def test_plain_name_shows_nothing(name: str) -> None:
    assert written_cause(name) == ""


@pytest.mark.parametrize(
    ("name", "user", "cause"),
    [
        ("Ada@Example.com", ADA, OTHER_CASE),
        (ADA, "Ada@Example.com", OTHER_CASE),
        ("ADA@example.com", "Ada@Example.com", OTHER_CASE),
        (NFD, NFC, OTHER_FORM),
        (NFC, NFD, OTHER_FORM),
        (PHONE[1:], PHONE, NO_PLUS),
        (PHONE, PHONE[1:], EXTRA_PLUS),
        *((name, ADA, cause + AND_FOUND) for name, cause in WRITTEN.items() if ADA in name),
        ("ada%40example.com", ADA, WRITTEN["ada%40example.com"] + AND_FOUND),
        ("DOMAIN\\ada", "ada", WRITTEN["DOMAIN\\ada"] + AND_FOUND),
        ("491512345678.0", PHONE, WRITTEN["491512345678.0"] + AND_FOUND),
    ],
)
def test_list_of_the_pool_shows_the_cause(tmp_path: Path, name: str, user: str, cause: str) -> None:
    assert near_key(name) == near_key(user)
    assert found_cause(name, user) == cause
    assert causes(tmp_path, [name, "nobody"], [user, "someone-else"]) == {name: cause, "nobody": ""}


def test_row_with_a_user_has_no_cause(tmp_path: Path) -> None:
    assert causes(tmp_path, ["Ada", "ada%40x"], ["ada", "Ada", "ada@x", "ada%40x"]) == {"Ada": "", "ada%40x": ""}


def test_keys_are_kept_of_names_that_differ_from_them_and_deleted_after_the_sweep(tmp_path: Path) -> None:
    with UserStore(tmp_path / "users.sqlite") as store:
        names = [ADA, "Bob", PHONE]
        store.fill(((row, POOL, name) for row, name in enumerate(names, 1)), lambda _pool, name: name)
        kept = store._db.execute("SELECT name FROM near").fetchall()
        store.mark_unlisted(POOL)
        left = store._db.execute("SELECT count(*) FROM near").fetchone()
    assert (kept, left) == ([("Bob",)], (0,))


def test_cause_shows_no_name_of_another_user(tmp_path: Path) -> None:
    found = causes(tmp_path, ["SECRET-USER"], ["secret-user"])
    assert "secret" not in found["SECRET-USER"].casefold()


@pytest.mark.parametrize(
    ("name", "users"),
    [(f"Ada <{ADA}>", ADA), ("o&#39;brien", "o'brien"), ("+49 151-2345678", PHONE), ("00491512345678", PHONE)],
)
def test_name_that_a_program_has_written_otherwise_has_the_key_of_the_user(name: str, users: str) -> None:
    assert near_key(name) == near_key(users)
    assert found_cause(name, users).endswith(AND_FOUND)
