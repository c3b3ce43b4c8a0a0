"""Chooses the transport of a run: boto3, or AWS's C runtime if it is installed and the run is fast."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Final, Literal

from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.session import TargetSession
from bulkreset.cognito.transport import Transport

TransportKind = Literal["boto3", "crt"]

# calls per second at which half a processor is left for other work; boto3 needs 1 ms per call
BOTO3_CARRIES: Final = 400


# Measured calls per second in one process. A lane without a pace gets enough threads for this rate.
MAX_RATE: Final[Mapping[TransportKind, int]] = {"boto3": 700, "crt": 5000}


def choose_transport(wanted: TransportKind | Literal["auto"], ceilings: Iterable[float | None]) -> TransportKind:
    """Return the transport for lanes with these ceilings, in calls per second; None is a lane without a ceiling."""
    if wanted != "auto":
        return wanted
    rates = list(ceilings)
    fast = None in rates or sum(rate for rate in rates if rate) > BOTO3_CARRIES
    return "crt" if fast and find_spec("awscrt") else "boto3"


def open_transport(kind: TransportKind, session: TargetSession) -> Transport:
    """Return a transport of this kind for one target. Raises TargetError if none can be created."""
    if kind == "boto3":
        return BotoTransport.of(session)
    from bulkreset.cognito.crt_transport import CrtTransport  # noqa: PLC0415  (an extra)

    return CrtTransport(session)
