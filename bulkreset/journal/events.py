"""What happens while a run sends. One commit of events goes to the journal, and from there to the mirror."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from bulkreset.models import Outcome, RateChange, StepOutcome


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row that will be sent; its commit comes before its first call. `at_ms` is the time in Unix milliseconds."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # an outcome has more fields, so it is never read as a claim

    row: int
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class StateChanged:
    """New values of fields of the run state."""

    changes: Mapping[str, Any]


Event = Outcome | StepOutcome | Claimed | RateChange | StateChanged
