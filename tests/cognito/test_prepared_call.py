"""The prepared call: signed as botocore signs, with its keys and connections; botocore itself makes all other calls."""

from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.config import Config
from botocore.exceptions import NoCredentialsError

from bulkreset.cognito.prepared_call import PreparedCall
from bulkreset.cognito.response import Disposition
from bulkreset.models import Row, Secret

ROW = Row(1, "zoë", Secret("Quiet-Pw.1"), "eu-west-1_Here00001", permanent=True)
TOKEN = "tok+/="
OURS = {"content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target"}


class Answer:
    """A success, as botocore's connections return it."""

    def __init__(self) -> None:
        self.status_code = 200
        self.headers = {"x-amzn-requestid": "abc"}
        self.content = b"{}"


def client(token: str | None = TOKEN, **more: Any) -> Any:  # noqa: ANN401  (a boto3 client)
    return boto3.Session("AKIDEXAMPLE", "wJalr/secret+key", token, "eu-west-1").client("cognito-idp", **more)


def sent(calling: Any, row: Row = ROW) -> AWSPreparedRequest:  # noqa: ANN401  (as above)
    """Send one row; return the request without sending it."""
    seen: list[AWSPreparedRequest] = []

    def instead(request: AWSPreparedRequest, **_kwargs: object) -> Answer:
        seen.append(request)
        return Answer()

    calling.meta.events.register("before-send.cognito-identity-provider.AdminSetUserPassword", instead)
    prepared = PreparedCall.of(calling)
    assert prepared
    answer = prepared.send(row)
    assert (answer.disposition, answer.request_id) == (Disposition.DONE, "abc")
    return seen[0]


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:4566", "https://[::1]:8443", "https://idp.example:443/"])
def test_signature_is_botocores(endpoint: str | None, token: str | None) -> None:
    calling = client(token, endpoint_url=endpoint)
    request = sent(calling)
    given = {name.lower(): value for name, value in request.headers.items()}
    assert given.get("x-amz-security-token") == token
    alike = AWSRequest(
        "POST", request.url, {n: v for n, v in request.headers.items() if n.lower() in OURS}, data=request.body
    )
    alike.context["timestamp"] = given["x-amz-date"]
    keys: Any = boto3.Session("AKIDEXAMPLE", "wJalr/secret+key", token).get_credentials()
    auth = SigV4Auth(keys, "cognito-idp", "eu-west-1")
    signature = auth.signature(auth.string_to_sign(alike, auth.canonical_request(alike)), alike)
    assert given["authorization"].endswith(f", Signature={signature}")
    assert f"Credential={auth.scope(alike)}," in given["authorization"]


def test_request_is_the_one_that_botocore_makes() -> None:
    calling = client()
    theirs: list[AWSPreparedRequest] = []

    def instead(request: AWSPreparedRequest, **_kwargs: object) -> None:
        theirs.append(request)
        raise KeyError

    ours = sent(client())
    calling.meta.events.register("before-send.cognito-identity-provider.AdminSetUserPassword", instead)
    with pytest.raises(KeyError):
        calling.admin_set_user_password(
            UserPoolId=ROW.pool, Username=ROW.username, Password=ROW.password.reveal(), Permanent=True
        )
    assert (ours.method, ours.url, ours.body) == (theirs[0].method, theirs[0].url, theirs[0].body)
    parts: list[Any] = [dict(ours.headers), dict(theirs[0].headers)]
    own, other = ({name.lower(): value for name, value in part.items()} for part in parts)
    for name in ("content-type", "x-amz-target", "content-length"):
        assert own[name] == (other[name].decode() if isinstance(other[name], bytes) else other[name])
    assert own["user-agent"].split()[0] == str(other["user-agent"].decode()).split()[0]


def test_client_without_keys_sends_nothing() -> None:
    calling = client()
    prepared = PreparedCall.of(calling)
    assert prepared
    prepared._credentials = None
    with pytest.raises(NoCredentialsError):
        prepared.send(ROW)


@pytest.mark.parametrize(
    "more",
    [
        {"endpoint_url": "http://127.0.0.1:4566/base"},
        {"endpoint_url": "http://127.0.0.1:4566/?a=b"},
        {"config": Config(signature_version="v4a")},
    ],
    ids=["path", "query", "signature"],
)
def test_client_makes_calls_that_need_more_by_itself(more: dict[str, Any]) -> None:
    assert PreparedCall.of(client(**more)) is None
