"""The two implementations of Cognito, a pool in one of them, and the three clients with which a user signs in."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.peers.parts import (
    Argv,
    free_port,
    node_packages,
    node_version,
    python_environment,
    python_version,
    run,
    serving,
)

_SCRIPTS: Final = Path(__file__).parent / "scripts"
OLD: Final = "Former-Garden.1"
SIGNED_IN: Final = "signed in"
CHOOSES: Final = "new password required"
REFUSED: Final = {"NotAuthorizedException", "InvalidPasswordException"}  # the second one is cognito-local's own
REGION: Final = "us-east-1"


@dataclass(frozen=True)
class Cognito:
    """A running emulator.

    `srp`: a sign-in may prove the password without sending it. `signs_out`: it has global sign-out.
    """

    part: str
    url: str
    srp: bool
    signs_out: bool
    region: str = REGION

    @cached_property
    def client(self) -> Any:  # noqa: ANN401  (a client of Cognito)
        return boto3.client(
            "cognito-idp",
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id="none",
            aws_secret_access_key="none",
            config=Config(retries={"total_max_attempts": 1}),
        )


@contextmanager
def ministack(folder: Path, host: str = "127.0.0.1") -> Iterator[Cognito]:
    commands = python_environment("ministack", "ministack")
    port = free_port()
    env = {"BIND_HOST": host, "GATEWAY_PORT": str(port), "LOG_LEVEL": "WARNING"}
    with serving([commands / "ministack"], folder, port, env=env, host=host) as url:
        yield Cognito(python_version(commands, "ministack"), url, srp=True, signs_out=True)


@contextmanager
def cognito_local(folder: Path) -> Iterator[Cognito]:
    packages = node_packages("cognito-local", "cognito-local")
    port = free_port()
    env = {"HOST": "127.0.0.1", "PORT": str(port)}
    argv: Argv = ["node", packages / "node_modules" / ".bin" / "cognito-local"]
    with serving(argv, folder, port, "/health", env) as url:
        yield Cognito(node_version(packages, "cognito-local"), url, srp=False, signs_out=False)


SERVERS: Final = {"MiniStack": ministack, "cognito-local": cognito_local}


@dataclass(frozen=True)
class Pool:
    """A user pool. Its users have an e-mail address as name and the password OLD."""

    cognito: Cognito
    id: str
    client_id: str
    users: Sequence[str]

    def statuses(self) -> dict[str, str]:
        """Return the status of each user, by e-mail address."""
        pages = self.cognito.client.get_paginator("list_users").paginate(UserPoolId=self.id)
        found = {}
        for user in (user for page in pages for user in page["Users"]):
            attributes = {one["Name"]: one["Value"] for one in user["Attributes"]}
            found[attributes["email"]] = user["UserStatus"]
        return found

    def target(self) -> str:
        """Return the target table of a job."""
        return f'[[targets]]\nuser_pool_id = "{self.id}"\nregion = "{self.cognito.region}"\nendpoint_url = "{self.cognito.url}"\n'

    def boto3(self, username: str, password: str, following: str | None = None) -> str:
        """Sign in with boto3. With `following`, that replaces a temporary password."""
        client = self.cognito.client
        given = {"USERNAME": username, "PASSWORD": password}
        try:
            answer = client.initiate_auth(AuthFlow="USER_PASSWORD_AUTH", ClientId=self.client_id, AuthParameters=given)
            if answer.get("ChallengeName") == "NEW_PASSWORD_REQUIRED":
                if following is None:
                    return CHOOSES
                answer = client.respond_to_auth_challenge(
                    ClientId=self.client_id,
                    ChallengeName="NEW_PASSWORD_REQUIRED",
                    Session=answer["Session"],
                    ChallengeResponses={"USERNAME": username, "NEW_PASSWORD": following},
                )
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return SIGNED_IN if answer["AuthenticationResult"]["AccessToken"] else "no token"

    def _asked(self, users: Sequence[Sequence[str | None]]) -> str:
        padded = [[*user, None][:3] for user in users]
        pool = self.id if self.id.startswith(REGION) else f"{REGION}_{self.id}"  # a client needs a Region
        return json.dumps(
            {"url": self.cognito.url, "pool": pool, "client": self.client_id, "srp": self.cognito.srp, "users": padded}
        )

    def javascript(self, users: Sequence[Sequence[str | None]]) -> list[str]:
        """Sign users in with the identity library for JavaScript, by SRP if the emulator can."""
        packages = node_packages("identity-js", "amazon-cognito-identity-js")
        said = run("node", _SCRIPTS / "sign_in.mjs", packages, cwd=packages, given=self._asked(users))
        found: list[str] = json.loads(said)
        return found

    def pycognito(self, users: Sequence[Sequence[str | None]]) -> list[str]:
        """Sign users in with pycognito: always by SRP."""
        commands = python_environment("pycognito", "pycognito")
        found: list[str] = json.loads(run(commands / "python", _SCRIPTS / "sign_in.py", given=self._asked(users)))
        return found

    def sign_in(self, users: Sequence[Sequence[str]]) -> dict[str, list[str]]:
        """Sign each user in with each client that the emulator supports; return the answers."""
        found = {"boto3": [self.boto3(*user) for user in users], "JavaScript": self.javascript(users)}
        return found | ({"pycognito": self.pycognito(users)} if self.cognito.srp else {})


def make_pool(cognito: Cognito, count: int) -> Pool:
    """Create a pool with so many users, all with the permanent password OLD."""
    client = cognito.client
    policy = {"MinimumLength": 8, "RequireUppercase": True, "RequireLowercase": True, "RequireNumbers": True}
    made = client.create_user_pool(
        PoolName="peers",
        UsernameAttributes=["email"],
        Policies={"PasswordPolicy": policy | {"RequireSymbols": False, "TemporaryPasswordValidityDays": 5}},
    )
    pool = made["UserPool"]["Id"]
    flows = ["ALLOW_USER_SRP_AUTH", "ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
    application = client.create_user_pool_client(UserPoolId=pool, ClientName="peers", ExplicitAuthFlows=flows)
    users = [f"user.{number:03d}@example.com" for number in range(1, count + 1)]
    for user in users:
        attributes = [{"Name": "email", "Value": user}, {"Name": "email_verified", "Value": "true"}]
        client.admin_create_user(UserPoolId=pool, Username=user, MessageAction="SUPPRESS", UserAttributes=attributes)
        client.admin_set_user_password(UserPoolId=pool, Username=user, Password=OLD, Permanent=True)
    return Pool(cognito, pool, application["UserPoolClient"]["ClientId"], users)
