"""Check a request's AWS signature with botocore's own signing code."""

import hmac

from tests.sim.errors import ApiError, Code
from tests.sim.wire import Request, Signature


def check_signature(request: Request, signature: Signature, secret: str | None) -> None:
    """Raise what the service answers to an unknown key (None) or a wrong secret."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415  (slow to load: most simulators check none)
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    if secret is None:
        raise ApiError(Code.UNRECOGNIZED_CLIENT)
    headers = {name: value for name, value in request.headers.items() if name in signature.signed_headers}
    url = f"http://{request.headers.get('host', '')}{request.path}"
    signed = AWSRequest(request.method, url, headers, request.body)
    signed.context["timestamp"] = request.headers.get("x-amz-date", "")
    credentials = Credentials(signature.access_key, secret)
    signer = SigV4Auth(credentials, signature.service, signature.region)
    text = signer.string_to_sign(signed, signer.canonical_request(signed))
    expected = signer.signature(text, signed)
    if not hmac.compare_digest(expected, signature.digest):
        raise ApiError(Code.INVALID_SIGNATURE)
