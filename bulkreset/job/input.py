"""Settings for the source of the rows: local files, S3 objects or the user pools themselves."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from bulkreset.job.base import AbsolutePath, ConfigTable, absolute, matches

S3 = "s3://"
Location = Path | str  # a local path, or an address that begins with S3

# Of each format of InputConfig.
SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "csv": (".csv",),
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet", ".pq"),
}
COMPRESSED = (".gz", ".zst")  # suffixes that follow those of a text format
ENCRYPTED = ".age"

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](?=/)")


def parse_location(text: Location) -> Location:
    """Return the location as it is stored: an S3 address unchanged, a path made absolute.

    A run may be resumed from another directory, so a relative path is not enough.
    """
    return text if isinstance(text, str) and text.startswith(S3) else absolute(text)


class ColumnsConfig(ConfigTable):
    """The input's column names. `password` is None if the input must not have passwords, "" if they are ignored."""

    username: str = "username"
    password: str | None = Field(default="password", min_length=1)
    permanent: str = "permanent"
    user_pool_id: str = "user_pool_id"

    @model_validator(mode="after")
    def _differ(self) -> Self:
        names = [self.username, self.password, self.permanent, self.user_pool_id]
        if len(set(names)) < len(names):
            raise ValueError("names one column for two things")
        return self


class SelectConfig(ConfigTable):
    """The pool users that become rows: those who match every given condition.

    `not_in` is a file of users to leave out.
    """

    statuses: tuple[
        Literal[
            "ARCHIVED",
            "COMPROMISED",
            "CONFIRMED",
            "EXTERNAL_PROVIDER",
            "FORCE_CHANGE_PASSWORD",
            "RESET_REQUIRED",
            "UNCONFIRMED",
            "UNKNOWN",
        ],
        ...,
    ] = Field(default=(), strict=False)
    groups: tuple[str, ...] = Field(default=(), strict=False)
    created_before: datetime | None = Field(default=None, strict=False)
    not_in: AbsolutePath | None = None

    @field_validator("created_before", mode="before")
    @classmethod
    def _a_moment(cls, value: object) -> object:
        if isinstance(value, str):  # a journal stores it as text
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if value is not None and not isinstance(value, datetime):
            raise ValueError("must be a date, or a date and a time, as in 2026-01-31")
        return value.replace(tzinfo=UTC) if value and not value.tzinfo else value


class InputConfig(ConfigTable):
    """The source of the rows: files, or the pools themselves.

    `path` is a file, a folder, a pattern or a list of them, local or in S3. `profile` and `region` are used for S3
    only. `format` defaults to the format that the file name implies. `binary` says what the bytes of a binary column of
    Parquet are. `identity` decrypts files that age encrypted. `passwords_may_be_names`: do not refuse an input whose
    columns seem to be swapped.
    """

    path: Location | tuple[Location, ...] | None = None
    profile: str | None = None
    region: str | None = None
    from_pool: bool = False
    select: SelectConfig = SelectConfig()
    identity: AbsolutePath | None = None
    format: Literal["csv", "jsonl", "parquet"] | None = None
    delimiter: Annotated[str, matches(r'[^"\r\n]', "one character, neither a quote nor a line break")] = ","
    binary: Literal["utf8", "uuid"] | None = None
    escape: Literal["", "\\"] = ""
    encoding: str = "utf-8"
    columns: ColumnsConfig = ColumnsConfig()
    on_duplicate: Literal["refuse", "first", "last"] = "refuse"
    on_suspect_password: Literal["warn", "reject", "send"] = "warn"  # noqa: S105  (a mode, not a password)
    passwords_may_be_names: bool = False

    @field_validator("path", mode="before")
    @classmethod
    def _places(cls, value: object) -> object:
        given: Any = value if isinstance(value, list | tuple) else [value]
        if value is not None and not (given and all(isinstance(one, str | Path) and str(one) for one in given)):
            raise ValueError("must be a path, or a list of paths")
        if "-" in map(str, given):
            raise ValueError(
                'must be a file: "-" is standard input, and an input is read twice, and again by resume;'
                " --input - --spool keeps it"
            )
        for one in given:
            if isinstance(one, str) and one.startswith(S3) and not _BUCKET.match(one):
                raise ValueError("must name an object of S3's as s3://bucket/key")
        kept = tuple(map(parse_location, given)) if value is not None else None
        return kept if kept is None or isinstance(value, list | tuple) else kept[0]

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)  # also refuses codecs that do not encode text
        except LookupError:
            raise ValueError("is not an encoding that Python knows") from None
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.from_pool and (self.path or self.identity):
            has = "a path" if self.path else "an identity"
            raise ValueError(f"has {has}, and from_pool: the rows come from a file or from the pools")
        if not self.from_pool and not self.path:
            raise ValueError("names neither a path nor from_pool")
        if not self.from_pool and self.select != SelectConfig():
            raise ValueError("has a select, which needs from_pool")
        return self

    @property
    def file(self) -> Location:
        """Return the path of an input that is one file. Raises ValueError if it is not."""
        if self.path is None or isinstance(self.path, tuple):
            raise ValueError("the input is not one file")
        return self.path

    @property
    def places(self) -> tuple[Location, ...]:
        """Return the given paths and addresses, in order."""
        return self.path if isinstance(self.path, tuple) else (self.path,) if self.path else ()

    @property
    def named(self) -> str:
        """Return `places` as one line of text."""
        return ", ".join(map(str, self.places))
