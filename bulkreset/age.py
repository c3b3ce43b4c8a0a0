"""Sealing: what age encrypts to somebody's key, and opens with it; in memory, never through a file."""

import binascii
import io
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from bulkreset.errors import InputError, JobError, Stopped
from bulkreset.small_file import read_small_file

_SSH = ("ssh-ed25519 ", "ssh-rsa ")
MOST_KEYS = 1 << 16  # bytes of a key file
MOST_HEADER = 1 << 16  # bytes: some six hundred recipients
_ARMOUR = b"-----BEGIN"
_HEADER_ENDS = b"\n--- "


class DecryptError(Exception):
    """Bytes that these identities do not open, or that are not whole."""


def parse_recipients(keys: Sequence[str]) -> list[Any]:
    """The recipients that public keys name. Raises JobError for what is none, or where the extra `age` is not installed."""
    if not keys:  # most jobs have none, and do not need the extra
        return []
    age = _age()
    found = []
    for key in keys:
        try:
            kind = age.ssh if key.startswith(_SSH) else age.x25519
            found.append(kind.Recipient.from_str(key.strip()))
        except age.RecipientError:
            raise JobError(
                f"{_shortened(key)} is not the public key of a recipient.",
                'Give handout.recipients keys as "age1…" or "ssh-ed25519 …".',
            ) from None
    return found


def load_identities(path: Path) -> list[Any]:
    """The identities in a key file: age's own, or an OpenSSH private key without a passphrase.

    Raises InputError where the file cannot be read or has no key that can be used.
    """
    age = _age()
    try:
        text = read_small_file(path, MOST_KEYS)
    except OSError as error:
        raise InputError(
            f"The identity file {path} cannot be read: {error.strerror}.", "Check the path and its rights."
        ) from None
    try:
        if text.lstrip().startswith(_ARMOUR):
            return [age.ssh.Identity.from_buffer(text)]
        lines = [line.strip() for line in text.decode("ascii").splitlines()]
        found = [age.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (age.IdentityError, ValueError):  # whose words may quote the key
        found = []
    if not found:
        raise InputError(
            f"The identity file {path} has no key that can be used.",
            "Name a file that age-keygen or ssh-keygen made, without a passphrase.",
        )
    return found


def encrypt(data: bytes, to: Sequence[Any]) -> bytes:
    """The data, for these recipients alone."""
    sealed: bytes = _age().encrypt(data, list(to))
    return sealed


def decrypt(sealed: bytes, by: Sequence[Any]) -> bytes:
    """The data. Raises UnsealError."""
    age = _age()
    try:
        data: bytes = age.decrypt(sealed, list(by))
    except age.DecryptError as error:
        raise DecryptError(_said(error)) from None
    return data


def open_encrypted(opened: Callable[[], io.BufferedReader], by: Sequence[Any]) -> io.BufferedReader:
    """What is sealed as a stream of its content, in constant memory. `opened` opens it.

    Raises OSError; UnsealError where a read meets what does not open, and what reading raises there.
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
        except OSError:  # it breaks off; or whoever reads has closed its end, and is told nothing any more
            stream.failed = source.failed or DecryptError("it is damaged, or breaks off")
        except Exception as error:  # noqa: BLE001  (raised again by whoever reads)
            stream.failed = source.failed or error

    stream.start(pour)
    return io.BufferedReader(stream, 1 << 16)


class _ErrorKeepingReader:
    """What is read by age, which tells in its own words alone that it could not be: why is remembered.

    age keeps all that names the recipients in memory, reads it from its beginning for each of them, and tries each: of
    that there may not be any amount.
    """

    def __init__(self, source: io.BufferedReader) -> None:
        self._source = source
        self._beginning: bytearray | None = bytearray()  # None once it is known to be a good one
        self.failed: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        """Read on."""
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
            raise DecryptError(f"what names its recipients has more than {MOST_HEADER:,} bytes")
        self._beginning = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_ended: object) -> None:
        self._source.close()


class _DecryptStream(io.RawIOBase):
    """The reading end of the pipe; what ended the writing end early is told where the content seems to end."""

    def __init__(self, reading: int) -> None:
        self._reading = reading
        self._thread: threading.Thread | None = None
        self.failed: Exception | None = None

    def start(self, pour: Callable[[], None]) -> None:
        """Begin to fill the pipe."""
        self._thread = threading.Thread(target=pour, name="unsealing", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            raise Stopped("The system lets no thread be started.", "Raise its limit on threads, then resume.") from None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        """Fill the buffer. Raises UnsealError at the end of what could be opened, where that is not all."""
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
        raise JobError(
            "Encryption is not installed.", "Install bulkreset with its extra: pip install 'bulkreset[age]'."
        ) from None
    found: ModuleType = pyrage
    return found


def _said(error: Exception) -> str:
    return "none of the identities opens it" if "No matching keys" in str(error) else "it is damaged, or not age's"


def _shortened(key: str) -> str:
    return repr(key if len(key) <= 24 else key[:20] + "…")  # noqa: PLR2004
