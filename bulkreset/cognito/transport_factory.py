"""Which transport carries a run: boto3, or AWS's C runtime where it is installed and the run is fast."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Final, Literal

from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.session import TargetSession
from bulkreset.cognito.transport import Transport

TransportKind = Literal["boto3", "crt"]

BOTO3_CARRIES: Final = 400  # calls per second that leave half a processor to everything else; boto3 takes 1 ms for one


# Calls per second in one process, as measured: what a lane without a pace has threads for.
MAX_RATE: Final[Mapping[TransportKind, int]] = {"boto3": 700, "crt": 5000}


def choose_transport(wanted: TransportKind | Literal["auto"], ceilings: Iterable[float | None]) -> TransportKind:
    """The transport for lanes with these ceilings, in calls per second; None is a lane without one."""
    if wanted != "auto":
        return wanted
    rates = list(ceilings)
    fast = None in rates or sum(rate for rate in rates if rate) > BOTO3_CARRIES
    return "crt" if fast and find_spec("awscrt") else "boto3"


def open_transport(kind: TransportKind, session: TargetSession) -> Transport:
    """A transport of that kind for one target. Raises TargetError where none can be made."""
    if kind == "boto3":
        return BotoTransport.of(session)
    from bulkreset.cognito.crt_transport import CrtTransport  # noqa: PLC0415  (an extra)

    return CrtTransport(session)
