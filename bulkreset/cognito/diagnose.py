"""Retries with botocore a connection that AWS's runtime could not open, to find out what is wrong."""

from typing import Any, Final

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, SSLError
from botocore.httpsession import URLLib3Session

from bulkreset.cognito.endpoint import Endpoint
from bulkreset.cognito.http_errors import UNSENT, is_about_the_certificate
from bulkreset.cognito.response import Response
from bulkreset.cognito.response_parser import BAD_CERTIFICATE, not_sent_response

LONGEST: Final = 2.0  # seconds to connect, and again to wait for a response


def diagnose_connection(route: Endpoint) -> Response | None:
    """Return what is wrong with the connection; None if botocore can connect, or may have connected.

    It sends an unsigned HEAD request without any data of a row. The runtime reports a bad certificate only after 10 to
    30 seconds, and as the same error as any other failed handshake.
    """
    patience: Any = (min(route.connect_timeout, LONGEST), min(route.connect_timeout, LONGEST))
    trusted: Any = route.ca_file or False  # a path, as botocore itself passes it
    session = URLLib3Session(verify=trusted, proxies=route.proxies, timeout=patience)
    try:
        session.send(AWSRequest("HEAD", route.url).prepare())
    except SSLError as error:
        return BAD_CERTIFICATE if is_about_the_certificate(error) else not_sent_response("EndpointConnectionError")
    except UNSENT as error:
        return not_sent_response(type(error).__name__)
    except (BotoCoreError, ValueError):  # the request may have arrived without a response
        return None
    finally:
        session.close()
    return None
