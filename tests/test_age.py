"""Encryption: an encrypted file is read as a stream, to its end or to what is wrong with it."""

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bulkreset.age import DecryptError, decrypt, encrypt, load_identities, open_encrypted, parse_recipients
from tests.waiting import wait_until

DATA = os.urandom(300_000)


def opened(path: Path) -> Callable[[], BufferedReader]:
    """What opens a file."""
    return lambda: path.open("rb")


def encrypted(path: Path, data: bytes = DATA) -> list[pyrage.x25519.Identity]:
    """Write an encrypted file; who can open it."""
    identity = pyrage.x25519.Identity.generate()
    path.write_bytes(encrypt(data, parse_recipients([str(identity.to_public())])))
    return [identity]


def test_stream_has_the_whole_content(tmp_path: Path) -> None:
    by = encrypted(tmp_path / "x.age")
    with open_encrypted(opened(tmp_path / "x.age"), by) as stream:
        assert stream.read() == DATA
    assert decrypt((tmp_path / "x.age").read_bytes(), by) == DATA


@pytest.mark.linux("/proc/self/fd, to count open files")
def test_stream_that_is_not_read_to_its_end_is_let_go(tmp_path: Path) -> None:
    by = encrypted(tmp_path / "x.age")
    for _ in range(20):
        with open_encrypted(opened(tmp_path / "x.age"), by) as stream:
            assert stream.read(10) == DATA[:10]
    gc.collect()
    # The thread that decrypts closes the file when it sees that nobody reads any more.
    assert wait_until(lambda: not [name for name in _open_files() if name.endswith("x.age")])


def _open_files() -> Iterator[str]:
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that reads the folder
            yield str(number.readlink())


def test_content_that_breaks_off_is_no_end(tmp_path: Path) -> None:
    by = encrypted(tmp_path / "x.age")
    whole = (tmp_path / "x.age").read_bytes()
    (tmp_path / "x.age").write_bytes(whole[:-100])
    with open_encrypted(opened(tmp_path / "x.age"), by) as stream, pytest.raises(DecryptError, match="damaged"):
        stream.read()


def test_another_s_key_opens_nothing(tmp_path: Path) -> None:
    encrypted(tmp_path / "x.age")
    other = [pyrage.x25519.Identity.generate()]
    with (
        open_encrypted(opened(tmp_path / "x.age"), other) as stream,
        pytest.raises(DecryptError, match="no private key of the identity file matches"),
    ):
        stream.read()


def test_ssh_keys_are_recipients_and_identities(tmp_path: Path) -> None:
    pair = Ed25519PrivateKey.generate()
    key = tmp_path / "id_ed25519"
    key.write_bytes(pair.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = pair.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    data = encrypt(b"for the help desk", parse_recipients([f"{public} me@desk"]))
    assert decrypt(data, load_identities(key)) == b"for the help desk"
