"""Text formatting: times, durations, sizes, counts, cells of reports, and invisible characters."""

import json
import re
import shlex
import unicodedata
from datetime import UTC, datetime

_MINUTE, _HOUR = 60, 3600
_KIB = 1024
# Control characters, and invisible ones that change text direction or spacing. Joiners stay, because emoji use them.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff\ud800-\udfff]"
)
_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SIGNS = re.compile("[\u2400-\u241f\u2421]|\\[U\\+00([89][0-9A-F])\\]")  # those of _STEERS, as `_sign` writes them
# Unicode has no names for control characters; these are its aliases.
_NAMES = {
    0x00: "NULL",
    0x07: "ALERT",
    0x08: "BACKSPACE",
    0x09: "CHARACTER TABULATION",
    0x0A: "LINE FEED",
    0x0B: "LINE TABULATION",
    0x0C: "FORM FEED",
    0x0D: "CARRIAGE RETURN",
    0x1B: "ESCAPE",
    0x7F: "DELETE",
    0x85: "NEXT LINE",
}
_KINDS = {"Cc": "CONTROL CHARACTER", "Co": "PRIVATE USE CHARACTER", "Cs": "SURROGATE", "Cn": "UNASSIGNED CHARACTER"}
# A spreadsheet runs a cell that begins with one of these; full-width forms count too.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_FORMULA_OR_QUOTE = (*_FORMULA, "'")
is_redacted = re.compile(r"u-[0-9a-f]{32}").fullmatch  # as written by `Redaction.redact_name`


def format_iso(unix_ms: float, timespec: str = "milliseconds") -> str:
    """Return a time as files show it: ISO 8601 in UTC with "Z", by default with milliseconds."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def format_local_time(when: datetime, now: datetime, *, seconds: bool = False) -> str:
    """Return a time for a person at this machine, with its zone; with the date if that is not today's."""
    day = "" if when.date() == now.date() else f"{when:%Y-%m-%d} "
    return f"{day}{when:%H:%M:%S %Z}" if seconds else f"{day}{when:%H:%M %Z}"


def format_duration(seconds: float) -> str:
    """Return a time span in words for people."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / _MINUTE), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def format_estimate(seconds: float) -> str:
    """Return an estimated time span in words for people: no parts of a second, and never nothing."""
    return f"{max(1, round(seconds))} s" if seconds < _MINUTE else format_duration(seconds)


def format_time(moment: str) -> str:
    """Return an ISO time in UTC as text for people, such as "2026-11-30 03:00:12 UTC"."""
    day, _, clock = moment.removesuffix("Z").partition("T")
    return f"{day} {clock.partition('.')[0]} UTC" if clock else moment


def format_limit(seconds: float) -> str:
    """Return a time span that a person has set, without rounding: "90 s", "8 h", "1 h 30 min"."""
    if seconds < _MINUTE or seconds % _MINUTE:
        return f"{seconds:g} s"
    hours, minutes = divmod(int(seconds) // _MINUTE, 60)
    return " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes))


def format_short_duration(seconds: float) -> str:
    """Return a time span in as few characters as possible, for a table."""
    if seconds < 1.5 * _MINUTE:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / _MINUTE), 60)
    return f"{hours} h {minutes:02d}" if hours else f"{minutes} min"


def format_size(octets: int) -> str:
    """Return a size in bytes as text for people, in bytes, KiB, MiB or GiB."""
    number = float(octets)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < _KIB or unit == "GiB":
            break
        number /= _KIB
    return f"{octets:,} bytes" if unit == "bytes" else f"{number:,.1f} {unit}"


def format_count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun. The plural is `many`, or `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def lane_name(account: str, region: str) -> str:
    """Return how commands name a lane: "ACCOUNT/REGION", or the Region if the account is not known."""
    return f"{account}/{region}" if account else region


def quoted(path: object) -> str:
    """Return a path as a shell takes it, for a command to be copied."""
    return shlex.quote(str(path))


def end_sentence(text: str) -> str:
    """Return the text with a full stop, or as it is if it ends with a question mark."""
    return text if text.endswith("?") else f"{text}."


def join_words(parts: list[str], last: str = "and") -> str:
    """Return the parts joined with commas and, before the last one, with the word `last`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}" if parts else ""


def is_unseen(character: str) -> bool:
    """Return whether a character is a control character or an invisible one."""
    return bool(_UNSEEN.match(character))


def character_name(character: str) -> str:
    """Return a character's Unicode name and code point, such as "ZERO WIDTH SPACE (U+200B)"."""
    code = ord(character)
    named = (
        unicodedata.name(character, "") or _NAMES.get(code) or _KINDS.get(unicodedata.category(character), "character")
    )
    return f"{named} (U+{code:04X})"


def show_invisible(text: str) -> str:
    """Return the text with a visible sign for each invisible character, so that different names never look the same."""
    return _UNSEEN.sub(_sign, text)


def terminal_safe(text: str) -> str:
    """Return the same for terminal output, but keep line feeds and tabs. The result cannot control the terminal."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] in "\n\t" else _sign(found), text)


def printable_cell(cell: str) -> str:
    """Return the text with signs for characters that could control a terminal. No Cognito username contains them."""
    return _STEERS.sub(_sign, cell)


def spreadsheet_safe(text: str) -> str:
    """Return the cell as text that no spreadsheet runs as a formula and no terminal runs as a control sequence.

    A formula, or apostrophes before one, get another apostrophe in front, which `parse_cell` removes. Control
    characters, except tabs and line feeds, are replaced by signs.
    """
    if text.isascii() and text.isprintable() and not text.startswith(_FORMULA_OR_QUOTE):  # nearly all cells
        return text
    return printable_cell(f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text)


def parse_cell(cell: str) -> str:
    """Return the text for which `spreadsheet_safe` wrote this cell."""
    text = _SIGNS.sub(_unsigned, cell)
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text


def json_safe(text: str) -> str:
    """Return JSON text with invisible characters escaped. Line feeds stay, because they are its layout."""
    return _UNSEEN.sub(_spelt, text)


def _spelt(found: re.Match[str]) -> str:
    return found[0] if found[0] == "\n" else "\\u007f" if found[0] == "\x7f" else json.dumps(found[0])[1:-1]


def _unsigned(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return "\x7f" if found[0] == "\u2421" else chr(ord(found[0]) - 0x2400)


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:  # noqa: PLR2004
        return chr(0x2400 + code)  # its Unicode picture: ␀ to ␟
    return "\u2421" if code == 0x7F else f"[U+{code:04X}]"  # noqa: PLR2004
