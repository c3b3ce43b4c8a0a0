"""Sends AdminSetUserPassword with a boto3 client's endpoint, keys and connections, from a request prepared once."""

import hashlib
import hmac
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import HTTPClientError, NoCredentialsError

from bulkreset.cognito.bounded_http import AnswerTooLargeError, take_open_connection
from bulkreset.cognito.endpoint import netloc, request_of
from bulkreset.cognito.http_errors import exchange_error
from bulkreset.cognito.response import Response
from bulkreset.cognito.response_parser import read_response
from bulkreset.cognito.transport import password_body
from bulkreset.models import Row
from bulkreset.send_permit import WithheldError

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

_BEFORE_SEND = "before-send.cognito-identity-provider.AdminSetUserPassword"


class PreparedCall:
    """A call that differs from botocore's own only in its body, its date and its signature.

    botocore resolves the endpoint, makes the headers, provides the keys, and opens the connections with their TLS,
    proxy and time-out settings; its errors are the same. A request on an open connection is one write and one read on
    its socket. So most steps of botocore, urllib3 and http.client are bypassed, which take four fifths of a call's
    processor time, and all events: only the first call has a before-send, and each one if anybody listens to it.
    The client must not retry.
    """

    def __init__(self, request: Any, signer: Any, session: Any, events: Any) -> None:  # noqa: ANN401  (not typed)
        place = urlsplit(request["url"])
        self._url = request["url"]
        self._headers = {name: str(value) for name, value in request["headers"].items()}
        self._host = netloc(place.scheme, place.hostname or "", place.port)
        self._region, self._service = signer.region_name, signer.signing_name
        self._credentials = signer._credentials  # noqa: SLF001  (botocore has no other access to a client's keys)
        self._session = session
        self._events = events
        self._stamp: _Stamp | None = None
        self._idle: list[Any] = []  # open connections
        weakref.finalize(self, _close, self._idle)

    @classmethod
    def of(cls, client: "CognitoIdentityProviderClient") -> Self | None:
        """Return the call of a client. None if only the client itself can make it: another signature, or a path."""
        request, signer = request_of(client)
        session = getattr(getattr(client, "_endpoint", None), "http_session", None)
        place = urlsplit(request["url"])
        plain = place.path in {"", "/"} and not place.query and signer.signature_version == "v4"
        kind = request.get("context", {}).get("auth_type")
        if not plain or kind not in {None, "v4"} or session is None or not hasattr(signer, "_credentials"):
            return None
        return cls(request, signer, session, client.meta.events)

    def send(self, row: Row) -> Response:
        """Send the call for one row. Raises botocore's errors if there are no keys or no complete answer."""
        body = password_body(row)
        stamp, authorization = self._signed(body)
        connection = self._open_connection()
        if connection is None:
            answer = self._sent(
                {**stamp.headers, "Content-Length": str(len(body)), "Authorization": authorization}, body
            )
        else:
            head = f"{stamp.head}Content-Length: {len(body)}\r\nAuthorization: {authorization}\r\n\r\n"
            answer = self._exchanged(connection, head.encode() + body)
        return read_response(*answer, row.password.withhold)

    def _open_connection(self) -> Any:  # noqa: ANN401  (urllib3's own)
        """Take a connection that is open; None if there is none."""
        while self._idle:
            try:
                connection = self._idle.pop()  # last in, first out: the rest may time out
            except IndexError:  # another thread took the last one
                break
            if connection.is_quiet():  # otherwise the server has closed it; nothing was sent on it
                return connection
            connection.close()
        return None

    def _exchanged(self, connection: Any, request: bytes) -> tuple[int, Mapping[str, str], bytes]:  # noqa: ANN401  (as above)
        """Send a request on an open connection and return the answer."""
        try:
            answer: tuple[int, Mapping[str, str], bytes] = connection.exchange(request)
        except WithheldError as error:
            if connection.sock:  # otherwise the request was written, and dropped with the connection
                self._idle.append(connection)
            raise HTTPClientError(error=error) from None
        except BaseException as error:
            connection.close()  # a late answer must not be taken for that of another call
            if isinstance(error, OSError | HTTPException | AnswerTooLargeError):
                raise exchange_error(error, self._url) from None
            raise
        if connection.sock:
            self._idle.append(connection)
        return answer

    def _sent(self, headers: Any, body: bytes) -> tuple[int, Mapping[str, str], bytes]:  # noqa: ANN401  (see below)
        """Send a request as botocore does, which opens a connection, and return the answer.

        `headers` is a dict; the stubs require the class of a request that is not prepared.
        """
        request = AWSPreparedRequest("POST", self._url, headers, body, stream_output=False)
        answers = self._events.emit(_BEFORE_SEND, request=request)
        answer = next((given for _, given in answers if given is not None), None) or self._session.send(request)
        if not answers and (connection := take_open_connection(self._session, self._url)):
            self._idle.append(connection)  # nobody listens to before-send
        return answer.status_code, answer.headers, answer.content

    def _signed(self, body: bytes) -> tuple["_Stamp", str]:
        """Return the parts of a request, and its Authorization header with a Signature Version 4.

        Raises NoCredentialsError, or what the keys' provider raises.
        https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
        """
        if self._credentials is None:
            raise NoCredentialsError
        keys, second = self._credentials.get_frozen_credentials(), int(time.time())
        stamp = self._stamp
        if stamp is None or stamp.second != second or stamp.keys != keys:
            self._stamp = stamp = self._new_stamp(keys, second)
        canonical = f"{stamp.canonical}{hashlib.sha256(body).hexdigest()}"
        text = f"{stamp.text}{hashlib.sha256(canonical.encode()).hexdigest()}"
        inner, outer = stamp.inner.copy(), stamp.outer.copy()  # hmac's own objects take twice as long
        inner.update(text.encode())
        outer.update(inner.digest())
        return stamp, f"{stamp.authorization}, Signature={outer.hexdigest()}"

    def _new_stamp(self, keys: ReadOnlyCredentials, second: int) -> "_Stamp":
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        signed = {
            "content-type": self._headers["Content-Type"],
            "host": self._host,
            "x-amz-date": at,
            **({"x-amz-security-token": keys.token} if keys.token else {}),
            "x-amz-target": self._headers["X-Amz-Target"],
        }
        names = ";".join(signed)
        lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in signed.items())
        scope = (at[:8], self._region, self._service, "aws4_request")
        key = f"AWS4{keys.secret_key}".encode()
        for part in scope:
            key = hmac.digest(key, part.encode(), "sha256")
        inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in key.ljust(64, b"\0"))) for pad in (0x36, 0x5C))
        headers = self._headers | {"X-Amz-Date": at}
        if keys.token:
            headers["X-Amz-Security-Token"] = keys.token
        return _Stamp(
            keys,
            second,
            inner,
            outer,
            f"POST\n/\n\n{lines}\n{names}\n",
            f"AWS4-HMAC-SHA256\n{at}\n{'/'.join(scope)}\n",
            headers,
            f"POST / HTTP/1.1\r\nHost: {self._host}\r\nAccept-Encoding: identity\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in headers.items()),
            f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{'/'.join(scope)}, SignedHeaders={names}",
        )


def _close(connections: list[Any]) -> None:
    for connection in connections:
        connection.close()


@dataclass(frozen=True, slots=True, repr=False)  # it has keys
class _Stamp:
    """The parts of all requests of one second: the HMAC of the signing key (RFC 2104), and how each text begins."""

    keys: ReadOnlyCredentials
    second: int
    inner: Any
    outer: Any
    canonical: str
    text: str
    headers: dict[str, str]
    head: str
    authorization: str
