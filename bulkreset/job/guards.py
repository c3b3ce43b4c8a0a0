"""Limits that stop a run although rows remain, and the users that a run must not change."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from bulkreset.job.base import ConfigTable, Positive, matches, parse_duration


class ProtectedConfig(ConfigTable):
    """Users that are never changed, by username and by group of their pool."""

    usernames: tuple[str, ...] = Field(default=(), strict=False)
    groups: tuple[str, ...] = Field(default=(), strict=False)


class GuardsConfig(ConfigTable):
    """The limits that stop a run.

    `limit` is the number of rows that one execution sends at most. `scope`: whether a guard of one lane stops that lane
    or the run. `max_refused_in_a_row` = 0 means no limit. Failures are counted per execution. Durations are seconds, or text such
    as "90m" or "8h".
    """

    max_rows: int | None = Field(default=None, ge=0)
    max_failures: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^\d{1,2}(\.\d+)?%$")] | None = None
    failures_sample: int = Field(default=100, ge=1)
    max_refused_in_a_row: int = Field(default=100, ge=0)
    max_duration: Positive | None = None
    stop_at: Annotated[str, matches(r"([01][0-9]|2[0-3]):[0-5][0-9]", 'a time like "06:30"')] | None = None
    limit: int | None = Field(default=None, ge=1)
    scope: Literal["lane", "run"] = "lane"
    protected: ProtectedConfig = ProtectedConfig()

    @field_validator("max_duration", mode="before")
    @classmethod
    def _in_seconds(cls, value: object) -> object:
        return parse_duration(value)
