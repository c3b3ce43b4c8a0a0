"""Settings of a scheduled job: the file that records its finished inputs, and where these are moved."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import field_validator, model_validator

from bulkreset.job.base import ConfigTable, Duration, matches
from bulkreset.job.input import Location, parse_location

TAG = "tag"  # as the value of `done`: finished inputs stay in place, and S3 tags them


class ScheduleConfig(ConfigTable):
    """A job that runs again and again, and processes each input once. Without a `state` a job is not scheduled.

    `state` is the file or S3 object that records finished inputs. `expected`: a scheduled run without a new input is an
    error. `done` is the folder to which finished inputs are moved. `on_bad_input`: whether an unreadable file stops the
    run of the others. `settle` (seconds): a file is read after it has not changed for this time. `marker` is a file
    name: the files of a folder are read when the folder has it.
    """

    state: Location | None = None
    expected: bool = False
    done: Location | None = None
    on_bad_input: Literal["stop", "skip"] = "stop"
    settle: Duration | None = None
    marker: Annotated[str, matches(r"[^/*?\[\]]{1,255}", 'the name of a file, such as "_SUCCESS"')] | None = None

    @field_validator("state", "done", mode="before")
    @classmethod
    def _as_location(cls, value: object) -> object:
        if value is not None and not (isinstance(value, str | Path) and str(value)):
            raise ValueError("must be a path")
        return value if value in {None, TAG} else parse_location(value)

    @model_validator(mode="after")
    def _has_state(self) -> Self:
        changed = [
            name for name in type(self).model_fields if getattr(self, name) != type(self).model_fields[name].default
        ]
        if not self.state and changed:
            raise ValueError(f"has {changed[0]}, but no state: set schedule.state too")
        return self
