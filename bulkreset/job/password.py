"""Settings for passwords: their source, the rules to generate them, and who can decrypt them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic.alias_generators import to_pascal

from bulkreset.job.base import ConfigTable


class PasswordPolicy(ConfigTable):
    """A pool's password policy, with Cognito's names. Rules that are not given are not checked."""

    minimum_length: int | None = Field(default=None, ge=6, le=99)
    require_uppercase: bool = False
    require_lowercase: bool = False
    require_numbers: bool = False
    require_symbols: bool = False

    @classmethod
    def from_cognito(cls, rules: Mapping[str, Any]) -> "PasswordPolicy":
        """Return the policy in a PasswordPolicyType.

        It is not validated: a pool may have a minimum length that a job would not allow.
        """
        least = rules.get("MinimumLength")
        values: dict[str, Any] = {key: bool(rules.get(to_pascal(key))) for key in cls.model_fields}
        values["minimum_length"] = least if isinstance(least, int) and least > 0 else None
        return cls.model_construct(**values)

    def to_cognito(self) -> dict[str, Any]:
        """Return the policy as a PasswordPolicyType, without a minimum length that is not given."""
        return {to_pascal(key): value for key, value in self if value is not None}


class PasswordConfig(ConfigTable):
    """The source of the passwords: from the input, or generated with at least `length` characters.

    Generated passwords are encrypted to `recipients` and written to `folder` (default: in the run directory).
    """

    source: Literal["input", "generate"] = "input"
    length: int = Field(default=24, ge=12, le=98)
    policy: PasswordPolicy = PasswordPolicy()
    recipients: tuple[str, ...] = Field(default=(), strict=False)
    folder: Path | None = Field(default=None, strict=False)
