"""HTTP/1.1 and the two AWS protocols as bytes: requests in, answers out."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from xml.sax.saxutils import escape

from tests.sim.errors import ApiError

# Any JSON value; the readers check what they need of it.
JsonValue: TypeAlias = Any

JSON_1_1: Final = "application/x-amz-json-1.1"
PLAIN_JSON: Final = "application/json"
XML: Final = "text/xml"
HTML: Final = "text/html"

# Room for a pool of a million users; a larger request is a mistake in the test.
_MAX_BODY: Final = 256 * 1024 * 1024
_MAX_HEAD: Final = 64 * 1024
_REASONS: Final = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found"}
_CREDENTIAL: Final = re.compile(
    r"Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]+)"
)
_STS_NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"


class BadRequestError(Exception):
    """The peer sent HTTP that this server does not understand."""


@dataclass(frozen=True, slots=True)
class Request:
    """One complete request; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """The contents of an Authorization header of AWS Signature Version 4."""

    access_key: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    digest: str


UNSIGNED: Final = Signature("", "", "", (), "")


def take_request(buffer: bytearray) -> Request | None:
    """Remove the first complete request from `buffer` and return it; None if it is not complete yet."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > _MAX_HEAD:
            message = "the head of the request is too long"
            raise BadRequestError(message)
        return None
    lines = buffer[:end].decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    try:
        method, path, _version = lines[0].split(" ")
        length = int(headers.get("content-length", "0"))
    except ValueError:
        message = "neither a request line nor a length that can be read"
        raise BadRequestError(message) from None
    if not 0 <= length <= _MAX_BODY or "transfer-encoding" in headers:
        message = "only bodies of a stated, bounded length are read"
        raise BadRequestError(message)
    start = end + 4
    if len(buffer) < start + length:
        return None
    body = bytes(buffer[start : start + length])
    del buffer[: start + length]
    return Request(method, path, headers, body)


def read_signature(request: Request) -> Signature:
    """Read the Authorization header; return UNSIGNED if there is none."""
    found = _CREDENTIAL.search(request.headers.get("authorization", ""))
    if found is None:
        return UNSIGNED
    access_key, _date, region, service, names, digest = found.groups()
    return Signature(access_key, region, service, tuple(names.split(";")), digest)


def respond(
    status: int,
    body: bytes = b"",
    kind: str = PLAIN_JSON,
    request_id: str = "",
    error: str = "",
) -> bytes:
    """Write one answer; `error` is the code that Cognito repeats in a header."""
    extra = f"Date: {formatdate(usegmt=True)}\r\n"
    extra += f"x-amzn-RequestId: {request_id}\r\n" if request_id else ""
    if error:
        extra += f"x-amzn-errortype: {error}\r\n"
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n"
        f"Content-Type: {kind}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body


def to_json(value: JsonValue) -> bytes:
    """Write JSON in UTF-8, unescaped, as the service does."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def json_error(error: ApiError, message: str, request_id: str) -> bytes:
    """Write a refusal in AWS JSON 1.1."""
    body = to_json({"__type": error.code, "message": message})
    return respond(error.status, body, JSON_1_1, request_id, error.code)


def sts_identity(account: str, access_key: str, request_id: str) -> bytes:
    """Write the answer of GetCallerIdentity in the query protocol."""
    body = (
        f'<GetCallerIdentityResponse xmlns="{_STS_NAMESPACE}">'
        "<GetCallerIdentityResult>"
        f"<Arn>arn:aws:iam::{account}:user/simulated</Arn>"
        f"<UserId>{escape(access_key) or 'UNSIGNED'}</UserId>"
        f"<Account>{account}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    )
    return respond(200, body.encode(), XML, request_id)


def sts_role(role: str, session: str, access_key: str, expires: str, request_id: str) -> bytes:
    """Write the answer of AssumeRole in the query protocol."""
    account, name = role.split(":")[4], role.rpartition("/")[2]
    body = (
        f'<AssumeRoleResponse xmlns="{_STS_NAMESPACE}"><AssumeRoleResult><Credentials>'
        f"<AccessKeyId>{access_key}</AccessKeyId><SecretAccessKey>simulated</SecretAccessKey>"
        f"<SessionToken>token-of-{access_key}</SessionToken><Expiration>{expires}</Expiration></Credentials>"
        f"<AssumedRoleUser><AssumedRoleId>{access_key}:{escape(session)}</AssumedRoleId>"
        f"<Arn>arn:aws:sts::{account}:assumed-role/{escape(name)}/{escape(session)}</Arn></AssumedRoleUser>"
        f"</AssumeRoleResult><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        "</AssumeRoleResponse>"
    )
    return respond(200, body.encode(), XML, request_id)


def sts_error(error: ApiError, message: str, request_id: str) -> bytes:
    """Write a refusal in the query protocol; STS refuses credentials with 403."""
    body = (
        f'<ErrorResponse xmlns="{_STS_NAMESPACE}"><Error><Type>Sender</Type>'
        f"<Code>{escape(error.code)}</Code><Message>{escape(message)}</Message>"
        f"</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    bad = error.status == HTTPStatus.BAD_REQUEST
    status = HTTPStatus.FORBIDDEN.value if bad else error.status
    return respond(status, body.encode(), XML, request_id)
