"""Settings for passwords: their source, the rules to generate them, and who can decrypt them."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from bulkreset.job.base import ConfigTable


class PasswordPolicy(ConfigTable):
    """A pool's password policy, with Cognito's names. Rules that are not given are not checked."""

    minimum_length: int | None = Field(default=None, ge=6, le=99)
    require_uppercase: bool = False
    require_lowercase: bool = False
    require_numbers: bool = False
    require_symbols: bool = False


class PasswordConfig(ConfigTable):
    """The source of the passwords: from the input, or generated with at least `length` characters.

    Generated passwords are encrypted to `recipients` and written to `folder` (default: in the run directory).
    """

    source: Literal["input", "generate"] = "input"
    length: int = Field(default=24, ge=12, le=98)
    policy: PasswordPolicy = PasswordPolicy()
    recipients: tuple[str, ...] = Field(default=(), strict=False)
    folder: Path | None = Field(default=None, strict=False)
