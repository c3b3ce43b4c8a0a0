"""The base class of all job file tables, and the number types that several tables use."""

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MAX_SECONDS = 10 * 365 * 86_400  # seconds: caps "forever" at a value that clocks can represent

Positive = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
TimeOut = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


def _in_seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", value)
    if not found:
        raise ValueError('must be seconds, or a number with s, m, h or d, as in "90m"')
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


Duration = Annotated[Positive, BeforeValidator(_in_seconds)]  # seconds, or text such as "90m"


def matches(pattern: str, what: str) -> AfterValidator:
    """Return a validator of text that must match the whole `pattern`. Its error says that it must be `what`."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {what}")
        return value

    return AfterValidator(check)


TimeOfDay = Annotated[str, matches(r"([01][0-9]|2[0-3]):[0-5][0-9]", 'a time like "06:30"')]


def require_extra(module: str, extra: str) -> None:
    """Raise ValueError if a module that this package's extra has is not installed."""
    if not find_spec(module):
        raise ValueError(f"needs the extra {extra}, which is not installed: pip install 'bulkreset[{extra}]'")


def needs_extra(module: str, extra: str) -> AfterValidator:
    """Return a validator of a value that needs this package's extra. Its error is that of `require_extra`."""

    def check(value: object) -> object:
        require_extra(module, extra)
        return value

    return AfterValidator(check)


def absolute(path: Path | str) -> Path:
    """Return a path as an absolute one, with the user's home for "~"."""
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111  (Path.expanduser raises for an unknown user)


AbsolutePath = Annotated[Path, Field(strict=False), AfterValidator(absolute)]


class ConfigTable(BaseModel):
    """One table of the job file. Unknown keys are errors, and values are immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, strict=True)
