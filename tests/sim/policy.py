"""The password policy of a user pool, and the syntax of every password."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from tests.sim.errors import ApiError, Code, invalid

_SYMBOLS: Final = frozenset("^$*.[]{}()?\"!@#%&/\\,><':;|_~`=+-")
# The service's regular expressions treat \s as ASCII white space and stop `.` at any line end.
_SYNTAX: Final = re.compile(r"\S+[^\n\r\x85\u2028\u2029]*\S+", re.ASCII)
_MAX_LENGTH: Final = 256

_API_NAMES: Final = {
    "MinimumLength": "minimum_length",
    "RequireUppercase": "require_uppercase",
    "RequireLowercase": "require_lowercase",
    "RequireNumbers": "require_numbers",
    "RequireSymbols": "require_symbols",
    "PasswordHistorySize": "history_size",
    "TemporaryPasswordValidityDays": "temporary_validity_days",
}


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """A pool's password policy; the defaults are those of a new Cognito pool."""

    minimum_length: int = 8
    require_uppercase: bool = True
    require_lowercase: bool = True
    require_numbers: bool = True
    require_symbols: bool = True
    history_size: int = 0
    temporary_validity_days: int = 7

    @classmethod
    def from_api(cls, raw: Mapping[str, Any]) -> Self:
        """Read a PasswordPolicyType; raise ValueError for an unknown field."""
        if unknown := raw.keys() - _API_NAMES.keys():
            message = f"unknown password policy fields: {sorted(unknown)}"
            raise ValueError(message)
        return cls(**{_API_NAMES[name]: value for name, value in raw.items()})

    def to_api(self) -> dict[str, Any]:
        """Return the PasswordPolicyType that DescribeUserPool shows."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {api: own[name] for api, name in _API_NAMES.items()}

    def problem(self, password: str) -> str | None:
        """Return the first requirement that `password` violates, or None."""
        if len(password) < self.minimum_length:
            return "Password not long enough"
        # Only basic Latin characters count towards the minimums; others are allowed.
        wanted = (
            (self.require_uppercase, "uppercase", "A", "Z"),
            (self.require_lowercase, "lowercase", "a", "z"),
            (self.require_numbers, "numeric", "0", "9"),
        )
        for required, what, first, last in wanted:
            if required and not any(first <= c <= last for c in password):
                return f"Password must have {what} characters"
        if self.require_symbols and not _has_symbol(password):
            return "Password must have symbol characters"
        return None


def _has_symbol(password: str) -> bool:
    return " " in password[1:-1] or not _SYMBOLS.isdisjoint(password)


def check_syntax(password: str) -> None:
    """Raise InvalidParameterException for a password that no pool would accept."""
    if len(password) > _MAX_LENGTH:
        constraint = f"Member must have length less than or equal to {_MAX_LENGTH}"
        raise invalid(member="password", constraint=constraint)
    if not _SYNTAX.fullmatch(password):
        constraint = r"Member must satisfy regular expression pattern: ^[\S]+.*[\S]+$"
        raise invalid(member="password", constraint=constraint)


def check_policy(policy: PasswordPolicy, password: str) -> None:
    """Raise InvalidPasswordException with the violated requirement."""
    if problem := policy.problem(password):
        message = f"Password did not conform with policy: {problem}"
        raise ApiError(Code.POLICY_VIOLATION, message)
