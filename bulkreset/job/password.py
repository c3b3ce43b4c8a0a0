"""Settings for passwords: their source, the rules to generate them, and the recipients they are encrypted for."""

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
    """The source of the passwords: from the input, or generated here with at least `length` characters."""

    source: Literal["input", "generate"] = "input"
    length: int = Field(default=24, ge=12, le=98)
    policy: PasswordPolicy = PasswordPolicy()


class GeneratedPasswordsConfig(ConfigTable):
    """The recipients that generated passwords are encrypted for.

    `path` is the folder for the encrypted file (default: the run directory).
    """

    recipients: tuple[str, ...] = Field(default=(), strict=False)
    path: Path | None = Field(default=None, strict=False)
