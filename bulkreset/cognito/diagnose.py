"""The probe: a way that AWS's runtime could not go, gone once more by botocore, which can say what is wrong with it."""

from typing import Any, Final

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, SSLError
from botocore.httpsession import URLLib3Session

from bulkreset.cognito.boto3_transport import UNSENT, is_about_the_certificate
from bulkreset.cognito.endpoint import Endpoint
from bulkreset.cognito.response import Response
from bulkreset.cognito.response_parser import BAD_CERTIFICATE, not_sent_response

LONGEST: Final = 2.0  # seconds of connecting, and of waiting for an answer


def diagnose_connection(route: Endpoint) -> Response | None:
    """What is wrong with the way; None where botocore gets through. Nothing of a row is sent: an unsigned HEAD is.

    The runtime tells a bad certificate only ten to thirty seconds later, and then not from any other failed handshake.
    """
    patience: Any = (min(route.connect_timeout, LONGEST), min(route.connect_timeout, LONGEST))
    trusted: Any = route.ca_file or False  # a path, as botocore's own callers give it
    session = URLLib3Session(verify=trusted, proxies=route.proxies, timeout=patience)
    try:
        session.send(AWSRequest("HEAD", route.url).prepare())
    except SSLError as error:
        return BAD_CERTIFICATE if is_about_the_certificate(error) else not_sent_response("EndpointConnectionError")
    except UNSENT as error:
        return not_sent_response(type(error).__name__)
    except (BotoCoreError, ValueError):  # it may have got through and not been answered
        return None
    finally:
        session.close()
    return None
