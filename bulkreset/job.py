"""The job: what to do, validated as a whole and frozen."""

import os
import re
from contextlib import suppress
from datetime import UTC, date, datetime
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

SLOWEST = 0.001  # a call in a quarter of an hour
FASTEST = 10_000  # calls per second: far beyond any quota, and a bound on what is claimed at once

LONGEST = 10 * 365 * 86_400  # seconds: what is meant to last for ever has an end that clocks can hold

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](?=/)")

_Positive = Annotated[float, Field(gt=0, le=LONGEST, allow_inf_nan=False)]
_TimeOut = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class _Table(BaseModel):
    """One table of the job file: unknown keys are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, strict=True)


class Columns(_Table):
    """What the input calls our columns. `password`: None where the input must not have any, "" where they are passed over."""

    username: str = "username"
    password: str | None = Field(default="password", min_length=1)
    permanent: str = "permanent"
    user_pool_id: str = "user_pool_id"

    @model_validator(mode="after")
    def _differ(self) -> Self:
        names = [self.username, self.password, self.permanent, self.user_pool_id]
        if len(set(names)) < len(names):
            msg = "names one column for two things"
            raise ValueError(msg)
        return self


class Select(_Table):
    """Which users of the pools are rows: those whom everything that is given fits. `not_in`: a file of users who are left out."""

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
    not_in: Path | None = Field(default=None, strict=False)

    @field_validator("created_before", mode="before")
    @classmethod
    def _a_moment(cls, value: object) -> object:
        if isinstance(value, str):  # as a journal keeps it
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if value is not None and not isinstance(value, datetime):
            msg = "must be a date, or a date and a time, as in 2026-01-31"
            raise ValueError(msg)
        return value.replace(tzinfo=UTC) if value and not value.tzinfo else value

    @field_validator("not_in")
    @classmethod
    def _anywhere(cls, value: Path | None) -> Path | None:
        return value and Path(os.path.expanduser(value)).absolute()  # noqa: PTH111  (as below)


S3 = "s3://"
TAG = "tag"  # in place of where finished inputs go: they stay, and S3 keeps a tag
Where = Path | str  # a path of this machine's, or an address that begins with S3


def where(text: Where) -> Where:
    """The place as it is kept: an address of S3's as it stands, a path absolute, for a run may be resumed from another directory."""
    if isinstance(text, str) and text.startswith(S3):
        return text
    return Path(os.path.expanduser(text)).absolute()  # noqa: PTH111  (Path's own raises for an unknown user)


class Input(_Table):
    """Where the rows come from: files, or the pools themselves.

    `path` is a file, a folder, a pattern or a list of them, here or in S3; `profile` and `region` are for S3 alone.
    `format` defaults to what a file's name says; `identity` opens what age has sealed.
    """

    path: Where | tuple[Where, ...] | None = None
    profile: str | None = None
    region: str | None = None
    from_pool: bool = False
    select: Select = Select()
    identity: Path | None = Field(default=None, strict=False)
    state: Where | None = None
    expected: bool = False
    done: Where | None = None
    format: Literal["csv", "parquet"] | None = None
    delimiter: str = ","
    encoding: str = "utf-8"
    columns: Columns = Columns()
    on_duplicate: Literal["refuse", "first", "last"] = "refuse"

    @field_validator("path", mode="before")
    @classmethod
    def _places(cls, value: object) -> object:
        given: Any = value if isinstance(value, list | tuple) else [value]
        if value is not None and not (given and all(isinstance(one, str | Path) and str(one) for one in given)):
            msg = "must be a path, or a list of paths"
            raise ValueError(msg)
        for one in given:
            if isinstance(one, str) and one.startswith(S3) and not _BUCKET.match(one):
                msg = "must name an object of S3's as s3://bucket/key"
                raise ValueError(msg)
        kept = tuple(map(where, given)) if value is not None else None
        return kept if kept is None or isinstance(value, list | tuple) else kept[0]

    @field_validator("state", "done", mode="before")
    @classmethod
    def _place(cls, value: object) -> object:
        if value is not None and not (isinstance(value, str | Path) and str(value)):
            msg = "must be a path"
            raise ValueError(msg)
        return value if value in {None, TAG} else where(value)

    @field_validator("identity")
    @classmethod
    def _anywhere(cls, value: Path | None) -> Path | None:
        return value and Path(os.path.expanduser(value)).absolute()  # noqa: PTH111  (as above)

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str) -> str:
        if len(value) != 1 or value in '"\r\n':
            msg = "must be one character, neither a quote nor a line break"
            raise ValueError(msg)
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)  # which refuses the codecs that are not of text, too
        except LookupError:
            msg = "is not an encoding that Python knows"
            raise ValueError(msg) from None
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        msg = ""
        if self.from_pool and (self.path or self.identity):
            msg = f"has {'a path' if self.path else 'an identity'}, and from_pool: the rows come from a file or from the pools"
        elif not self.from_pool and not self.path:
            msg = "names neither a path nor from_pool"
        elif not self.from_pool and self.select != Select():
            msg = "has a select, which is of use with from_pool only"
        elif self.state and self.from_pool:
            msg = "has a state, and from_pool: only files can be finished"
        elif not self.state and (self.expected or self.done):
            msg = f"has {'expected' if self.expected else 'done'}, which is of use with a state only"
        elif self.done and any(isinstance(one, str) != isinstance(self.done, str) for one in self.places):
            msg = 'has a done that is not where the inputs are: a folder for files, s3:// or "tag" for objects'
        if msg:
            raise ValueError(msg)
        return self

    @property
    def file(self) -> Where:
        """The path, of an input that is one file."""
        if self.path is None or isinstance(self.path, tuple):
            msg = "the input is no file"
            raise ValueError(msg)
        return self.path

    @property
    def places(self) -> tuple[Where, ...]:
        """What was given as the path, in order."""
        return self.path if isinstance(self.path, tuple) else (self.path,) if self.path else ()

    @property
    def named(self) -> str:
        """The same in one line."""
        return ", ".join(map(str, self.places))


class Target(_Table):
    """One user pool and how to reach it."""

    user_pool_id: str = Field(min_length=1, max_length=55, pattern=r"^[A-Za-z0-9_-]+_[0-9a-zA-Z]+$")
    region: str | None = None
    profile: str | None = None
    role_arn: str | None = Field(default=None, max_length=2048, pattern=r"^arn:[a-z-]+:iam::\d{12}:role/[^\s]+$")
    role_session_name: str = Field(default="bulkreset", min_length=2, max_length=64, pattern=r"^[\w+=,.@-]+$")
    external_id: str | None = Field(default=None, min_length=2, max_length=1224, pattern=r"^[\w+=,.@:/-]+$")
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://[^\s]+$")
    ca_bundle: Path | None = Field(default=None, strict=False)
    verify_ssl: bool = True
    connect_timeout: _TimeOut = 5.0
    read_timeout: _TimeOut = 30.0


class Policy(_Table):
    """A pool's password policy, named as Cognito names it; what is not given is not checked."""

    minimum_length: int | None = Field(default=None, ge=6, le=99)
    require_uppercase: bool = False
    require_lowercase: bool = False
    require_numbers: bool = False
    require_symbols: bool = False


class Password(_Table):
    """Where the passwords come from: the input, or made here, of `length` characters at least."""

    source: Literal["input", "generate"] = "input"
    length: int = Field(default=24, ge=12, le=98)
    policy: Policy = Policy()


class Handout(_Table):
    """To whom made passwords are sealed, and the folder where; without one, the run directory has it."""

    recipients: tuple[str, ...] = Field(default=(), strict=False)
    path: Path | None = Field(default=None, strict=False)


class Plan(_Table):
    """What the plan asks of the pools. `skip`: the kinds of users that are left alone."""

    check_users: bool = True
    skip: tuple[Literal["federated", "disabled", "passwordless", "unconfirmed", "unrecoverable"], ...] = Field(
        default=("federated", "disabled", "passwordless"), strict=False
    )


class Pace(_Table):
    """How fast, and how stubbornly. Rates are calls per second, waits are seconds."""

    rate: Annotated[float, Field(ge=SLOWEST, le=FASTEST)] | Literal["auto", "none"] = "auto"
    share: float = Field(default=0.8, ge=SLOWEST, le=1)
    workers: int | None = Field(default=None, ge=1, le=256)
    transport: Literal["auto", "boto3", "crt"] = "auto"
    max_attempts: int = Field(default=10, ge=1, le=100)
    max_wait: _Positive = 20.0

    @field_validator("transport")
    @classmethod
    def _installed(cls, value: str) -> str:
        if value == "crt" and not find_spec("awscrt"):
            msg = "needs the extra crt, which is not installed: pip install 'bulkreset[crt]'"
            raise ValueError(msg)
        return value


class Protected(_Table):
    """Users that are left alone, by username and by the groups of their pool."""

    usernames: tuple[str, ...] = Field(default=(), strict=False)
    groups: tuple[str, ...] = Field(default=(), strict=False)


class Guards(_Table):
    """When to stop; 0 refused in a row means any number. Failures are counted in one execution; durations are seconds, or text such as "90m" or "8h"."""

    max_rows: int | None = Field(default=None, ge=0)
    max_failures: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^\d{1,2}(\.\d+)?%$")] | None = None
    failures_sample: int = Field(default=100, ge=1)
    max_refused_in_a_row: int = Field(default=100, ge=0)
    max_duration: _Positive | None = None
    stop_at: str | None = Field(default=None, pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    stop_after: int | None = Field(default=None, ge=1)
    stop: Literal["lane", "run"] = "lane"
    protected: Protected = Protected()

    @field_validator("max_duration", mode="before")
    @classmethod
    def _in_seconds(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", value)
        if not found:
            msg = 'must be seconds, or a number with s, m, h or d, as in "90m"'
            raise ValueError(msg)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


class Mirror(_Table):
    """Where in S3 each run is mirrored below a folder of its name. `every` is seconds between two whole copies, `lease` how long a dead run holds it."""

    to: str | None = Field(default=None, pattern=r"^s3://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]/")
    sse: Literal["AES256", "aws:kms"] | None = None
    kms_key_id: str | None = None
    profile: str | None = None
    region: str | None = None
    every: _Positive = 300.0
    lease: Annotated[float, Field(ge=2, le=3600)] = 60.0

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.kms_key_id and self.sse != "aws:kms":
            msg = 'has a kms_key_id, which goes with sse = "aws:kms"'
            raise ValueError(msg)
        return self

    def at(self, name: str) -> str:
        """The address of a run."""
        return f"{self.to}{'' if str(self.to).endswith('/') else '/'}{name}/"


class After(_Table):
    """What is done for a user once the password was set. `sign_out` left out: only where nobody keeps the password."""

    sign_out: bool | None = None


class Notify(_Table):
    """Which ends of a run are told, and to whom: Apprise's urls, an SNS topic. A url may hold a secret: it is never shown or kept.

    `urls_from` says where urls are, one on each line: "env:NAME" or "file:PATH".
    """

    on: tuple[Literal["finish", "failure", "guard"], ...] = Field(default=("finish", "failure", "guard"), strict=False)
    urls: tuple[SecretStr, ...] = Field(default=(), strict=False)
    urls_from: str | None = None
    sns_topic_arn: str | None = Field(default=None, pattern=r"^arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+$")

    @field_validator("urls_from")
    @classmethod
    def _names_a_place(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"env:[A-Za-z_]\w*|file:.+", value):
            msg = 'must be "env:NAME" or "file:PATH"'
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if (self.urls or self.urls_from) and not find_spec("apprise"):
            msg = "needs the extra notify, which is not installed: pip install 'bulkreset[notify]'"
            raise ValueError(msg)
        return self


class Metrics(_Table):
    """Where a run's figures go: a file for the node exporter, CloudWatch's EMF to a file or to "stdout"."""

    textfile: Path | None = Field(default=None, strict=False)
    emf: str | None = Field(default=None, min_length=1)

    @field_validator("textfile")
    @classmethod
    def _read_by_the_exporter(cls, value: Path | None) -> Path | None:
        if value and value.suffix != ".prom":
            msg = "must end with .prom: the node exporter reads no other file"
            raise ValueError(msg)
        if value and not find_spec("prometheus_client"):
            msg = "needs the extra metrics, which is not installed: pip install 'bulkreset[metrics]'"
            raise ValueError(msg)
        return value


class Report(_Table):
    """What a run draws by itself: the report's form, whether hashes stand for the usernames, and whether there is a page as well."""

    format: Literal["csv", "parquet", "jsonl"] = "csv"
    redact: Literal["usernames"] | None = None
    html: bool = True


class Fleet(_Table):
    """Where the lanes run: on the workers of a Dask scheduler, in `local` processes here, or, without either, in this process."""

    scheduler: str | None = Field(default=None, pattern=r"^(tls|tcp)://([^\s/:@\[\]]+|\[[0-9a-f:]+\])(:\d{1,5})?$")
    local: int | None = Field(default=None, ge=1, le=64)
    tls_ca_file: Path | None = Field(default=None, strict=False)
    tls_cert: Path | None = Field(default=None, strict=False)
    tls_key: Path | None = Field(default=None, strict=False)

    @field_validator("scheduler")
    @classmethod
    def _encrypted(cls, value: str | None) -> str | None:
        if value and value.startswith("tcp://") and not is_loopback(value):
            msg = "would take passwords over the network in the open: only tls:// may leave this machine"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_fleet(self) -> Self:
        if self.scheduler and self.local:
            msg = "names a scheduler, and local: the lanes run on one cluster"
            raise ValueError(msg)
        return self

    @property
    def is_asked_for(self) -> bool:
        """Whether the lanes run anywhere but in this process."""
        return bool(self.scheduler or self.local)


def is_loopback(address: str) -> bool:
    """Whether an address such as "tcp://127.0.0.1:8786" is this machine's own, and cannot be another's."""
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Emulator(_Table):
    """The embedded Cognito: its quota in calls per second."""

    quota: _Positive = 30.0


class Job(_Table):
    """A whole job. `permanent` left out means the API's own default: temporary passwords."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][\w.-]*$")
    permanent: bool = False
    input: Input
    targets: tuple[Target, ...] = Field(min_length=1, strict=False)
    password: Password = Password()
    plan: Plan = Plan()
    pace: Pace = Pace()
    guards: Guards = Guards()
    after: After = After()
    handout: Handout = Handout()
    notify: Notify = Notify()
    metrics: Metrics = Metrics()
    report: Report = Report()
    mirror: Mirror = Mirror()
    fleet: Fleet = Fleet()
    emulator: Emulator = Emulator()

    @model_validator(mode="after")
    def _targets_fit(self) -> Self:
        pools = [target.user_pool_id for target in self.targets]
        if len(set(pools)) < len(pools):
            msg = "targets: two of them name the same user pool"
            raise ValueError(msg)
        if any(target.external_id and not target.role_arn for target in self.targets):
            msg = "targets: an external_id goes with a role_arn"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _made_passwords_arrive(self) -> Self:
        if not self.generates and self.input.from_pool:
            msg = 'input.from_pool is of use with password.source = "generate" only: a pool tells no passwords'
            raise ValueError(msg)
        if not self.generates and self.handout.recipients:
            msg = 'handout.recipients is of use with password.source = "generate" only'
            raise ValueError(msg)
        if self.generates and self.input.columns.password != Columns().password:
            msg = 'input.columns.password is of use with password.source = "input" only'
            raise ValueError(msg)
        if self.generates and not self.permanent and not self.handout.recipients:
            msg = "handout.recipients is missing: a made temporary password must reach its user"
            raise ValueError(msg)
        return self

    @property
    def generates(self) -> bool:
        """Whether the passwords are made here."""
        return self.password.source == "generate"

    @property
    def scrambles(self) -> bool:
        """Whether nobody will know the passwords: users come back through forgot-password alone."""
        return self.generates and self.permanent and not self.handout.recipients

    @property
    def signs_out(self) -> bool:
        """Whether users are signed out once they are set."""
        if self.after.sign_out is None:
            return self.scrambles
        return self.after.sign_out
