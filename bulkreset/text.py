"""The words: how a person is told of spans of time, of sizes, and of characters that cannot be seen."""

import json
import re

_MINUTE, _HOUR = 60, 3600
_KIB = 1024
# Controls, and what steers the direction or the spacing of the text around it unseen. Joiners stay: emoji are made of them.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff\ud800-\udfff]"
)
_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def format_duration(seconds: float) -> str:
    """A time span as a person says it."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / _MINUTE), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def format_size(octets: int) -> str:
    """A file's size as a person says it."""
    number = float(octets)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < _KIB or unit == "GiB":
            break
        number /= _KIB
    return f"{octets:,} bytes" if unit == "bytes" else f"{number:,.1f} {unit}"


def format_count(number: int, one: str, many: str = "") -> str:
    """So many of a thing."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def join_words(parts: list[str]) -> str:
    """Parts of a sentence, joined."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def show_invisible(text: str) -> str:
    """The text with a sign in the place of every character that cannot be seen, so that no two names look alike for one of them."""
    return _UNSEEN.sub(_sign, text)


def terminal_safe(text: str) -> str:
    """The same for what goes to a terminal, which may have lines and tabs: nothing in it steers the terminal."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] in "\n\t" else _sign(found), text)


def printable_cell(cell: str) -> str:
    """The text without what steers a terminal that it is poured on; no username that Cognito takes has any of it."""
    return _STEERS.sub(_sign, cell)


def json_safe(text: str) -> str:
    """The same for JSON, in which whatever cannot be seen has a spelling of its own; line feeds are its layout."""
    return _UNSEEN.sub(_spelt, text)


def _spelt(found: re.Match[str]) -> str:
    return found[0] if found[0] == "\n" else "\\u007f" if found[0] == "\x7f" else json.dumps(found[0])[1:-1]


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:  # noqa: PLR2004
        return chr(0x2400 + code)  # its picture: ␀ to ␟
    return "\u2421" if code == 0x7F else f"[U+{code:04X}]"  # noqa: PLR2004
