"""Settings for how fast a job runs and how often it retries."""

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import Field, field_validator

from bulkreset.job.base import ConfigTable, Positive

SLOWEST = 0.001  # calls per second: about one call in 17 minutes
FASTEST = 10_000  # calls per second: far above any quota; also limits how many rows are claimed at once


class PaceConfig(ConfigTable):
    """How fast to send and how often to retry. Rates are calls per second, waits are seconds."""

    rate: Annotated[float, Field(ge=SLOWEST, le=FASTEST)] | Literal["auto", "none"] = "auto"
    share: float = Field(default=0.8, ge=SLOWEST, le=1)
    workers: int | None = Field(default=None, ge=1, le=256)
    transport: Literal["auto", "boto3", "crt"] = "auto"
    max_attempts: int = Field(default=10, ge=1, le=100)
    max_wait: Positive = 20.0

    @field_validator("transport")
    @classmethod
    def _installed(cls, value: str) -> str:
        if value == "crt" and not find_spec("awscrt"):
            msg = "needs the extra crt, which is not installed: pip install 'bulkreset[crt]'"
            raise ValueError(msg)
        return value
