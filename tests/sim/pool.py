"""User pools and their users, and what setting a password does to them; no I/O."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.sim.errors import ApiError, Code, invalid, unknown_pool
from tests.sim.policy import PasswordPolicy, check_policy, check_syntax

STATUSES: Final = frozenset(
    {
        "ARCHIVED",
        "COMPROMISED",
        "CONFIRMED",
        "EXTERNAL_PROVIDER",
        "FORCE_CHANGE_PASSWORD",
        "RESET_REQUIRED",
        "UNCONFIRMED",
        "UNKNOWN",
    }
)
_POOL_ID: Final = re.compile(r"[\w-]+_[0-9a-zA-Z]+", re.ASCII)
_REGION: Final = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d)_.*")
_PLAIN: Final = re.compile(r"[!-~]+")
_MAX_POOL_ID: Final = 55
_MAX_USERNAME: Final = 128


@dataclass(slots=True)
class User:
    """One user; the counters say what was done to it since it was created."""

    username: str
    number: int
    status: str = "CONFIRMED"
    password: str | None = None
    enabled: bool = True
    attributes: Mapping[str, str] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    created: float = 0.0
    modified: float = 0.0
    applied: int = 0
    sign_outs: int = 0

    @property
    def sub(self) -> str:
        """The user's immutable id, made from its number: it needs no storage."""
        return f"{self.number:08x}-0000-4000-8000-{self.number:012x}"


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What a pool is created with and never changes."""

    name: str = ""
    policy: PasswordPolicy = field(default_factory=PasswordPolicy)
    auto_users: bool = False
    case_sensitive: bool = True
    alias_attributes: tuple[str, ...] = ()
    account: str | None = None
    groups: Mapping[str, Iterable[str]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


class UserPool:
    """A user pool: its settings and its users by canonical username."""

    def __init__(self, pool_id: str, settings: PoolSettings) -> None:
        """Start without users."""
        self.id = pool_id
        self.settings = settings
        self.users: dict[str, User] = {}
        self.repeated = 0
        # A list beside the dict, so that any page of a listing is one slice.
        self.names: list[str] = []
        self._aliases: dict[str, str] = {}

    def add(self, specs: Iterable[str | Mapping[str, Any]], now: float) -> None:
        """Create or replace users, each given as a username or as User's fields."""
        for spec in specs:
            values = {"username": spec} if isinstance(spec, str) else dict(spec)
            if values.get("status", "CONFIRMED") not in STATUSES:
                message = f"unknown user status {values['status']!r}"
                raise ValueError(message)
            self._create(values, now)

    def _create(self, values: Mapping[str, Any], now: float) -> User:
        name = self._fold(values["username"])
        old = self.users.get(name)
        number = old.number if old else len(self.names) + 1
        user = User(**values, number=number, created=now, modified=now)
        if user.password is not None and not user.history:
            user.history = (user.password,)
        if old is None:
            self.names.append(name)
        self.users[name] = user
        for attribute in self.settings.alias_attributes:
            if value := user.attributes.get(attribute):
                self._aliases[value] = name
        if self.settings.alias_attributes:
            self._aliases[user.sub] = name
        return user

    def _fold(self, username: str) -> str:
        return username if self.settings.case_sensitive else username.lower()

    def find(self, username: str, now: float) -> User | None:
        """Look a user up by username or alias; with auto_users it always exists."""
        name = self._fold(username)
        user = self.users.get(name) or self.users.get(self._aliases.get(username, ""))
        if user is None and self.settings.auto_users:
            return self._create({"username": name}, now)
        return user

    def require(self, username: str, now: float) -> User:
        """Look a user up or raise what the service answers."""
        check_username(username)
        user = self.find(username, now)
        if user is None:
            raise ApiError(Code.USER_NOT_FOUND)
        return user

    def set_password(self, username: str, password: str, *, permanent: bool, now: float) -> User:
        """Do what AdminSetUserPassword does, or raise ApiError and change nothing."""
        check_syntax(password)
        user = self.require(username, now)
        policy = self.settings.policy
        check_policy(policy, password)
        kept = policy.history_size
        if kept and password in user.history[:kept]:
            message = "Password has previously been used"
            raise ApiError(Code.HISTORY_VIOLATION, message)
        if kept:
            user.history = (password, *user.history[: kept - 1])
        user.password = password
        user.status = "CONFIRMED" if permanent else "FORCE_CHANGE_PASSWORD"
        user.modified = now
        # At the second time only: this is a number of users, not of calls.
        self.repeated += user.applied == 1
        user.applied += 1
        return user

    def sign_out(self, username: str, now: float) -> User:
        """Do what AdminUserGlobalSignOut does, or raise ApiError."""
        user = self.require(username, now)
        user.sign_outs += 1
        return user


class Directory:
    """Every user pool of the simulated AWS, over all accounts and Regions."""

    def __init__(self) -> None:
        """Start without pools."""
        self.pools: dict[str, UserPool] = {}

    def put(self, pool_id: str, settings: PoolSettings) -> UserPool:
        """Create a pool, in place of the one of the same id."""
        check_pool_id(pool_id)
        pool = self.pools[pool_id] = UserPool(pool_id, settings)
        return pool

    def require(self, pool_id: str, account: str, region: str) -> UserPool:
        """Find a pool as a caller of one account and Region (empty: any) sees it."""
        check_pool_id(pool_id)
        pool = self.pools.get(pool_id)
        if pool is None or pool.settings.account not in {None, account}:
            raise unknown_pool(pool_id)
        # One port plays every Region, so the signed Region stands for the endpoint's.
        home = _REGION.fullmatch(pool_id)
        if home and region and home[1] != region:
            raise unknown_pool(pool_id)
        return pool


def check_pool_id(pool_id: str) -> None:
    """Raise InvalidParameterException for an id that no pool can have."""
    if len(pool_id) > _MAX_POOL_ID or not _POOL_ID.fullmatch(pool_id):
        constraint = r"Member must satisfy regular expression pattern: [\w-]+_[0-9a-zA-Z]+"
        raise invalid(member="userPoolId", constraint=constraint)


def check_username(username: str) -> None:
    """Raise InvalidParameterException for a username that no user can have."""
    if not 1 <= len(username) <= _MAX_USERNAME:
        constraint = f"Member must have length between 1 and {_MAX_USERNAME}"
        raise invalid(member="username", constraint=constraint)
    # The plain case by itself: the look at every character's category takes time.
    if _PLAIN.fullmatch(username):
        return
    if not all(unicodedata.category(c)[0] in "LMSNP" for c in username):
        constraint = (
            r"Member must satisfy regular expression pattern: "
            r"[\p{L}\p{M}\p{S}\p{N}\p{P}]+"
        )
        raise invalid(member="username", constraint=constraint)
