"""A campaign against moto's Cognito, killed and resumed: users sign in with their generated passwords."""

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.bucket import Storage
from tests.crash.test_resume import resume
from tests.e2e.campaigns import make_key, names, opened, write_campaign
from tests.e2e.command import REGION, Command, write_csv
from tests.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

POLICY: Any = {
    "MinimumLength": 30,
    "RequireUppercase": True,
    "RequireLowercase": True,
    "RequireNumbers": True,
    "RequireSymbols": True,
    "TemporaryPasswordValidityDays": 5,
}


def cognito(url: str) -> "CognitoIdentityProviderClient":
    return boto3.client(
        "cognito-idp",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="AKIDSIMULATED",
        aws_secret_access_key="simulated",
    )


def rows_with_status(run_dir: Path, status: str) -> int:
    """Return how many rows of the journal have a status."""
    if not (run_dir / "journal.sqlite").exists():
        return 0
    with contextlib.closing(sqlite3.connect(run_dir / "journal.sqlite")) as journal:
        found: int = journal.execute("SELECT count(*) FROM rows WHERE status = ?", (status,)).fetchone()[0]
    return found


@pytest.mark.parametrize(
    "rows", [24, pytest.param(300, marks=[pytest.mark.soak, pytest.mark.timeout(600)])], ids=["short", "long"]
)
def test_users_sign_in_with_generated_passwords_after_a_kill_in_the_middle(
    bulkreset: Command, stored: Storage, rows: int
) -> None:
    client = cognito(stored.url)
    pool = client.create_user_pool(PoolName="customers", Policies={"PasswordPolicy": POLICY})["UserPool"]["Id"]
    app = client.create_user_pool_client(
        UserPoolId=pool,
        ClientName="app",
        ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
    )["UserPoolClient"]["ClientId"]
    for name in names(rows):
        client.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
    kept = set(names(rows)[::4])  # users with permanent passwords
    lines = [(name, "true" if name in kept else "") for name in [*names(rows), "nobody"]]
    input_ = write_csv(bulkreset.home / "in.csv", lines, ("username", "permanent"))
    key = make_key(bulkreset.home)
    more = "[pace]\nrate = 60\nworkers = 4\n"
    job = write_campaign(bulkreset, input_, key, more=more, plan="", url=stored.url, pool=pool)
    run_dir = bulkreset.home / "run"
    with bulkreset.start("run", job, "--yes", "--run-dir", run_dir) as process:
        wait_until(lambda: rows_with_status(run_dir, "set") >= rows // 4 or process.poll() is not None)
        process.kill()
        process.communicate()
    in_the_middle = rows_with_status(run_dir, "set")
    assert rows // 4 <= in_the_middle < rows
    assert len(opened(run_dir, key)) == in_the_middle
    again = resume(bulkreset, run_dir)
    assert (again.code, again.summary["counts"]) == (1, {"rejected": 1, "set": rows})
    passwords = opened(run_dir, key)
    assert passwords.keys() == set(names(rows))
    for name, password in passwords.items():
        who: Any = {"USERNAME": name, "PASSWORD": password}
        by_user = client.initiate_auth(ClientId=app, AuthFlow="USER_PASSWORD_AUTH", AuthParameters=who)
        by_admin = client.admin_initiate_auth(
            UserPoolId=pool, ClientId=app, AuthFlow="ADMIN_USER_PASSWORD_AUTH", AuthParameters=who
        )
        for answer in (by_user, by_admin):
            if name in kept:
                assert answer["AuthenticationResult"]["AccessToken"]
            else:
                assert answer["ChallengeName"] == "NEW_PASSWORD_REQUIRED"
    someone = names(rows)[1]
    with pytest.raises(client.exceptions.NotAuthorizedException):
        client.initiate_auth(
            ClientId=app,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": someone, "PASSWORD": passwords[names(rows)[0]]},
        )
