"""The settings of one target: a user pool and how to reach it."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from bulkreset.job.base import ConfigTable, TimeOut


class Target(ConfigTable):
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
    connect_timeout: TimeOut = 5.0
    read_timeout: TimeOut = 30.0

    @field_validator("endpoint_url")
    @classmethod
    def _names_nobody(cls, value: str | None) -> str | None:
        if value and "@" in value.split("/")[2]:  # the URL is shown, logged and stored
            msg = "must not have a user name or a password in it"
            raise ValueError(msg)
        return value


def is_aws(endpoint: str) -> bool:
    """Return whether an endpoint belongs to AWS, in any partition, public or private."""
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))
