"""The steps after a password was set, in one table: the call, its quota, which pools have it, and its report column."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

MOST_ITEMS: Final = 1000  # devices or sessions of a user that are removed in one go; a user has a few
MOST_EMPTY_PAGES: Final = 10  # of a user's items, each with a token of a next one


class PoolFeatures(Protocol):
    """The features of a user pool that an attacker can use to stay. None: unknown."""

    @property
    def has_sessions(self) -> bool | None:
        """Return whether the pool tracks sessions."""

    @property
    def has_devices(self) -> bool | None:
        """Return whether the pool remembers devices."""

    @property
    def has_totp(self) -> bool | None:
        """Return whether users may have an authenticator."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The call that lists what a step removes one by one.

    `items` and `token` are fields of its answer, and `token` is a field of the next request, too. `key` is the field of
    an item that the removing call needs, under the same name.
    """

    call: str
    items: str
    key: str
    token: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One step. Repeating it is safe: it is sent again until its outcome is known.

    With a `listing`, the user's items are listed first, and `call` is sent for each of them. `category` is the quota of
    `call`, and `quota` its calls per second for an account and Region. `gone` are codes of an answer to `call` that
    mean that there is nothing to remove. `column` is the column in the journal and the report, and the key in the
    summary.

    Texts: `noun` and `perhaps` ("only the NOUN failed", "an answer was lost, so PERHAPS"), `done` and `undone` ("5
    DONE", "5 users UNDONE"), `doing` for the progress, `label` in the preflight, `title` over the figures, `cost`, what
    it means for a user, `absent`, why a pool does not need it, and `items`, what is removed one by one. `is_there`
    returns whether a pool has what the step removes.
    """

    name: str
    call: str
    column: str
    label: str
    title: str
    noun: str
    perhaps: str
    done: str
    undone: str
    doing: str
    cost: str
    category: str = "UserResourceUpdate"
    quota: float = 25.0
    absent: str = ""
    items: str = ""
    is_there: Callable[[PoolFeatures], bool | None] = lambda _pool: True
    listing: Listing | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()

    @property
    def calls(self) -> tuple[str, ...]:
        """Return its operations."""
        return (self.listing.call, self.call) if self.listing else (self.call,)

    @property
    def most_calls(self) -> int:
        """Return how many calls it needs for a user at most, without repetitions."""
        return 1 if self.listing is None else 2 * MOST_ITEMS + MOST_EMPTY_PAGES + 1


ONLY: Final = "the password was set; only "  # how the message of a row with failed steps begins
_NOT_FOUND: Final = frozenset({"ResourceNotFoundException"})

SIGN_OUT: Final = Step(
    name="sign_out",
    call="AdminUserGlobalSignOut",
    category="UserUpdate",
    column="signed_out",
    label="Sign-out",
    title="Sign-outs",
    noun="sign-out",
    perhaps="the user may be signed out",
    done="signed out",
    undone="not signed out",
    doing="signing out",
    cost="from all devices",
)
# AWS has not published the quota category of the calls for sessions and of AdminDeleteSoftwareToken. They are treated
# as UserResourceUpdate, the lowest possible one. That of AdminListDevices, UserResourceRead, is twice as much.
REVOKE_SESSIONS: Final = Step(
    name="revoke_sessions",
    call="AdminRevokeUserSession",
    column="sessions_revoked",
    label="Sessions",
    title="Tracked sessions",
    noun="revocation of the tracked sessions",
    perhaps="some may be revoked",
    done="users without sessions",
    undone="with sessions left",
    doing="revoking sessions",
    cost="tracked sessions revoked (they must sign in again everywhere, with single sign-on, too)",
    absent="sessions are not tracked",
    items="sessions",
    is_there=lambda pool: pool.has_sessions,
    listing=Listing("AdminListUserSessions", items="Sessions", key="SessionId", token="NextToken"),  # noqa: S106
    parameters={"RevokeAssociatedSessions": "LINKED"},
    gone=_NOT_FOUND,
)
FORGET_DEVICES: Final = Step(
    name="forget_devices",
    call="AdminForgetDevice",
    column="devices_forgotten",
    label="Devices",
    title="Remembered devices",
    noun="removal of the remembered devices",
    perhaps="some may be forgotten",
    done="users without devices",
    undone="with devices left",
    doing="forgetting devices",
    cost="remembered devices forgotten (they need MFA again on each device)",
    absent="devices are not remembered",
    items="devices",
    is_there=lambda pool: pool.has_devices,
    listing=Listing(
        "AdminListDevices",
        items="Devices",
        key="DeviceKey",
        token="PaginationToken",  # noqa: S106
        parameters={"Limit": 60},
    ),
    gone=_NOT_FOUND,
)
DELETE_TOTP: Final = Step(
    name="delete_totp",
    call="AdminDeleteSoftwareToken",
    column="totp_deleted",
    label="TOTP",
    title="Authenticators (TOTP)",
    noun="removal of the authenticator",
    perhaps="it may be deleted",
    done="users without authenticator",
    undone="with their authenticator",
    doing="deleting authenticators",
    cost="authenticators deleted (they must register a new one; if MFA is optional, the password is enough until then)",
    absent="there are no authenticators (TOTP)",
    is_there=lambda pool: pool.has_totp,
    gone=_NOT_FOUND,
)

# In the order in which they are taken for a user: somebody who is still signed in could register something again.
STEPS: Final[Mapping[str, Step]] = {
    step.name: step for step in (SIGN_OUT, REVOKE_SESSIONS, FORGET_DEVICES, DELETE_TOTP)
}
BY_CALL: Final[Mapping[str, Step]] = {step.call: step for step in STEPS.values()}
BY_COLUMN: Final[Mapping[str, Step]] = {step.column: step for step in STEPS.values()}
COLUMNS: Final = tuple(BY_COLUMN)
CALLS: Final = tuple(call for step in STEPS.values() for call in step.calls)

Counted = Mapping[str, Mapping[str, int]]  # users by the state of a step (done, failed, pending), by its column
