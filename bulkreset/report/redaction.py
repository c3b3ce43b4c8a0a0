"""Replacement of usernames by keyed hashes. Within one run, a user of a pool always has the same hash."""

import hmac
import json
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from bulkreset.errors import RecordError, RunDirError
from bulkreset.files import atomic_file, read_small_file
from bulkreset.models import ReportRow

KEY_BYTES = 32
HASH_BYTES = 16
WITHHELD = "(withheld: it named the user)"

_TOLD = ("user_pool_id", "code", "message", "request_id")
_is_a_word = re.compile(r"[\w-]*").fullmatch


class Redaction:
    """Replaces the usernames in report rows by hashes. Without the key nobody can find or guess the user of a hash."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the run's key from the file `path`, or create it if it is missing. Raises RecordError, RunDirError."""
        try:
            key = read_small_file(path) if path.exists() else _create_key(path)
        except OSError as error:
            raise RecordError(
                f"The redaction key {path} cannot be made or read: {error.strerror}.",
                "Check the disk's space and rights.",
            ) from None
        with suppress(ValueError):
            if len(found := bytes.fromhex(key.decode("ascii").strip())) == KEY_BYTES:
                return cls(found)
        raise RunDirError(
            f"{path} is not a redaction key.",
            "Restore it, or delete it: then hashes differ from those of earlier reports.",
        )

    def redact_name(self, pool: str, username: str) -> str:
        """Return the replacement for a user of a pool: "u-" and the first 128 bits of an HMAC-SHA-256, in hex."""
        text = f"{len(pool)} {pool} {username}".encode()
        return f"u-{hmac.digest(self._key, text, 'sha256')[:HASH_BYTES].hex()}"

    def redact_row(self, found: ReportRow) -> ReportRow:
        """Return the row without its user's names in any column."""
        pool, username, canonical = found.user_pool_id, found.username, found.canonical
        if not username:
            return found
        hashed = self.redact_name(pool, canonical)
        if found.code or found.message or not (_is_a_word(pool) and _is_a_word(found.request_id)):
            names = {*_spellings(username), *_spellings(canonical)}
            withheld: dict[str, Any] = {
                column: WITHHELD for column in _TOLD if _contains_name(getattr(found, column).casefold(), names)
            }
            found = found._replace(**withheld)
        return ReportRow(found[0], found[1], hashed, *found[3:-1], hashed)

    def withhold(self, found: ReportRow, cell: str) -> str:
        """Return the cell of a row, or a notice instead of it if it contains one of the user's names."""
        names = {*_spellings(found.username), *_spellings(found.canonical)} if found.username else set()
        return WITHHELD if any(name in cell.casefold() for name in names) else cell


def _spellings(name: str) -> tuple[str, ...]:
    """Return the forms of the name that a text may contain, case-folded, plain and JSON-escaped."""
    as_json = (
        json.dumps(spelt, ensure_ascii=short)[1:-1] for spelt in (name, name.casefold()) for short in (True, False)
    )
    return name.casefold(), *(text.casefold() for text in as_json)


def _contains_name(text: str, names: set[str]) -> bool:
    """Return whether the text contains a name. A single word, such as a code, must equal the name."""
    return text in names if _is_a_word(text) else any(name in text for name in names)


def _create_key(path: Path) -> bytes:
    """Create a key file that only its owner can read. Returns the content; an existing file wins."""
    with suppress(FileExistsError), atomic_file(path, new=True) as file:
        file.write(f"{secrets.token_hex(KEY_BYTES)}\n".encode("ascii"))
    return path.read_bytes()
