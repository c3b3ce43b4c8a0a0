"""The archive of passwords: complete on disk before a row is sent, readable only to the recipients."""

import os
import stat
from pathlib import Path

import pyrage
import pytest

from bulkreset.age_encryption import load_identities, parse_recipients
from bulkreset.errors import InputError, JobError, RecordError, RunDirError
from bulkreset.journal.generated_passwords import Line, PasswordArchive, read_archive
from bulkreset.models import Row, Secret

POOL = "eu-west-1_Here00001"
SECRETS = ("Kept-Quiet.1", 'Kept "Quiet", 2', "Kept\nQuiet 3")


def row(number: int, password: str) -> Row:
    """Return a row that is about to be sent."""
    return Row(number=number, username=f"user,{number}", password=Secret(password), pool=POOL, permanent=False)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key file as age-keygen writes it."""
    identity = pyrage.x25519.Identity.generate()
    path = tmp_path / "key.txt"
    path.write_text(f"# created: today\n# public key: {identity.to_public()}\n{identity}\n")
    return path


def public(key: Path) -> str:
    """Return the public key in a private key file."""
    return key.read_text().splitlines()[1].removeprefix("# public key: ")


def test_lines_come_back_as_they_were_written_in_that_order(tmp_path: Path, key: Path) -> None:
    archive = PasswordArchive(tmp_path / "passwords", parse_recipients([public(key)]))
    archive.write([row(1, SECRETS[0]), row(2, SECRETS[1])])
    archive.write([row(1, SECRETS[2])])
    found = list(read_archive(tmp_path / "passwords", load_identities(key)))
    assert found == [
        (1, Line(1, POOL, "user,1", SECRETS[0])),
        (1, Line(2, POOL, "user,2", SECRETS[1])),
        (2, Line(1, POOL, "user,1", SECRETS[2])),
    ]
    assert SECRETS[0] not in repr(found)


def test_a_later_execution_writes_behind_the_earlier_one(tmp_path: Path, key: Path) -> None:
    to = parse_recipients([public(key)])
    PasswordArchive(tmp_path, to).write([row(1, SECRETS[0])])
    PasswordArchive(tmp_path, to).write([row(1, SECRETS[1])])
    assert [line.password for _, line in read_archive(tmp_path, load_identities(key))] == list(SECRETS[:2])


def test_store_is_private_and_unreadable_on_disk(tmp_path: Path, key: Path) -> None:
    folder = tmp_path / "deep" / "passwords"
    PasswordArchive(folder, parse_recipients([public(key)])).write([row(1, SECRETS[0])])
    (chunk,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(chunk.stat().st_mode) == 0o600
    assert SECRETS[0].encode() not in chunk.read_bytes()
    assert b"user,1" not in chunk.read_bytes()


def test_another_key_opens_nothing(tmp_path: Path, key: Path) -> None:
    PasswordArchive(tmp_path / "passwords", parse_recipients([public(key)])).write([row(1, SECRETS[0])])
    other = [pyrage.x25519.Identity.generate()]
    with pytest.raises(InputError, match="This key cannot decrypt the passwords"):
        list(read_archive(tmp_path / "passwords", other))


def test_truncated_chunk_is_reported_as_damaged(tmp_path: Path, key: Path) -> None:
    PasswordArchive(tmp_path / "passwords", parse_recipients([public(key)])).write([row(1, SECRETS[0])])
    (chunk,) = (tmp_path / "passwords").iterdir()
    chunk.write_bytes(chunk.read_bytes()[:-5])
    with pytest.raises(InputError, match="damaged"):
        list(read_archive(tmp_path / "passwords", load_identities(key)))


def test_folder_that_cannot_be_written_is_found_out_before_anything_is_sent(tmp_path: Path, key: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordError, match="cannot be written"):
        PasswordArchive(tmp_path / "file" / "passwords", parse_recipients([public(key)]))


def test_files_of_a_killed_process_with_the_same_id_do_not_disturb(tmp_path: Path, key: Path) -> None:
    (tmp_path / f".{os.getpid()}.probe").touch()
    PasswordArchive(tmp_path, parse_recipients([public(key)])).write([row(1, SECRETS[0])])
    assert [path.name for path in tmp_path.iterdir() if path != key] == ["00000001.age"]


def test_folder_without_passwords_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="no generated passwords"):
        list(read_archive(tmp_path, []))


@pytest.mark.parametrize("wrong", ["age1nonsense", "ssh-ed25519 AAAA", ""])
def test_invalid_public_key_is_not_a_recipient(wrong: str) -> None:
    with pytest.raises(JobError) as caught:
        parse_recipients([wrong])
    assert caught.value.message == f'"{wrong}" is not an age public key.'
    assert caught.value.advice == 'A public key starts with "age1" or "ssh-ed25519".'


def test_key_file_is_not_a_recipient(key: Path) -> None:
    with pytest.raises(JobError) as caught:
        parse_recipients([str(key)])
    assert caught.value.advice == 'This is a file; give the line "# public key: age1…" in it.'


def test_private_key_that_is_given_as_a_recipient_is_not_shown() -> None:
    private = str(pyrage.x25519.Identity.generate())
    with pytest.raises(JobError) as caught:
        parse_recipients([private])
    assert caught.value.message == "A private key was given as a recipient."
    assert private[16:20] not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "AGE-SECRET-KEY-1NONSENSE\n", "\xff\xfe", "-----BEGIN X-----\n"]
)
def test_invalid_identity_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="no key that can be used") as caught:
        load_identities(path)
    assert "NONSENSE" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_identity_without_permission_is_refused(tmp_path: Path, key: Path) -> None:
    key.chmod(0)
    with pytest.raises(InputError, match="cannot be read"):
        load_identities(key)
    assert tmp_path.exists()
