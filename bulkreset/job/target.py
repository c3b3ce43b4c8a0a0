"""The settings of one target: a user pool and how to reach it."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from bulkreset.job.base import ConfigTable, TimeOut, matches

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")


_RoleArn = Annotated[
    str,
    Field(max_length=2048),
    matches(r"arn:[a-z-]+:iam::[0-9]{12}:role/[^\s]+", 'the ARN of a role like "arn:aws:iam::123456789012:role/reset"'),
]
_ExternalId = Annotated[str, matches(r"[\w+=,.@:/-]{2,1224}", '2 to 1224 letters, digits or characters of "_+=,.@:/-"')]


class Target(ConfigTable):
    """One user pool and how to reach it. `replica`: its primary Region is not the one that its ID begins with."""

    user_pool_id: Annotated[
        str, Field(max_length=55), matches(r"[A-Za-z0-9_-]+_[0-9a-zA-Z]+", 'a user pool ID like "eu-west-1_Example01"')
    ]
    replica: bool = False
    region: str | None = None
    profile: str | None = None
    role_arn: _RoleArn | None = None
    role_session_name: Annotated[
        str, matches(r"[\w+=,.@-]{2,64}", '2 to 64 letters, digits or characters of "_+=,.@-"')
    ] = "bulkreset"
    external_id: _ExternalId | None = None
    endpoint_url: Annotated[str, matches(r"https?://[^\s]+", 'a URL like "https://example.com"')] | None = None
    ca_bundle: Path | None = Field(default=None, strict=False)
    verify_ssl: bool = True
    connect_timeout: TimeOut = 5.0
    read_timeout: TimeOut = 30.0

    @field_validator("endpoint_url")
    @classmethod
    def _names_nobody(cls, value: str | None) -> str | None:
        if value and "@" in value.split("/")[2]:  # the URL is shown, logged and stored
            raise ValueError("must not have a user name or a password in it")
        return value

    @field_validator("region")
    @classmethod
    def _is_the_pool_s(cls, value: str | None, info: ValidationInfo) -> str | None:
        pool = info.data.get("user_pool_id", "")
        suggested = _region_in(pool)
        if value and suggested and value != suggested and not info.data.get("replica"):
            raise ValueError(
                f'is "{value}", but the pool {pool} is in "{suggested}" by its ID'
                " (for a replica that is the primary now: replica = true)"
            )
        return value

    @property
    def region_of_id(self) -> str:
        """Return the Region that the pool's ID begins with; "" if it begins with something else."""
        return _region_in(self.user_pool_id)


def _region_in(pool: str) -> str:
    begins = pool.rpartition("_")[0]
    return begins if _REGION.fullmatch(begins) else ""


def is_aws(endpoint: str) -> bool:
    """Return whether an endpoint belongs to AWS, in any partition, public or private."""
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))
