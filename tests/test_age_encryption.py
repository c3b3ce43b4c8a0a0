"""Encryption: an encrypted file is read as a stream, to its end or to its fault."""

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bulkreset.age_encryption import DecryptError, decrypt, encrypt, load_identities, open_encrypted, parse_recipients
from bulkreset.errors import InputError, JobError, RecordError
from tests.waiting import wait_until

DATA = os.urandom(300_000)


def opened(path: Path) -> Callable[[], BufferedReader]:
    """Return a function that opens a file."""
    return lambda: path.open("rb")


def encrypted(path: Path, data: bytes = DATA) -> list[pyrage.x25519.Identity]:
    """Write an encrypted file, and return the keys that decrypt it."""
    identity = pyrage.x25519.Identity.generate()
    path.write_bytes(encrypt(data, parse_recipients([str(identity.to_public())])))
    return [identity]


def test_stream_has_the_whole_content(tmp_path: Path) -> None:
    by = encrypted(tmp_path / "x.age")
    with open_encrypted(opened(tmp_path / "x.age"), by) as stream:
        assert stream.read() == DATA
    assert decrypt((tmp_path / "x.age").read_bytes(), by) == DATA


@pytest.mark.linux("/proc/self/fd, to count open files")
def test_partly_read_stream_is_released(tmp_path: Path) -> None:
    by = encrypted(tmp_path / "x.age")
    for _ in range(20):
        with open_encrypted(opened(tmp_path / "x.age"), by) as stream:
            assert stream.read(10) == DATA[:10]
    gc.collect()
    # The decrypting thread closes the file when it sees that the reader is gone.
    assert wait_until(lambda: not [name for name in _open_files() if name.endswith("x.age")])


def _open_files() -> Iterator[str]:
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of the folder itself
            yield str(number.readlink())


def test_truncated_content_is_not_an_end(tmp_path: Path) -> None:
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


_PLUGIN = '''#!{python}
"""A plugin that wraps the file key in a stanza of its own, and says that it is its own."""
import sys

def read():
    words, body = sys.stdin.readline().split(), ""
    while len(line := sys.stdin.readline()) > 64:
        body += line
    return words, body + line

keys = []
while True:
    words, body = read()
    if words[1] == "add-recipient":
        keys.append(words[2])
    elif words[1] == "wrap-file-key":
        wrapped = body
    elif words[1] == "done":
        break
print(f"-> recipient-stanza 0 {name} " + keys[0][-4:])
print(wrapped, end="", flush=True)
read()
print("-> done\\n", flush=True)
'''


def _bech32(prefix: str, data: bytes = bytes(20)) -> str:
    """Return a key in a plugin's encoding (BIP 173)."""
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    bits = "".join(f"{octet:08b}" for octet in data)
    values = [int(bits[at : at + 5].ljust(5, "0"), 2) for at in range(0, len(bits), 5)]
    check = 1
    expanded = [*(ord(letter) >> 5 for letter in prefix), 0, *(ord(letter) & 31 for letter in prefix)]
    for value in [*expanded, *values, *[0] * 6]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, term in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= term if top >> bit & 1 else 0
    check ^= 1
    values += [check >> 5 * (5 - place) & 31 for place in range(6)]
    return f"{prefix}1{''.join(letters[value] for value in values)}"


@pytest.mark.parametrize("name", ["yubikey", "pq"])
def test_recipient_of_a_plugin_is_encrypted_to_by_its_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    program = tmp_path / f"age-plugin-{name}"
    program.write_text(_PLUGIN.replace("{python}", sys.executable).replace("{name}", name))
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    key = _bech32(f"age1{name}")
    data = encrypt(b"secret", parse_recipients([key]))
    assert f"-> {name} {key[-4:]}".encode() in data
    assert b"secret" not in data


def test_plugin_that_fails_later_is_a_record_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "age-plugin-yubikey"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    to = parse_recipients([_bech32("age1yubikey")])
    with pytest.raises(RecordError, match="could not be encrypted"):
        encrypt(b"secret", to)


@pytest.mark.parametrize("name", ["yubikey", "pq"])
def test_recipient_of_a_missing_plugin_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JobError, match=f"needs the program age-plugin-{name}, which is not on the PATH"):
        parse_recipients([_bech32(f"age1{name}")])


@pytest.mark.parametrize("kind", ["tag", "tagpq", "yubikey"])
def test_hardware_key_with_a_mistake_is_not_a_key(kind: str) -> None:
    with pytest.raises(JobError, match="is not an age public key"):
        parse_recipients([_bech32(f"age1{kind}")[:-1] + "q" * 2])


def test_identity_of_a_plugin_is_refused_with_the_way_to_use_it(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text("# a token\nAGE-PLUGIN-YUBIKEY-1QQPQQQQQQQQQQQQQ\n")
    with pytest.raises(InputError, match=r"key of age-plugin-yubikey.*age -d -i"):
        load_identities(tmp_path / "key.txt")


def test_hardware_key_needs_no_plugin_to_encrypt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    key = _bech32("age1tag", point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))
    data = encrypt(b"secret", parse_recipients([key]))
    assert b"-> p256tag " in data
