"""Opens the transport that the job asks for: boto3, or AWS's C runtime."""

from collections.abc import Mapping
from typing import Final, Literal

from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.session import TargetSession
from bulkreset.cognito.transport import Transport

TransportKind = Literal["boto3", "crt"]

# Measured calls per second in one process. A lane without a pace gets enough threads for this rate.
MAX_RATE: Final[Mapping[TransportKind, int]] = {"boto3": 2500, "crt": 5000}


def choose_transport(wanted: TransportKind | Literal["auto"]) -> TransportKind:
    """Return the transport to use: boto3 if the job does not say, whose calls take half of the runtime's processor time."""
    return "boto3" if wanted == "auto" else wanted


def open_transport(kind: TransportKind, session: TargetSession) -> Transport:
    """Return a transport of this kind for one target. Raises TargetError if none can be created."""
    if kind == "boto3":
        return BotoTransport.of(session)
    from bulkreset.cognito.crt_transport import CrtTransport  # noqa: PLC0415  (an extra)

    return CrtTransport(session)
