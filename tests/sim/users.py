"""One user of a pool, its names, and its attributes for filters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

STATUSES: Final = frozenset(
    {
        "ARCHIVED",
        "COMPROMISED",
        "CONFIRMED",
        "EXTERNAL_PROVIDER",
        "FORCE_CHANGE_PASSWORD",
        "RESET_REQUIRED",
        "UNCONFIRMED",
        "UNKNOWN",
    }
)
_SUB_LENGTH: Final = 36
# Shared by all users without attributes: a dict each would be most of a plain user's memory.
NO_ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(slots=True)
class User:
    """One user; the counters say what was done to it since it was created."""

    username: str
    number: int
    status: str = "CONFIRMED"
    password: str | None = None
    enabled: bool = True
    attributes: Mapping[str, str] = field(default_factory=lambda: NO_ATTRIBUTES)
    history: tuple[str, ...] = ()
    created: float = 0.0
    modified: float = 0.0
    applied: int = 0
    sign_outs: int = 0
    mfa: Sequence[str] = ()  # SMS_MFA, EMAIL_OTP, SOFTWARE_TOKEN_MFA
    legacy_mfa: bool = False  # ListUsers shows SMS MFA of this user, as it does for the old MFAOptions
    devices: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    passkeys: int = 0

    @property
    def sub(self) -> str:
        """Return the user's immutable id; by default derived from its number, so that it needs no storage."""
        return self.attributes.get("sub") or sub_of(self.number)

    def value(self, attribute: str) -> str:
        """Return what a filter on `attribute` compares; empty if the user has none."""
        match attribute:
            case "username":
                return self.username
            case "sub":
                return self.sub
            case "cognito:user_status":
                return self.status
            case "status":
                return "Enabled" if self.enabled else "Disabled"
        return self.attributes.get(attribute, "")

    def shown(self, attributes_key: str) -> dict[str, Any]:
        """Return the UserType of the API, which calls the attributes by two names."""
        attributes = {"sub": self.sub, **self.attributes}
        old = {"MFAOptions": [{"DeliveryMedium": "SMS", "AttributeName": "phone_number"}]} if self.legacy_mfa else {}
        return old | {
            "Username": self.username,
            attributes_key: [{"Name": name, "Value": value} for name, value in attributes.items()],
            "UserCreateDate": self.created,
            "UserLastModifiedDate": self.modified,
            "Enabled": self.enabled,
            "UserStatus": self.status,
        }


def sub_of(number: int) -> str:
    """Return the sub of the user with that number, if it was created without one.

    Its first digit changes the fastest: as with the service, each prefix has the same share of the users.
    """
    return f"{number:08x}"[::-1] + f"-0000-4000-8000-{number:012x}"


def number_in(sub: str) -> int:
    """Return the number from which `sub` was derived, 0 for any other text."""
    if len(sub) != _SUB_LENGTH:
        return 0
    try:
        number = int(sub[24:], 16)
    except ValueError:
        return 0
    return number if sub_of(number) == sub else 0


def names_by(
    attributes: Mapping[str, str], alias_attributes: Sequence[str], username_attributes: Sequence[str]
) -> Iterator[str]:
    """Return the attributes whose value names a user that has these."""
    for attribute in alias_attributes:
        # Only a verified address belongs to the user: anybody can claim an unverified one.
        verified = attribute == "preferred_username" or attributes.get(f"{attribute}_verified") == "true"
        if verified and attributes.get(attribute):
            yield attribute
    for attribute in username_attributes:
        if attributes.get(attribute):
            yield attribute
