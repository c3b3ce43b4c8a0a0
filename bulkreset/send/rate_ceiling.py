"""The ceiling of a lane: the lowest of all limits on its calls per second. The job's own limit comes from the preflight."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

JOB: Final = "job"
CONTROL: Final = "control"
PAUSED: Final = "paused"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on a lane's calls per second, and its reason.

    A `rate` of None is no limit; 0 means that nothing may leave.
    """

    rate: float | None
    reason: str


def lowest(limits: Iterable[Limit]) -> Limit:
    """Return the lowest limit, the first one of equal limits. `limits` begins with the job's own.

    So no other limit raises a lane above what the job says and the operator has confirmed.
    """
    first, *others = limits
    found = first
    for limit in others:
        if limit.rate is not None and (found.rate is None or limit.rate < found.rate):
            found = limit
    return found
