"""Jobs that generate passwords, the keys that decrypt them, and all files that could contain a password."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyrage

from bulkreset.job import PasswordPolicy
from bulkreset.report.passwords_export import read_passwords as in_process
from tests.e2e.command import POOL, REGION, WITHOUT_PAGE, Command, CommandResult, finish
from tests.e2e.command import write_csv as write_columns
from tests.sim import Simulator

STRICT: Final = {
    "MinimumLength": 26,
    "RequireUppercase": True,
    "RequireLowercase": True,
    "RequireNumbers": True,
    "RequireSymbols": True,
}
POLICY: Final = PasswordPolicy(
    minimum_length=26, require_uppercase=True, require_lowercase=True, require_numbers=True, require_symbols=True
)
HEADER: Final = "username,password,expires_at,pool"


@dataclass(frozen=True)
class Key:
    """A private key and its file."""

    path: Path
    public: str


def make_key(folder: Path, name: str = "key.txt") -> Key:
    """Generate a private key and write it to a file, as age-keygen does."""
    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    (folder / name).write_text(f"# public key: {public}\n{identity}\n")
    return Key(folder / name, public)


def names(count: int) -> list[str]:
    return [f"user.{number:05d}" for number in range(1, count + 1)]


def write_names(folder: Path, usernames: Iterable[str], name: str = "users.csv") -> Path:
    """Write an input without passwords."""
    return write_columns(folder / name, [(username,) for username in usernames], ("username",))


def write_campaign(
    bulkreset: Command,
    input_: Path,
    *keys: Key | str,
    permanent: bool = False,
    more: str = "",
    folder: str = "",
    plan: str = "check_users = false",
    url: str = "",
    pool: str = POOL,
) -> Path:
    """Write a job file: temporary passwords encrypted to the keys; without keys, a scramble."""
    to = ", ".join(f'"{key.public if isinstance(key, Key) else key}"' for key in keys)
    path = bulkreset.home / "campaign.toml"
    path.write_text(
        f'name = "campaign"\npermanent = {str(permanent).lower()}\n'
        f'[input]\npath = "{input_}"\n[plan]\n{plan}\n[password]\nsource = "generate"\n'
        f"recipients = [{to}]\n{folder}\n"
        f'[[targets]]\nuser_pool_id = "{pool}"\nregion = "{REGION}"\nendpoint_url = "{url or bulkreset.sim.url}"\n'
        f"read_timeout = 60.0\n{more}\n{WITHOUT_PAGE}",
        encoding="utf-8",
    )
    return path


def run_passwords(bulkreset: Command, run_dir: Path, key: Key | Path, *args: str | Path) -> CommandResult:
    """Run `bulkreset passwords`."""
    path = key.path if isinstance(key, Key) else key
    with bulkreset.start("passwords", run_dir, "--identity", path, *args) as process:
        return finish(process, run_dir)


def parse_passwords(text: str) -> dict[str, str]:
    """Return the passwords in a decrypted CSV, by username."""
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    found = {line["username"]: line["password"] for line in lines}
    assert len(found) == len(lines), "one line for each user"
    return found


def decrypted(bulkreset: Command, run_dir: Path, key: Key) -> dict[str, str]:
    """Return what `bulkreset passwords` prints, by username."""
    ran = run_passwords(bulkreset, run_dir, key)
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.startswith(HEADER + "\n")
    return parse_passwords(ran.stdout)


def opened(run_dir: Path, key: Key) -> dict[str, str]:
    """Return the passwords that the key decrypts, by username.

    Faster than the command line, for tests that call it often.
    """
    lines = list(in_process(run_dir, key.path))
    found = {line.username: line.password for line in lines}
    assert len(found) == len(lines)
    return found


def held(sim: Simulator, pool: str = POOL) -> dict[str, str]:
    """Return the passwords of the simulator's users."""
    return {name: password for name, password in sim.passwords(pool).items() if password}


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Return every file with its content."""
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file():
                yield str(path), path.read_bytes()
        except FileNotFoundError:
            continue


def open_files(pid: int) -> Iterator[tuple[str, bytes]]:
    """Return every readable file that a process has open, including deleted files, and its /proc files."""
    for name in ("cmdline", "environ"):
        yield from _content(Path(f"/proc/{pid}/{name}"), name)
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for link in links:
        try:
            if link.is_file():  # not a socket or pipe
                yield from _content(link, str(link.readlink()))
        except OSError:
            continue


def _content(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    try:
        yield name, path.read_bytes()
    except OSError:
        return


def places_with(places: Mapping[str, set[bytes]], passwords: Sequence[bytes]) -> set[str]:
    """Return the places that contain one of the passwords."""
    return {
        place
        for place, contents in places.items()
        for content in contents
        if any(password in content for password in passwords)
    }
