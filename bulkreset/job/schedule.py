"""Settings of a scheduled job: the file that records its finished inputs, and where these are moved."""

from pathlib import Path
from typing import Self

from pydantic import field_validator, model_validator

from bulkreset.job.base import ConfigTable
from bulkreset.job.input import Location, parse_location

TAG = "tag"  # as the value of `done`: finished inputs stay in place, and S3 tags them


class ScheduleConfig(ConfigTable):
    """A job that runs again and again, and processes each input once. Without a `state` a job is not scheduled.

    `state` is the file or S3 object that records finished inputs. `expected`: a scheduled run without a new input is an
    error. `done` is the folder that finished inputs are moved to.
    """

    state: Location | None = None
    expected: bool = False
    done: Location | None = None

    @field_validator("state", "done", mode="before")
    @classmethod
    def _as_location(cls, value: object) -> object:
        if value is not None and not (isinstance(value, str | Path) and str(value)):
            msg = "must be a path"
            raise ValueError(msg)
        return value if value in {None, TAG} else parse_location(value)

    @model_validator(mode="after")
    def _has_state(self) -> Self:
        if not self.state and (self.expected or self.done):
            msg = f"has {'expected' if self.expected else 'done'}, but no state: set schedule.state too"
            raise ValueError(msg)
        return self
