"""Explains why a name is close to a user's name but not equal: an export changed it, or case matters."""

import html
import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import unquote

ABSENT_USER = "no user with this name in the "  # first words of the message on a row without a user
NOT_FOUND = f"{ABSENT_USER}pool"
NOT_LISTED = f"{ABSENT_USER}list of the pool; the name was not looked up by itself"
OTHER_CASE = "the pool has it in another case, and compares case"
OTHER_FORM = "the pool has it in another Unicode form (NFC or NFD)"
NO_PLUS = "the pool has it with a plus in front"
EXTRA_PLUS = "the pool has it without the plus"
SIMILAR = "the pool has nearly the same name"
AND_FOUND = ", and the pool has it without"  # after a cause of _WRITTEN

# Causes that the name alone shows, with their text.
_WRITTEN: Mapping[str, re.Pattern[str]] = {
    "it looks like a number that a spreadsheet has rounded": re.compile(r"[+-]?\d+(?:[.,]\d+)?[Ee]\+?\d+"),
    "it looks like a number with .0 at the end": re.compile(r"\+?\d+[.,]0+"),
    "it has a person's name beside the address, as in Ann <ann@example.com>": re.compile(
        r".*[^<\s].*<[^<>]+@[^<>]+>", re.DOTALL
    ),
    "it is a phone number with blanks or signs in it, or with 00 for the plus": re.compile(
        r"(?=(?:\D*\d){7})(?:\+|\(|00)[\d\s()./-]*[\s()./-][\d\s()./-]*|00[1-9]\d{6,14}"
    ),
    "it has an HTML escape such as &amp;": re.compile(
        r".*&(?:amp|lt|gt|quot|apos|#x?[0-9a-f]+);.*", re.DOTALL | re.IGNORECASE
    ),
    "it has quotes or brackets around it": re.compile(
        "\".+\"|'.+'|`.+`|<.+>|[\u201c\u201e\u201d\u00ab\u00bb].+[\u201c\u201d\u00ab\u00bb]|[\u2018\u201a\u2019].+[\u2018\u2019]",
        re.DOTALL,
    ),
    "it begins with mailto: or tel:": re.compile(r"(?:mailto|tel):.+", re.IGNORECASE | re.DOTALL),
    "it has a Windows domain in front, as in DOMAIN\\name": re.compile(r"[^\\@]+\\.+", re.DOTALL),
    "it is escaped as in a URL, such as %40 for @": re.compile(r".*%[0-9A-Fa-f]{2}.*", re.DOTALL),
}
_PREFIX = re.compile(r"(?:mailto|tel):|[^\\@]+\\", re.IGNORECASE)
_QUOTES = "\"'`<>\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
_BESIDE = re.compile(r".*<([^<>]+@[^<>]+)>", re.DOTALL).fullmatch
_WRITTEN_PHONE = re.compile(r"(?:\+|\(|00)[\d\s()./-]{7,}").fullmatch
_PHONE = re.compile(r"[1-9]\d{6,14}").fullmatch
_DECIMALS = re.compile(r"(\+?\d+)[.,]0+").fullmatch
# Most names are their own key, so this is the fast path.
_IS_KEY = re.compile(r"[a-z0-9._+-]*[a-z_@][a-z0-9._@+-]*|\+\d+").fullmatch


def near_key(name: str) -> str:
    """Return a key that a name shares with names that are nearly equal."""
    if _IS_KEY(name):
        return name
    key = unquote(html.unescape(name))
    if beside := _BESIDE(key):
        key = beside[1]
    if _WRITTEN_PHONE(key):
        key = re.sub(r"^00", "+", re.sub(r"[\s()./-]", "", key))
    key = _PREFIX.sub("", key.strip(_QUOTES), count=1).strip(_QUOTES)
    if decimals := _DECIMALS(key):
        key = decimals[1]
    if _PHONE(key):
        key = f"+{key}"
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", key).casefold()) or name


def written_cause(name: str) -> str:
    """Return the cause that the name alone shows; "" if it shows none."""
    return next((words for words, pattern in _WRITTEN.items() if pattern.fullmatch(name)), "")


def cause_in(message: str) -> str:
    """Return the cause in the message on a row without a user; "" if it has none."""
    return message.removeprefix(NOT_LISTED).removeprefix(NOT_FOUND).lstrip(": ")


def found_cause(name: str, users: str) -> str:
    """Return the cause if a user in the pool has a name with the same key."""
    if written := written_cause(name):
        return written + AND_FOUND
    name, users = (unicodedata.normalize("NFC", one) for one in (name, users))
    if name == users:
        return OTHER_FORM
    if users == f"+{name}":
        return NO_PLUS
    if name == f"+{users}":
        return EXTRA_PLUS
    return OTHER_CASE if name.casefold() == users.casefold() else SIMILAR
