"""Recognise passwords that a program has altered or hashed: they can be sent, and nobody could sign in with them."""

import re
import unicodedata
from collections.abc import Callable, Mapping

from bulkreset.text import is_unseen

SUSPECT = "check the password: "  # first words of the message on such a row
HASH = "looks like a hash"
WRAPPED_FORMULA = 'wrapped as a spreadsheet formula, ="…"'
WRAPPED_QUOTES = "wrapped in quotes"
CURLY_QUOTES = "curly quotes, as office programs and mails make them"
INVISIBLE_END = "an invisible character at the beginning or the end"
ESCAPED = "an HTML escape such as &amp;"

# Hash formats by their beginning: crypt and its successors, Django, Werkzeug, LDAP, Spring, MySQL, ASP.NET; and digests in hexadecimal.
_HASH = re.compile(
    r"\$(?:2[abxy]?|1|5|6|7|y|gy|apr1|md5|sha1|P|H|S|scrypt|argon2\w*|pbkdf2[\w-]*|bcrypt[\w-]*)\$.{8}.*"
    r"|\$[PHS]\$.{8}.*"
    r"|(?:\$?argon2(?:i|d|id)?|pbkdf2|scrypt|bcrypt)(?:[_:-]\w+)*[$:].{8}.*"
    r"|(?:sha1|sha224|sha256|sha384|sha512|md5)[$:][\w./+=-]*[$:]?[\w./+=-]{20,}"
    r"|\{(?:S?SHA(?:-?\d+)?|S?MD5|CRYPT|X-\w+|SMD5|SASL|ARGON2\w*|PBKDF2[\w-]*|BCRYPT|BLF-CRYPT|SCRYPT|noop)(?:\.\w+)?\}.*"
    r"|\*[0-9A-F]{40}"
    r"|(?:0x)?(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{48}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})",
    re.IGNORECASE | re.DOTALL,
).fullmatch
_ESCAPE = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#[0-9]{2,5}|#x[0-9a-f]{2,5});", re.IGNORECASE).search
_CURLY = re.compile("[\u2018-\u201f]").search
_QUOTES = {'"': '"', "'": "'", "`": "`", "\u00ab": "\u00bb", "\u00bb": "\u00ab", "\u2039": "\u203a"}
# Most passwords have none of the characters that any of the forms needs. This search decides for them.
_MAY_BE = re.compile(r"[^\x21-\x7e]|^[=\"'`$*{]|&|^(?:0x)?[0-9a-f]{32}|\$.{8}|:.{8}", re.IGNORECASE).search
_SHORTEST_WRAPPED = 3


def suspicion(password: str) -> str:
    """Return what looks wrong with a password, in words that have no part of it; "" if nothing does."""
    if not _MAY_BE(password):
        return ""
    return next((words for words, holds in _FORMS.items() if holds(password)), "")


def _is_formula(password: str) -> bool:
    return len(password) > _SHORTEST_WRAPPED and password.startswith('="') and password.endswith('"')


def _is_quoted(password: str) -> bool:
    return len(password) >= _SHORTEST_WRAPPED and _QUOTES.get(password[0]) == password[-1]


def _has_invisible_end(password: str) -> bool:
    return any(is_unseen(it) or unicodedata.category(it)[0] in "CZ" for it in (password[0], password[-1]))


_FORMS: Mapping[str, Callable[[str], object]] = {
    HASH: _HASH,
    WRAPPED_FORMULA: _is_formula,
    CURLY_QUOTES: _CURLY,
    WRAPPED_QUOTES: _is_quoted,
    INVISIBLE_END: _has_invisible_end,
    ESCAPED: _ESCAPE,
}
