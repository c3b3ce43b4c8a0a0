"""Encryption and decryption with age, in memory only: no temporary file is written."""

import binascii
import io
import os
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from bulkreset.errors import InputError, JobError, RecordError, Stopped, missing_extra
from bulkreset.files import decode_text, read_small_file

_BUILT_IN = frozenset({"tag", "tagpq"})  # kinds of hardware keys to which pyrage encrypts without a plugin
_SSH = ("ssh-ed25519 ", "ssh-rsa ")
MOST_KEYS = 1 << 16  # bytes of a key file
MOST_HEADER = 1 << 16  # bytes: about 600 recipients
_ARMOUR = b"-----BEGIN"
_HEADER_ENDS = b"\n--- "
WRONG_KEY = "no private key of the identity file matches"


class DecryptError(Exception):
    """The given identities cannot decrypt the data, or the data is damaged or incomplete."""


def parse_recipients(keys: Sequence[str]) -> list[Any]:
    """Return the recipients for public keys.

    Raises JobError if a key is not a recipient's public key, or if the extra `age` is not installed.
    """
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
    """Return the recipient for a key: of age, of SSH, or of a plugin such as a hardware token.

    Raises JobError if the plugin's program is missing, and pyrage's RecipientError for an invalid key.
    """
    name = _plugin_of(key)
    if key.startswith(_SSH) or not name:
        return (age.ssh if key.startswith(_SSH) else age.x25519).Recipient.from_str(key)
    if name in _BUILT_IN:
        return getattr(age, name).Recipient.from_str(key)
    recipient = age.plugin.Recipient.from_str(key)
    try:
        return age.plugin.RecipientPluginV1(name, [recipient], [], _NoTerminal())
    except age.EncryptError:
        raise JobError(
            f'The recipient "{key[:20]}…" needs the program age-plugin-{name}, which is not on the PATH.',
            "Install it on this machine, or give another public key of this person.",
        ) from None


def _plugin_of(key: str) -> str:
    """Return the plugin's name in a key such as "age1yubikey1…"; "" if the key has none."""
    found = re.fullmatch(r"age1([a-z0-9+._-]+)1[02-9ac-hj-np-z]+", key)
    return found[1] if found else ""


class _NoTerminal:
    """Answers a plugin's questions: nobody can be asked, so a plugin that needs an answer fails."""

    def display_message(self, message: str) -> None:
        """Ignore a message, such as a request to touch the token."""

    def confirm(self, message: str, yes: str, no: str | None) -> None:
        """Give no answer."""

    def request_public_string(self, description: str) -> None:
        """Give no answer."""

    def request_passphrase(self, description: str) -> None:
        """Give no answer."""


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
    if not found and (name := re.search(r"^AGE-PLUGIN-([A-Z0-9+._-]+)-1", text, re.MULTILINE)):
        program = name[1].lower()
        raise InputError(
            f"The identity file {path} has a key of age-plugin-{program}, and this command cannot ask for its PIN.",
            f"Decrypt the files *.age of the passwords folder with age -d -i {path}.",
        )
    if not found:
        raise InputError(
            f"The identity file {path} has no key that can be used.",
            "Name a file that age-keygen or ssh-keygen made, without a passphrase.",
        )
    return found


def encrypt(data: bytes, to: Sequence[Any]) -> bytes:
    """Return the data encrypted to these recipients only. Raises RecordError if a recipient's plugin fails."""
    age = _age()
    try:
        encrypted: bytes = age.encrypt(data, list(to))
    except age.EncryptError:
        raise RecordError(
            "The data could not be encrypted: the age plugin of a recipient has failed.",
            "Try the plugin with age -r KEY, then resume.",
        ) from None
    return encrypted


def encrypt_stream(source: Any, out: Any, to: Sequence[Any]) -> None:  # noqa: ANN401  (has read; has write and flush)
    """Encrypt all of `source` into `out`, in constant memory. An error of the source is raised as it is."""
    reader = _ErrorKeepingSource(source)
    try:
        _age().encrypt_io(reader, out, list(to))
    except Exception:
        if reader.failed:  # age keeps only the text of an error
            raise reader.failed from None
        raise
    if reader.failed:
        raise reader.failed


class _ErrorKeepingSource:
    """A stream that remembers the exception that ended it."""

    def __init__(self, source: Any) -> None:  # noqa: ANN401  (has read)
        self._source = source
        self.failed: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes."""
        try:
            found: bytes = self._source.read(size) or b""
        except BaseException as error:
            self.failed = error
            raise
        return found


def decrypt(encrypted: bytes, by: Sequence[Any]) -> bytes:
    """Return the decrypted data. Raises DecryptError."""
    age = _age()
    try:
        data: bytes = age.decrypt(encrypted, list(by))
    except age.DecryptError as error:
        raise DecryptError(_said(error)) from None
    return data


def open_encrypted(opened: Callable[[], io.BufferedReader], by: Sequence[Any]) -> io.BufferedReader:
    """Return a stream of the decrypted content, in constant memory. `opened` opens the encrypted file.

    Raises OSError. A read raises DecryptError if the data cannot be decrypted, or the error from reading the file.
    """
    source = _ErrorKeepingReader(opened())
    reading, writing = os.pipe()
    stream = _DecryptStream(reading)

    def pour() -> None:
        age = _age()
        try:
            with source, os.fdopen(writing, "wb") as sink:
                age.decrypt_io(source, sink, list(by))
        except age.DecryptError as error:
            stream.failed = source.failed or DecryptError(_said(error))
        except OSError:  # the data is incomplete; or the reader closed its end and sees no error
            stream.failed = source.failed or DecryptError("it is damaged or incomplete")
        except Exception as error:  # noqa: BLE001  (raised again in the reading thread)
            stream.failed = source.failed or error

    stream.start(pour)
    return io.BufferedReader(stream, 1 << 16)


class _ErrorKeepingReader:
    """A reader for age that remembers the original error in `failed`, because age reports only its own message.

    age keeps the whole header (the list of recipients) in memory, reads it from the start for each recipient and tries
    each one. Therefore the header is limited to MOST_HEADER bytes.
    """

    def __init__(self, source: io.BufferedReader) -> None:
        self._source = source
        self._beginning: bytearray | None = bytearray()  # None once the header has ended within the limit
        self.failed: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` more bytes. Raises DecryptError if the header is longer than MOST_HEADER."""
        try:
            found = self._source.read(size)
            if self._beginning is not None:
                self._beginning += found
                if len(self._beginning) > MOST_HEADER:
                    self._must_end()
        except Exception as error:
            self.failed = None if isinstance(error, OSError) else error
            raise
        return found

    def _must_end(self) -> None:
        begins = bytes(self._beginning or b"")
        if begins.startswith(_ARMOUR):
            text = b"".join(begins.splitlines()[1:])
            begins = binascii.a2b_base64(text[: len(text) // 4 * 4])
        if _HEADER_ENDS not in begins:
            raise DecryptError(f"its list of recipients has more than {MOST_HEADER:,} bytes")
        self._beginning = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_ended: object) -> None:
        self._source.close()


class _DecryptStream(io.RawIOBase):
    """The reading end of the pipe. If the writing end fails, `failed` has the error and the last read raises it."""

    def __init__(self, reading: int) -> None:
        self._reading = reading
        self._thread: threading.Thread | None = None
        self.failed: Exception | None = None

    def start(self, pour: Callable[[], None]) -> None:
        """Start the thread that fills the pipe. Raises Stopped if no thread can be started."""
        self._thread = threading.Thread(target=pour, name="decryption", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            raise Stopped("The system lets no thread be started.", "Raise its limit on threads, then resume.") from None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        """Fill the buffer and return the number of bytes.

        At the end, raises the error of the writing end if the content is incomplete: DecryptError in most cases.
        """
        read = os.readv(self._reading, [buffer])
        if read == 0 and self._thread:
            self._thread.join()
            if self.failed:
                raise self.failed
        return read

    def close(self) -> None:
        if not self.closed:
            os.close(self._reading)
        super().close()


def _age() -> ModuleType:
    try:
        import pyrage  # noqa: PLC0415  (an extra)
    except ImportError:
        raise missing_extra("Encryption", "age") from None
    found: ModuleType = pyrage
    return found


def _said(error: Exception) -> str:
    return WRONG_KEY if "No matching keys" in str(error) else "it is damaged, or not an age file"


def _recipient_error(key: str) -> JobError:
    if key.strip().upper().startswith("AGE-SECRET-KEY"):  # never show it
        return JobError("A private key was given as a recipient.", 'Give the public key: it starts with "age1".')
    shown = repr(key if len(key) <= 24 else key[:20] + "…")[1:-1]  # noqa: PLR2004
    if os.path.isfile(os.path.expanduser(key)):  # noqa: PTH111, PTH113  (Path's own raise for a long or odd text)
        advice = 'This is a file; give the line "# public key: age1…" in it.'
    else:
        advice = 'A public key starts with "age1" or "ssh-ed25519".'
    return JobError(f'"{shown}" is not an age public key.', advice)
