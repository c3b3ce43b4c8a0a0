"""Limits that stop a run although rows remain, and the users that a run must not change."""

from typing import Annotated, Literal

from pydantic import Field

from bulkreset.job.base import ConfigTable, Duration, TimeOfDay


class ProtectedConfig(ConfigTable):
    """Users that are never changed, by username and by group of their pool."""

    usernames: tuple[str, ...] = Field(default=(), strict=False)
    groups: tuple[str, ...] = Field(default=(), strict=False)


class GuardsConfig(ConfigTable):
    """The limits that stop a run.

    `limit` is the maximum number of rows per execution. `scope`: whether a guard of one lane stops that lane or the
    run. `count_pauses`: whether pauses count for `max_duration`. `max_refused_in_a_row` = 0 means no limit. Failures
    are counted per execution. Durations are seconds, or text such as "90m" or "8h".
    """

    max_rows: int | None = Field(default=None, ge=0)
    max_failures: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^\d{1,2}(\.\d+)?%$")] | None = None
    failures_sample: int = Field(default=100, ge=1)
    max_refused_in_a_row: int = Field(default=100, ge=0)
    max_duration: Duration | None = None
    count_pauses: bool = True
    stop_at: TimeOfDay | None = None
    limit: int | None = Field(default=None, ge=1)
    scope: Literal["lane", "run"] = "lane"
    protected: ProtectedConfig = ProtectedConfig()
