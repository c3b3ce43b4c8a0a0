"""The base class of all job file tables, and the number types that several tables use."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_SECONDS = 10 * 365 * 86_400  # seconds: caps "forever" at a value that clocks can represent

Positive = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
TimeOut = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


def matches(pattern: str, what: str) -> AfterValidator:
    """Return a validator of text that must match the whole `pattern`. Its error says that it must be `what`."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            msg = f"must be {what}"
            raise ValueError(msg)
        return value

    return AfterValidator(check)


def parse_duration(value: object) -> object:
    """Return seconds for text such as "90m"; any other value is returned as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", value)
    if not found:
        msg = 'must be seconds, or a number with s, m, h or d, as in "90m"'
        raise ValueError(msg)
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


class ConfigTable(BaseModel):
    """One table of the job file. Unknown keys are errors, and values are immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, strict=True)
