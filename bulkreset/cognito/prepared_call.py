"""Sends AdminSetUserPassword with a boto3 client's endpoint, keys and connections, from a request prepared once."""

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import NoCredentialsError

from bulkreset.cognito.endpoint import netloc, password_body, request_of
from bulkreset.cognito.response import Response
from bulkreset.cognito.response_parser import read_response
from bulkreset.models import Row

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

_BEFORE_SEND = "before-send.cognito-identity-provider.AdminSetUserPassword"


class PreparedCall:
    """A call that differs from botocore's own only in its body, its date and its signature.

    botocore resolves the endpoint, makes the headers, provides the keys, and keeps the connections with their TLS,
    proxy and time-out settings; its errors are the same. The steps between are skipped, because they take more than
    half of a call's processor time: validation, serialisation and endpoint resolution of each call, the signer's
    general canonical form, all events but before-send, and the parsing of a success. The client must not retry.
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
        self._key: tuple[str, str, bytes] = "", "", b""

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
        headers: Any = self._signed(body)  # Any: the stubs require the class of a request that is not prepared
        request = AWSPreparedRequest("POST", self._url, headers, body, stream_output=False)
        answers = self._events.emit(_BEFORE_SEND, request=request)
        answer = next((given for _, given in answers if given is not None), None) or self._session.send(request)
        return read_response(answer.status_code, answer.headers, answer.content, row.password.withhold)

    def _signed(self, body: bytes) -> dict[str, str]:
        """Return the headers with a Signature Version 4. Raises NoCredentialsError, or what the keys' provider raises.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
        """
        if self._credentials is None:
            raise NoCredentialsError
        keys = self._credentials.get_frozen_credentials()
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        signed = {
            "content-type": self._headers["Content-Type"],
            "host": self._host,
            "x-amz-date": at,
            **({"x-amz-security-token": keys.token} if keys.token else {}),
            "x-amz-target": self._headers["X-Amz-Target"],
        }
        names = ";".join(signed)
        lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in signed.items())
        canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{at[:8]}/{self._region}/{self._service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._signing_key(keys.secret_key, at[:8]), text.encode(), "sha256").hex()
        headers = self._headers | {"Content-Length": str(len(body)), "X-Amz-Date": at}
        if keys.token:
            headers["X-Amz-Security-Token"] = keys.token
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def _signing_key(self, secret: str, day: str) -> bytes:
        """Return the key of a day, which is derived once."""
        known_secret, known_day, key = self._key
        if secret == known_secret and day == known_day:
            return key
        key = f"AWS4{secret}".encode()
        for part in (day, self._region, self._service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = secret, day, key
        return key
