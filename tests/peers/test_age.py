"""age in both directions: inputs encrypted by others, and generated passwords decrypted by others."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.csv
import pyarrow.parquet
import pytest

from tests.e2e.command import LAX, POOL, SET, Command, people, write_csv, write_job
from tests.peers.conftest import Tried
from tests.peers.parts import debian_program, node_packages, node_version, run
from tests.sim import Simulator

_SCRIPT: Final = Path(__file__).parent / "scripts" / "age.mjs"


@dataclass(frozen=True)
class Age:
    """Another implementation with its own key: the public key, the key file, and its functions on files."""

    part: str
    recipient: str
    key_file: Path
    encrypt: Callable[[Path, Path], object]
    decrypt: Callable[[Path, Path], object]


def of_debian(folder: Path, *, ssh: bool = False, armor: bool = False) -> Age:
    age, key = debian_program("age", "age"), folder / "key"
    if ssh:
        if not shutil.which("ssh-keygen"):
            pytest.skip("ssh-keygen is not installed")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key)
        recipient = (folder / "key.pub").read_text(encoding="utf-8").strip()
    else:
        keygen = debian_program("age", "age-keygen")
        run(keygen, "-o", key)
        recipient = run(keygen, "-y", key).strip()
    form = [*(["--armor"] if armor else []), "-r", recipient]
    return Age(
        f"age {run(age, '--version').strip()} of Debian{', OpenSSH key' * ssh}{', armored' * armor}",
        recipient,
        key,
        lambda source, target: run(age, *form, "-o", target, source),
        lambda source, target: run(age, "-d", "-i", key, "-o", target, source),
    )


def of_npm(folder: Path) -> Age:
    packages = node_packages("age-encryption", "age-encryption")
    identity, recipient = json.loads(run("node", _SCRIPT, packages, "key"))
    key = folder / "key"
    key.write_text(f"{identity}\n", encoding="utf-8")
    return Age(
        node_version(packages, "age-encryption"),
        recipient,
        key,
        lambda source, target: run("node", _SCRIPT, packages, "encrypt", recipient, source, target),
        lambda source, target: run("node", _SCRIPT, packages, "decrypt", identity, source, target),
    )


AGES: Final[dict[str, Callable[[Path], Age]]] = {
    "debian": of_debian,
    "debian-ssh": lambda folder: of_debian(folder, ssh=True),
    "debian-armored": lambda folder: of_debian(folder, armor=True),
    "npm": of_npm,
}


@pytest.fixture(params=list(AGES))
def age(request: pytest.FixtureRequest, tmp_path: Path) -> Age:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    return AGES[request.param](folder)


def test_input_that_others_have_encrypted(age: Age, bulkreset: Command, running: Simulator, tried: Tried) -> None:
    rows, home = people(3000), bulkreset.home  # several chunks of age's 64 KiB
    running.add_pool(POOL, policy=LAX, auto_users=True)
    plain = write_csv(home / "plain.csv", rows)
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(plain), home / "plain.parquet")
    for suffix in ("csv", "parquet"):
        age.encrypt(home / f"plain.{suffix}", home / f"users.{suffix}.age")
        input_ = f'path = "users.{suffix}.age"\nidentity = "{age.key_file}"'
        ran = bulkreset("run", write_job(home, running.url, input_), "--dry-run")
        assert (ran.code, ran.summary["counts"]) == (0, {"ready": 3000}), ran.stderr
    job = write_job(home, running.url, f'path = "users.csv.age"\nidentity = "{age.key_file}"', "[guards]\nlimit = 50\n")
    ran = bulkreset("run", job, "--yes", "--rate", "400")
    assert ran.code == 5, ran.stderr
    assert sorted((call.username, call.password) for call in running.calls(SET)) == rows[:50]
    tried(age.part, "encrypts 3,000 rows as CSV and Parquet: read and sent")


def test_passwords_that_others_decrypt(age: Age, bulkreset: Command, running: Simulator, tried: Tried) -> None:
    running.add_pool(POOL, policy=LAX, auto_users=True)
    home = bulkreset.home
    write_csv(home / "users.csv", [[name] for name, _ in people(500)], header=["username"])
    more = f"[password]\nsource = 'generate'\nrecipients = ['{age.recipient}']\n"
    ran = bulkreset("run", write_job(home, running.url, 'path = "users.csv"', more), "--yes", "--rate", "400")
    assert (ran.code, ran.summary["counts"]) == (0, {"set": 500}), ran.stderr
    found: dict[str, str] = {}
    for number, path in enumerate(sorted((ran.run_dir / "passwords").glob("*.age"))):
        age.decrypt(path, home / f"opened-{number}")
        with (home / f"opened-{number}").open(encoding="utf-8", newline="") as file:
            found |= {username: password for _row, _pool, username, password in csv.reader(file)}
    assert found == {name: password for name, password in running.passwords(POOL).items() if password}
    assert len(found) == 500
    tried(age.part, "decrypts the 500 passwords of a run")
