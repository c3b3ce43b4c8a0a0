"""The context of every operation, and how it reads its parameters."""

from dataclasses import dataclass, field
from typing import Any

from tests.sim.errors import ApiError, Code, invalid
from tests.sim.pool import Directory, UserPool

Json = dict[str, Any]


@dataclass(slots=True)
class Settings:
    """Settings that a test may change while the simulator runs."""

    latency: float = 0.0
    jitter: float = 0.0
    token_seconds: float = 3600.0
    accounts: dict[str, str] = field(default_factory=dict)
    secret_keys: dict[str, str] = field(default_factory=dict)
    service_quotas: dict[str, float] = field(default_factory=dict)
    provisioned_limits: dict[str, int | None] = field(default_factory=dict)
    roles: dict[str, str | None] = field(default_factory=dict)
    role_seconds: float = 3600.0
    check_model: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """The caller and the time (wall-clock seconds) of an operation."""

    directory: Directory
    account: str
    region: str
    now: float
    settings: Settings

    def pool(self, params: Json) -> UserPool:
        """Return the pool that the parameters name, if this caller may see it."""
        pool_id = text(params, "UserPoolId")
        return self.directory.require(pool_id, self.account, self.region)


def text(params: Json, name: str) -> str:
    """Return a required string parameter, or raise as the service does."""
    value = params.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, str):
        message = f"{name} can not be converted to a String"
        raise ApiError(Code.SERIALIZATION, message)
    return value


def missing(name: str) -> ApiError:
    """Return the error for a missing required parameter."""
    return invalid(member=name[0].lower() + name[1:], constraint="Member must not be null")
