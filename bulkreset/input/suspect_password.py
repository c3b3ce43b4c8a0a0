"""Recognise passwords that a program has altered or hashed: they can be sent, but nobody could sign in with them."""

import re
import unicodedata
from collections.abc import Callable, Mapping

from bulkreset.text import is_unseen

SUSPECT = "check the password: "  # first words of the message on such a row
HASH = "looks like a hash"
MISREAD = "UTF-8 that was read in another encoding, such as Ã¼ for ü"
PLACEHOLDER = "a word or mask in place of a password, such as NULL, #NAME? or ********"
NUMBER = "a number that a spreadsheet or a program has changed, such as 4.91512E+11"

# Hash formats: crypt and its successors, WordPress, Django, Werkzeug, PostgreSQL, LDAP, Dovecot, Spring, Atlassian, MySQL, SQL
# Server, Oracle, ASP.NET; digests in hexadecimal, also two of them or with a salt; 64 bytes in base64, as of Firebase.
_HASH = re.compile(
    r"\$(?:2[abxy]?|[1-9]|y|gy|wp|apr1|md5|sha1|P|H|S|scrypt|argon2\w*|pbkdf2[\w-]*|bcrypt[\w-]*)\$.{8}.*"
    r"|(?:\$?argon2(?:i|d|id)?|pbkdf2|scrypt|bcrypt)(?:[_:-]\w+)*[$:].{8}.*"
    r"|(?:sha1|sha224|sha256|sha384|sha512|md5)[$:][\w./+=-]*[$:]?[\w./+=-]{20,}"
    r"|SCRAM-SHA-\d+\$.{8}.*|S:[0-9A-F]{60}.*|AQAAAA[\w+/]{40,}={0,2}|[\w+/]{86}=="
    r"|\{(?:S?SHA|S?MD5|CRYPT|X-|SASL|ARGON2|PBKDF2|PKCS5S2|BCRYPT|BLF-CRYPT|SCRYPT|noop)[\w.-]*\}.*"
    r"|\*[0-9A-F]{40}|md5[0-9a-f]{32}|0x[0-9a-f]{32,}"
    r"|(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{48}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})(?::.+)?",
    re.IGNORECASE | re.DOTALL,
).fullmatch
_CHANGED_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?E\+?\d+|\d+\.0", re.IGNORECASE).fullmatch
# The same in Python's syntax and in RE2's.
_PLACEHOLDERS = (
    r"null|\(null\)|<null>|nil|none|nan|undefined|redacted|\[redacted\]|true|false|#?n/a"
    r"|#(?:name\?|(?:value|ref|num|null|div/0)!|getting_data)|\\n"
)
_PLACEHOLDER = re.compile(_PLACEHOLDERS, re.IGNORECASE).fullmatch
_MASK = re.compile(r"([*\u2022\u25cf.xX#-])\1{3,}").fullmatch
# Most passwords have none of the characters that these forms need, so this search is enough for them.
_ANY_FORM = r"[^\x21-\x7e]|^[=\"'`$*{]|&|%|^(?:0x|md5)?[0-9a-f]{32}|\$.{8}|:.{8}|==$|^AQAAAA|\\u|^b['\"]"
_MAY_BE = re.compile(_ANY_FORM, re.IGNORECASE).search
# For a whole column, as RE2 searches it: every suspect password has it, and every empty one.
PERHAPS_SUSPECT = (
    rf"(?i)^$|{_ANY_FORM}|^(?:{_PLACEHOLDERS})$|^(?:\.{{4,}}|x{{4,}}|#{{4,}}|-{{4,}})$"
    r"|^[+-]?[0-9]+(?:[.,][0-9]+)?E\+?[0-9]+$|^[0-9]+\.0$"
)


def suspicion(password: str) -> str:
    """Return what looks wrong with a password, in words that contain no part of it; "" if nothing does."""
    if _PLACEHOLDER(password) or (password[:1] == password[-1:] and _MASK(password)):
        return PLACEHOLDER
    if not _MAY_BE(password):
        return NUMBER if password[-1:].isdigit() and _CHANGED_NUMBER(password) else ""
    return next((words for words, holds in _FORMS.items() if holds(password)), "")


def _has_invisible_end(password: str) -> bool:
    return any(is_unseen(it) or unicodedata.category(it)[0] in "CZ" for it in (password[0], password[-1]))


def _is_misread(password: str) -> bool:
    """Return whether the characters are UTF-8 bytes, each read as one character of Latin-1 or cp1252."""
    if password.isascii():
        return False
    for encoding in ("latin-1", "cp1252"):
        try:
            return password.encode(encoding).decode() != password
        except UnicodeError:
            continue
    return False


_FORMS: Mapping[str, Callable[[str], object]] = {
    HASH: _HASH,
    'wrapped as a spreadsheet formula, ="…"': re.compile('=".+"', re.DOTALL).fullmatch,
    MISREAD: _is_misread,
    "the sign for a character that was lost (U+FFFD)": re.compile("\ufffd").search,
    "curly quotes, as office programs and mails make them": re.compile("[\u2018-\u201f]").search,
    "a dash or an ellipsis, as office programs make them": re.compile("[\u2013\u2014\u2026]").search,
    "wrapped in quotes": re.compile(
        "\".+\"|'.+'|`.+`|\u00ab.+\u00bb|\u00bb.+\u00ab|\u2039.+\u203a", re.DOTALL
    ).fullmatch,
    "an invisible character at the beginning or the end": _has_invisible_end,
    "an invisible character within it": lambda it: not it.isascii() and ("\xa0" in it or any(map(is_unseen, it))),
    "an HTML escape such as &amp;": re.compile(
        r"&(?:amp|lt|gt|quot|apos|nbsp|#[0-9]{2,5}|#x[0-9a-f]{2,5});", re.IGNORECASE
    ).search,
    # Exactly the characters that must be escaped are escaped; each non-ASCII character has two or more bytes.
    "escaped as in a URL, such as %40 for @": re.compile(
        r"(?=.*%)(?:[\w.~-]|%(?:2[0-9A-F]|3[A-F]|40|5[B-E]|60|7[B-E])|(?:%[89A-F][0-9A-F]){2,})+",
        re.ASCII | re.IGNORECASE,
    ).fullmatch,
    "a JSON escape such as \\u00fc": re.compile(r"\\u[0-9a-f]{4}", re.IGNORECASE).search,
    "written as bytes by Python, b'…'": re.compile("b'.+'|b\".+\"", re.DOTALL).fullmatch,
}
