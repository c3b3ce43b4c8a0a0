"""The steps after a password was set, in one table: the call, its quota, which pools have it, and its report column."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol


class PoolFeatures(Protocol):
    """What decides whether a step makes sense in a user pool."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step. Repeating it is safe: it is sent again until its outcome is known.

    `category` is the quota of `call`, and `quota` its calls per second for an account and Region. `column` is the column
    in the journal and the report, and the key in the summary. Texts: `noun` and `perhaps` ("only the NOUN failed", "an
    answer was lost, so PERHAPS"), `done` and `undone` ("5 DONE", "5 users UNDONE"), `doing` for the progress, `label`
    in the preflight, `title` over the figures, and `cost`, what it means for a user. `is_there` returns whether a pool has what the step removes,
    None if that is not known.
    """

    name: str
    call: str
    category: str
    quota: float
    column: str
    label: str
    title: str
    noun: str
    perhaps: str
    done: str
    undone: str
    doing: str
    cost: str
    is_there: Callable[[PoolFeatures], bool | None]


SIGN_OUT: Final = Step(
    name="sign_out",
    call="AdminUserGlobalSignOut",
    category="UserUpdate",
    quota=25.0,
    column="signed_out",
    label="Sign-out",
    title="Sign-outs",
    noun="sign-out",
    perhaps="the user may be signed out",
    done="signed out",
    undone="not signed out",
    doing="signing out",
    cost="from all devices",
    is_there=lambda _pool: True,
)

# In the order in which they are taken for a user, one after the other.
STEPS: Final[Mapping[str, Step]] = {step.name: step for step in (SIGN_OUT,)}
BY_CALL: Final[Mapping[str, Step]] = {step.call: step for step in STEPS.values()}
BY_COLUMN: Final[Mapping[str, Step]] = {step.column: step for step in STEPS.values()}
COLUMNS: Final = tuple(BY_COLUMN)

Counted = Mapping[str, Mapping[str, int]]  # users by the state of a step (done, failed, pending), by its column
