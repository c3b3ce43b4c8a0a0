"""Signs users in with pycognito, which uses SRP. JSON on standard input and output."""

import json
import sys

from botocore.exceptions import ClientError
from pycognito import AWSSRP, exceptions

asked = json.load(sys.stdin)


def sign_in(username: str, password: str, following: str | None) -> str:
    """Return the result; with `following`, that replaces a temporary password."""
    session = AWSSRP(username, password, asked["pool"], asked["client"], client=client)
    try:
        return "signed in" if session.authenticate_user()["AuthenticationResult"]["AccessToken"] else "no token"
    except exceptions.ForceChangePasswordException:
        if following is None:
            return "new password required"
        done = session.set_new_password_challenge(following)
        return "signed in" if done["AuthenticationResult"]["AccessToken"] else "no token"
    except ClientError as error:
        return str(error.response["Error"]["Code"])


if __name__ == "__main__":
    import boto3

    client = boto3.client(
        "cognito-idp",
        region_name="us-east-1",
        endpoint_url=asked["url"],
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    print(json.dumps([sign_in(*one) for one in asked["users"]]))
