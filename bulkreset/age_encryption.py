"""Encryption and decryption with age, in memory only: no temporary file is written."""

import binascii
import io
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from bulkreset.errors import InputError, JobError, RecordError, Stopped, missing_extra
from bulkreset.files import decode_text, read_small_file

_BUILT_IN = frozenset({"tag", "tagpq"})  # kinds of hardware keys to which pyrage encrypts without a plugin
_SSH = ("ssh-ed25519 ", "ssh-rsa ")
MOST_KEYS = 1 << 16  # bytes of a key file
MOST_HEADER = 1 << 16  # bytes: about 600 recipients
_ARMOUR = b"-----BEGIN"
_HEADER_ENDS = b"\n--- "
# Nobody can be asked a plugin's questions, so a plugin that needs an answer fails.
_QUESTIONS = ("display_message", "confirm", "request_public_string", "request_passphrase")
_NO_ANSWERS: Mapping[str, Any] = dict.fromkeys(_QUESTIONS, lambda *_asked: None)
WRONG_KEY = "no private key of the identity file matches"


class DecryptError(Exception):
    """The given identities cannot decrypt the data, or the data is damaged or incomplete."""


def parse_recipients(keys: Sequence[str]) -> list[Any]:
    """Return the recipients for public keys. Raises JobError for any other key, or without the extra `age`."""
    if not keys:  # most jobs have none, and do not need the extra
        return []
    age = _age()
    found = []
    for key in keys:
        try:
            found.append(_recipient(age, key.strip()))
        except age.RecipientError:
            raise _recipient_error(key) from None
    return found


def _recipient(age: ModuleType, key: str) -> Any:  # noqa: ANN401  (a recipient of pyrage)
    """Return a recipient of age, of SSH or of a plugin. Raises pyrage's RecipientError for an invalid key."""
    if key.startswith(_SSH):
        return age.ssh.Recipient.from_str(key)
    plugin = re.fullmatch(r"age1([a-z0-9+._-]+)1[02-9ac-hj-np-z]+", key)  # as in "age1yubikey1…"
    if not plugin:
        return age.x25519.Recipient.from_str(key)
    name = plugin[1]
    if name in _BUILT_IN:
        return getattr(age, name).Recipient.from_str(key)
    recipient = age.plugin.Recipient.from_str(key)
    try:
        return age.plugin.RecipientPluginV1(name, [recipient], [], SimpleNamespace(**_NO_ANSWERS))
    except age.EncryptError:
        raise JobError(
            f'The recipient "{key[:20]}…" needs the program age-plugin-{name}, which is not on the PATH.',
            "Install it on this machine, or give another public key of this person.",
        ) from None


def load_identities(path: Path) -> list[Any]:
    """Return the identities in a key file: age keys, or one OpenSSH private key without a passphrase.

    Raises InputError if the file cannot be read or has no usable key, JobError if the extra `age` is not installed.
    """
    age = _age()
    try:
        raw = read_small_file(path, MOST_KEYS)
    except OSError as error:
        raise InputError(
            f"The identity file {path} cannot be read: {error.strerror}.", "Check the path and its rights."
        ) from None
    text = ""
    try:
        text = decode_text(raw)
        if text.lstrip().startswith(_ARMOUR.decode()):
            return [age.ssh.Identity.from_buffer(text.encode("ascii"))]
        lines = [line.strip() for line in text.splitlines()]
        found = [age.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (age.IdentityError, ValueError):  # its message may quote the key, so it is dropped
        found = []
    if found:
        return found
    what, advice = "no key that can be used", "Name a file that age-keygen or ssh-keygen made, without a passphrase."
    if name := re.search(r"^AGE-PLUGIN-([A-Z0-9+._-]+)-1", text, re.MULTILINE):
        what = f"a key of age-plugin-{name[1].lower()}, and this command cannot ask for its PIN"
        advice = f"Decrypt the files *.age of the passwords folder with age -d -i {path}."
    raise InputError(f"The identity file {path} has {what}.", advice)


def encrypt(data: bytes, to: Sequence[Any]) -> bytes:
    """Return the data encrypted to these recipients only. Raises RecordError if a recipient's plugin fails."""
    age = _age()
    try:
        return bytes(age.encrypt(data, list(to)))
    except age.EncryptError:
        raise RecordError(
            "The data could not be encrypted: the age plugin of a recipient has failed.",
            "Try the plugin with age -r KEY, then resume.",
        ) from None


def encrypt_stream(source: Any, out: Any, to: Sequence[Any]) -> None:  # noqa: ANN401  (has read; has write and flush)
    """Encrypt all of `source` into `out`, in constant memory. An error of the source is raised as it is."""
    reader = _ErrorKeepingSource(source)
    try:
        _age().encrypt_io(reader, out, list(to))
    finally:
        if reader.failed:
            raise reader.failed from None


def decrypt(encrypted: bytes, by: Sequence[Any]) -> bytes:
    """Return the decrypted data. Raises DecryptError."""
    age = _age()
    try:
        return bytes(age.decrypt(encrypted, list(by)))
    except age.DecryptError as error:
        raise DecryptError(_said(error)) from None


def open_encrypted(opened: Callable[[], io.BufferedReader], by: Sequence[Any]) -> io.RawIOBase:
    """Return a stream of the decrypted content, in constant memory. `opened` opens the encrypted file.

    Raises OSError. A read raises DecryptError if the data cannot be decrypted, or the error from reading the file.
    """
    return _DecryptStream(opened(), os.pipe(), by)


class _ErrorKeepingSource:
    """A stream for age that remembers the error that ended it in `failed`, because age keeps only its text.

    To decrypt, age keeps the whole header (the list of recipients) in memory, reads it from the start for each recipient
    and tries each one. Therefore the header is limited to MOST_HEADER bytes, if it `has_header`.
    """

    def __init__(self, source: Any, *, has_header: bool = False) -> None:  # noqa: ANN401  (has read)
        self._source = source
        self._beginning = bytearray() if has_header else None  # None also once the header has ended within the limit
        self.failed: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` more bytes. Raises DecryptError if the header is longer than MOST_HEADER."""
        try:
            found: bytes = self._source.read(size) or b""
            if self._beginning is not None:
                self._beginning += found
                if len(self._beginning) > MOST_HEADER:
                    _require_header(bytes(self._beginning))
                    self._beginning = None
        except BaseException as error:
            self.failed = error
            raise
        return found


def _require_header(begins: bytes) -> None:
    """Raise DecryptError if the header does not end in these bytes, which may be armoured."""
    if begins.startswith(_ARMOUR):
        text = b"".join(begins.splitlines()[1:])
        begins = binascii.a2b_base64(text[: len(text) // 4 * 4])
    if _HEADER_ENDS not in begins:
        raise DecryptError(f"its list of recipients has more than {MOST_HEADER:,} bytes")


class _DecryptStream(io.RawIOBase):
    """The content of an encrypted file: the reading end of a pipe that a thread fills.

    If the thread fails, the last read raises its error. Raises Stopped if no thread can be started.
    """

    def __init__(self, encrypted: io.BufferedReader, pipe: tuple[int, int], by: Sequence[Any]) -> None:
        self._reading, writing = pipe
        self._failed: BaseException | None = None
        self._thread = threading.Thread(
            target=self._fill, args=(encrypted, writing, by), name="decryption", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            raise Stopped("The system lets no thread be started.", "Raise its limit on threads, then resume.") from None

    def _fill(self, encrypted: io.BufferedReader, writing: int, by: Sequence[Any]) -> None:
        source, age = _ErrorKeepingSource(encrypted, has_header=True), _age()
        try:
            with closing(encrypted), os.fdopen(writing, "wb") as sink:
                age.decrypt_io(source, sink, list(by))
        except Exception as error:  # noqa: BLE001  (raised again in the reading thread)
            if source.failed and not isinstance(source.failed, OSError):
                self._failed = source.failed
            elif isinstance(error, OSError):  # the data is incomplete; or the reader closed its end and sees no error
                self._failed = DecryptError("it is damaged or incomplete")
            else:
                self._failed = DecryptError(_said(error)) if isinstance(error, age.DecryptError) else error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        """Fill the buffer and return the number of bytes. At the end, raise the error of the thread, if any."""
        read = os.readv(self._reading, [buffer])
        if read == 0:
            self._thread.join()
            if self._failed:
                raise self._failed
        return read

    def close(self) -> None:
        if not self.closed:
            os.close(self._reading)
        super().close()


def _age() -> ModuleType:
    try:
        return import_module("pyrage")
    except ImportError:
        raise missing_extra("Encryption", "age") from None


def _said(error: Exception) -> str:
    return WRONG_KEY if "No matching keys" in str(error) else "it is damaged, or not an age file"


def _recipient_error(key: str) -> JobError:
    if key.strip().upper().startswith("AGE-SECRET-KEY"):  # never show it
        return JobError("A private key was given as a recipient.", 'Give the public key: it starts with "age1".')
    shown = repr(key if len(key) <= 24 else key[:20] + "…")[1:-1]  # noqa: PLR2004
    advice = 'A public key starts with "age1" or "ssh-ed25519".'
    if os.path.isfile(os.path.expanduser(key)):  # noqa: PTH111, PTH113  (Path's own raise for a long or odd text)
        advice = 'This is a file; give the line "# public key: age1…" in it.'
    return JobError(f'"{shown}" is not an age public key.', advice)
