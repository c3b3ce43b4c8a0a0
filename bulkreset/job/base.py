"""The table: what every table of a job file is, and the figures that several of them take."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_SECONDS = 10 * 365 * 86_400  # seconds: what is meant to last for ever has an end that clocks can hold

Positive = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
TimeOut = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class ConfigTable(BaseModel):
    """One table of the job file: unknown keys are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, strict=True)
