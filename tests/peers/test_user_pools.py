"""Two other implementations of Cognito: run against them, then sign the users in with other clients."""

import csv
import io
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyrage
import pytest

from tests.e2e.command import WITHOUT_PAGE, Argument, Command, CommandResult, finish, write_csv
from tests.e2e.live import rows_set
from tests.peers.conftest import Tried
from tests.peers.user_pools import CHOOSES, OLD, REFUSED, SERVERS, SIGNED_IN, Cognito, Pool, make_pool
from tests.waiting import wait_until

NOBODY = ("nobody@example.com", "Quiet-Garden.0")
TOO_SHORT = ("user.001@example.com", "Short.1")


@pytest.fixture(scope="module", params=list(SERVERS))
def cognito(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cognito]:
    with SERVERS[request.param](tmp_path_factory.mktemp("cognito")) as running:
        yield running


def new_passwords(pool: Pool, skip: int = 0) -> list[tuple[str, str]]:
    return [(user, f"Quiet-Garden.{number:03d}") for number, user in enumerate(pool.users[skip:])]


def job(
    home: Path, pool: Pool, rows: Sequence[tuple[str, str]], text: str = "permanent = true", more: str = ""
) -> Path:
    write_csv(home / "users.csv", rows)
    path = home / "job.toml"
    path.write_text(f'{text}\n[input]\npath = "users.csv"\n{pool.target()}{more}{WITHOUT_PAGE}', encoding="utf-8")
    return path


def command(bulkreset: Command, *args: Argument) -> CommandResult:
    with bulkreset.start(*args) as process:
        return finish(process, Path(args[1]))


@pytest.mark.parametrize("transport", ["boto3", "crt"])
def test_reviewed_permanent_passwords(cognito: Cognito, bulkreset: Command, transport: str, tried: Tried) -> None:
    pool = make_pool(cognito, 40)
    rows = new_passwords(pool, skip=1)
    path = job(
        bulkreset.home, pool, [TOO_SHORT, *rows, NOBODY], more=f'[pace]\nrate = 200\ntransport = "{transport}"\n'
    )
    planned = bulkreset("run", path, "--dry-run")
    assert planned.code == 1
    assert planned.summary["counts"] == {"ready": 39, "rejected": 2}
    assert planned.summary["codes"] == {"password_policy": 1, "user_not_found": 1}
    assert pool.boto3(rows[0][0], OLD) == SIGNED_IN, "a dry run changes nothing"
    ran = bulkreset("run", path, "--approved", planned.run_dir)
    assert (ran.code, ran.summary["counts"]) == (1, {"set": 39, "rejected": 2})
    some = rows[::13]
    said = pool.sign_in(some)
    assert {answer for answers in said.values() for answer in answers} == {SIGNED_IN}, said
    assert pool.boto3(rows[0][0], OLD) in REFUSED
    assert pool.boto3(TOO_SHORT[0], OLD) == SIGNED_IN, "a rejected row changes nothing"
    kept = " ".join(path.read_text(errors="replace") for path in ran.run_dir.rglob("*") if path.is_file())
    assert "Quiet-Garden" not in kept
    tried(
        cognito.part,
        f"permanent over {transport}: 41 rows, dry run, `--approved`; sign-ins: {len(some)} each with {', '.join(said)}",
    )


def test_temporary_passwords_and_their_states(cognito: Cognito, bulkreset: Command, tried: Tried) -> None:
    pool = make_pool(cognito, 20)
    rows = new_passwords(pool)
    ran = bulkreset("run", job(bulkreset.home, pool, rows, "permanent = false", "[pace]\nrate = 200\n"), "--yes")
    assert (ran.code, ran.summary["counts"]) == (0, {"set": 20})
    assert set(pool.statuses().values()) == {"FORCE_CHANGE_PASSWORD"}
    said = pool.sign_in(rows[:2])
    assert {answer for answers in said.values() for answer in answers} == {CHOOSES}, said
    chosen = [(*row, "My-Own-Choice.9") for row in rows[:3]]
    assert pool.boto3(*chosen[0]) == SIGNED_IN
    assert pool.javascript(chosen[1:2]) == [SIGNED_IN]
    others = pool.pycognito(chosen[2:]) if cognito.srp else pool.javascript(chosen[2:])
    assert others == [SIGNED_IN]
    verified = command(bulkreset, "verify", ran.run_dir)
    assert verified.code == 1, "17 users have not signed in yet"
    with (ran.run_dir / "verify.csv").open(encoding="utf-8", newline="") as file:
        states = [row["state"] for row in csv.DictReader(file)]
    assert states == ["changed"] * 3 + ["waiting"] * 17
    tried(
        cognito.part, "temporary: 20 rows; 3 users choose a password, one with each client; `verify` tells them from 17"
    )


def test_users_of_the_pool_get_generated_passwords(cognito: Cognito, bulkreset: Command, tried: Tried) -> None:
    pool = make_pool(cognito, 130)  # three pages of a list
    key = pyrage.x25519.Identity.generate()
    (bulkreset.home / "key.txt").write_text(f"{key}\n", encoding="utf-8")
    path = bulkreset.home / "job.toml"
    path.write_text(
        f"permanent = true\n[input]\nfrom_pool = true\n[password]\nsource = 'generate'\nrecipients = ['{key.to_public()}']\n"
        f"{pool.target()}[pace]\nrate = 200\n[after]\nsign_out = {str(cognito.signs_out).lower()}\n{WITHOUT_PAGE}",
        encoding="utf-8",
    )
    tokens = pool.cognito.client.initiate_auth(
        AuthFlow="USER_PASSWORD_AUTH",
        ClientId=pool.client_id,
        AuthParameters={"USERNAME": pool.users[0], "PASSWORD": OLD},
    )["AuthenticationResult"]
    ran = bulkreset("run", path, "--yes")
    assert (ran.code, ran.summary["counts"]) == (0, {"set": 130}), ran.stderr
    opened = command(bulkreset, "passwords", ran.run_dir, "--identity", bulkreset.home / "key.txt")
    rows = [(row["username"], row["password"]) for row in csv.DictReader(io.StringIO(opened.stdout))]
    assert len(rows) == 130
    said = pool.sign_in(rows[::50])
    assert {answer for answers in said.values() for answer in answers} == {SIGNED_IN}, said
    if cognito.signs_out:
        assert set(ran.column("signed_out")) == {"true"}
        with pytest.raises(pool.cognito.client.exceptions.NotAuthorizedException):
            pool.cognito.client.initiate_auth(
                AuthFlow="REFRESH_TOKEN_AUTH",
                ClientId=pool.client_id,
                AuthParameters={"REFRESH_TOKEN": tokens["RefreshToken"]},
            )
    signed_out = "signed out, the refresh token is refused" if cognito.signs_out else "no sign-out: it has none"
    tried(cognito.part, f"`from_pool`, generated: 130 users, {signed_out}; `passwords`; 3 sign-ins with each client")


def test_killed_twice_and_resumed(cognito: Cognito, bulkreset: Command, tried: Tried) -> None:
    pool = make_pool(cognito, 60)
    rows = new_passwords(pool)
    path = job(bulkreset.home, pool, rows, more="[pace]\nrate = 5\n")
    run_dir = bulkreset.home / "run"
    begin: tuple[Argument, ...] = ("run", path, "--yes", "--run-dir", run_dir)
    for kills, begun in enumerate((6, 16)):
        with bulkreset.start(*begin) as process:
            wait_until(lambda at_least=begun: (run_dir / "journal.sqlite").exists() and rows_set(run_dir) >= at_least)  # type: ignore[misc]
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait(timeout=90) == -signal.SIGKILL, kills
        begin = ("resume", run_dir)
    ended = command(bulkreset, "resume", run_dir, "--rate", "200")
    ran = CommandResult(ended.code, ended.stdout, ended.stderr, run_dir)
    assert (ran.code, ran.summary["counts"]) == (0, {"set": 60})
    assert [row["username"] for row in ran.report] == [user for user, _ in rows]
    assert {pool.boto3(*row) for row in rows} == {SIGNED_IN}
    tried(cognito.part, "60 rows, killed twice, resumed: all 60 sign in with boto3")
