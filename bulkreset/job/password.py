"""The passwords: where they come from, by which rules they are made, and to whom they are sealed."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from bulkreset.job.base import ConfigTable


class PasswordPolicy(ConfigTable):
    """A pool's password policy, named as Cognito names it; what is not given is not checked."""

    minimum_length: int | None = Field(default=None, ge=6, le=99)
    require_uppercase: bool = False
    require_lowercase: bool = False
    require_numbers: bool = False
    require_symbols: bool = False


class PasswordConfig(ConfigTable):
    """Where the passwords come from: the input, or made here, of `length` characters at least."""

    source: Literal["input", "generate"] = "input"
    length: int = Field(default=24, ge=12, le=98)
    policy: PasswordPolicy = PasswordPolicy()


class GeneratedPasswordsConfig(ConfigTable):
    """To whom made passwords are sealed, and the folder where; without one, the run directory has it."""

    recipients: tuple[str, ...] = Field(default=(), strict=False)
    path: Path | None = Field(default=None, strict=False)
