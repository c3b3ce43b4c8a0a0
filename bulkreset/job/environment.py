"""Settings for where a run executes: cluster workers, the S3 mirror and the Cognito emulator."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from bulkreset.job.base import ConfigTable, Positive, matches

_Address = Annotated[
    str,
    matches(
        r"(tls|tcp)://([^\s/:@\[\]]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?",
        'an address like "tls://scheduler.example.com:8786"',
    ),
]
_Prefix = Annotated[
    str, matches(r"(?s)s3://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]/.*", 'an S3 address like "s3://bucket/runs/"')
]


class ClusterConfig(ConfigTable):
    """Where the lanes run: on workers of the Dask `scheduler`, or in `local` processes on this machine.

    If neither is set, the lanes run in this process.
    """

    scheduler: _Address | None = None
    local: int | None = Field(default=None, ge=1, le=64)
    tls_ca_file: Path | None = Field(default=None, strict=False)
    tls_cert: Path | None = Field(default=None, strict=False)
    tls_key: Path | None = Field(default=None, strict=False)

    @field_validator("scheduler")
    @classmethod
    def _encrypted(cls, value: str | None) -> str | None:
        if value and value.startswith("tcp://") and not is_loopback(value):
            raise ValueError("would send passwords unencrypted over the network: only tls:// may leave this machine")
        return value

    @model_validator(mode="after")
    def _one_cluster(self) -> Self:
        if self.scheduler and self.local:
            raise ValueError("names a scheduler, and local: the lanes run on one cluster")
        return self

    @property
    def is_asked_for(self) -> bool:
        """Return whether the lanes run outside this process."""
        return bool(self.scheduler or self.local)


def is_loopback(address: str) -> bool:
    """Return whether an address such as "tcp://127.0.0.1:8786" always means this machine."""
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class MirrorConfig(ConfigTable):
    """The S3 location of mirrors: each run is copied to a folder with its name.

    `every` is the time between two full copies, `lease` the time that a dead run still holds the mirror; both in
    seconds. `dry_run`: whether dry runs are mirrored, too.
    """

    to: _Prefix | None = None
    sse: Literal["AES256", "aws:kms"] | None = None
    kms_key_id: str | None = None
    profile: str | None = None
    region: str | None = None
    every: Positive = 300.0
    lease: Annotated[float, Field(ge=2, le=3600)] = 60.0
    dry_run: bool = False

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.kms_key_id and self.sse != "aws:kms":
            raise ValueError('has a kms_key_id, which needs sse = "aws:kms"')
        return self

    def at(self, name: str) -> str:
        """Return the S3 address of the mirror of the run called `name`."""
        return f"{self.to}{'' if str(self.to).endswith('/') else '/'}{name}/"


class EmulatorConfig(ConfigTable):
    """The embedded Cognito emulator. `quota` is in calls per second."""

    quota: Positive = 30.0
