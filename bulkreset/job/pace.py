"""Settings for how fast a job runs and how often it retries."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, field_validator

from bulkreset.job.base import ConfigTable, Positive, TimeOfDay, require_extra

SLOWEST = 0.001  # calls per second: about one call in 17 minutes
MOST_ENTRIES = 96  # of a timetable: one for each quarter of an hour
FASTEST = 10_000  # calls per second: far above any quota; also limits how many rows are claimed at once


class TimetableEntry(ConfigTable):
    """From a time of day on, at most `rate` calls per second; 0 sends nothing, "auto" is no limit of the timetable."""

    begin: TimeOfDay = Field(alias="from")
    rate: Annotated[float, Field(ge=0, le=FASTEST)] | Literal["auto"]

    model_config = ConfigDict(serialize_by_alias=True)


class PaceConfig(ConfigTable):
    """How fast to send and how often to retry. Rates are calls per second, waits are seconds.

    `shared`: what to do if another run sends in the same lane. `yield_to_users`: leave the part of the quota that users
    need free, plus `reserve`. `timezone` is that of the timetable's times of day; unset: this machine's.
    """

    rate: Annotated[float, Field(ge=SLOWEST, le=FASTEST)] | Literal["auto", "none"] = "auto"
    share: float = Field(default=0.8, ge=SLOWEST, le=1)
    workers: int | None = Field(default=None, ge=1, le=256)
    transport: Literal["auto", "boto3", "crt"] = "auto"
    max_attempts: int = Field(default=10, ge=1, le=100)
    max_wait: Positive = 20.0
    timetable: tuple[TimetableEntry, ...] = Field(default=(), strict=False, max_length=MOST_ENTRIES)
    timezone: str | None = None
    shared: Literal["split", "wait", "refuse"] = "split"
    yield_to_users: bool = False
    reserve: float = Field(default=3.0, ge=0, le=FASTEST)

    @field_validator("transport")
    @classmethod
    def _installed(cls, value: str) -> str:
        if value == "crt":
            require_extra("awscrt", "crt")
        return value

    @field_validator("timetable")
    @classmethod
    def _sends_sometime(cls, entries: tuple[TimetableEntry, ...]) -> tuple[TimetableEntry, ...]:
        if len({entry.begin for entry in entries}) < len(entries):
            raise ValueError("two entries begin at the same time")
        if entries and not any(entry.rate for entry in entries):
            raise ValueError("every entry has the rate 0, so nothing would ever be sent")
        return entries

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        try:
            return name if name is None else ZoneInfo(name).key
        except (KeyError, ValueError, OSError):  # the name of none, no name, a directory of names
            raise ValueError('is no timezone that this machine knows; give a name such as "Europe/Berlin"') from None
