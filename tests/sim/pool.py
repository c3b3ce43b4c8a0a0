"""User pools and their users, and the effect of setting a password; no I/O."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.sim.crowd import Crowd
from tests.sim.errors import ApiError, Code, unknown_pool
from tests.sim.index import Index
from tests.sim.past import Past
from tests.sim.policy import PasswordPolicy, check_policy, check_syntax
from tests.sim.syntax import check_pool_id, check_username
from tests.sim.users import STATUSES, User, names_by, number_in, sub_of

__all__ = ["Directory", "PoolSettings", "User", "UserPool"]

_REGION: Final = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d)_.*")
_ADDRESSES: Final = {
    "email": re.compile(r"[^@]+@[^@]+"),
    "phone_number": re.compile(r"\+[0-9]+"),
}
_ALIASES: Final = frozenset({"email", "phone_number", "preferred_username"})


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Settings that a pool gets when it is created and never changes."""

    name: str = ""
    policy: PasswordPolicy = field(default_factory=PasswordPolicy)
    auto_users: bool = False
    case_sensitive: bool = True
    alias_attributes: tuple[str, ...] = ()
    username_attributes: tuple[str, ...] = ()
    username_configuration: bool = True
    first_auth_factors: tuple[str, ...] = ("PASSWORD",)
    estimated_users: int | None = None
    filters_fold: bool = True
    account: str | None = None
    groups: Mapping[str, Iterable[str]] = field(default_factory=dict)
    mfa_config: Mapping[str, Any] = field(default_factory=dict)
    replicas: Iterable[Mapping[str, Any]] = ()
    recoveries: Iterable[Mapping[str, Any]] = ()
    session_tracking: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    point_in_time: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse what the service would not create."""
        if self.alias_attributes and self.username_attributes:
            message = "a pool has either alias_attributes or username_attributes"
            raise ValueError(message)
        if {*self.username_attributes} - _ADDRESSES.keys() or {*self.alias_attributes} - _ALIASES:
            message = "only an e-mail address, a phone number or, as an alias, preferred_username names users"
            raise ValueError(message)


class UserPool:
    """A user pool: its settings, its crowd, and its other users by canonical username.

    Users are numbered from 1 in the order of creation, the crowd first. Users of the crowd are
    among `users` only after a change.
    """

    def __init__(self, pool_id: str, settings: PoolSettings, crowd: Crowd | None = None) -> None:
        """Start with the crowd, or without users."""
        self.id = pool_id
        self.settings = settings
        self.crowd = crowd or Crowd()
        self.users: dict[str, User] = {}
        self.repeated = 0
        self.past = None if settings.point_in_time is None else Past(**settings.point_in_time)
        # Lists beside the dict: users added after the crowd, and users of the crowd that a test replaced.
        self.names: list[str] = []
        self._replaced: list[str] = []
        self._indexes: dict[str, Index] = {}
        # The subs that tests have given, and the folded attribute values that name a user.
        self._others: dict[str, int] = {}
        self.has_given_subs = False  # whether any user may have a sub that is not derived from its number
        self._crowd_names = tuple(self._names_by(self.crowd.user(1).attributes)) if self.crowd.count else ()

    @property
    def size(self) -> int:
        """Return the number of users."""
        return self.crowd.count + len(self.names)

    def add(self, specs: Iterable[str | Mapping[str, Any]], now: float) -> None:
        """Create or replace users, each given as a username or as User's fields."""
        for spec in specs:
            values = self._fields(spec) if isinstance(spec, str) else dict(spec)
            if values.get("status", "CONFIRMED") not in STATUSES:
                message = f"unknown user status {values['status']!r}"
                raise ValueError(message)
            if not all(isinstance(value, str) for value in values.get("attributes", {}).values()):
                message = "the values of attributes are strings"
                raise TypeError(message)
            self._create(values, now)

    def user(self, number: int) -> User:
        """Return a user by number, from 1 to the pool's size."""
        crowd = self.crowd
        if number > crowd.count:
            return self.users[self.names[number - crowd.count - 1]]
        return self.users.get(self.fold(crowd.name(number))) or crowd.user(number)

    def kept(self) -> list[int]:
        """Return the numbers of all users, except unchanged ones of the crowd."""
        return sorted(user.number for user in self.users.values())

    def fold(self, name: str) -> str:
        """Return a name in the form that this pool compares."""
        return name if self.settings.case_sensitive else name.lower()

    def _fields(self, name: str) -> dict[str, Any]:
        # As AdminCreateUser does in such a pool: the address is not the username but an attribute.
        for attribute in self.settings.username_attributes:
            if _ADDRESSES[attribute].fullmatch(name):
                return {"attributes": {attribute: name}}
        return {"username": name}

    def _create(self, values: Mapping[str, Any], now: float) -> User:
        attributes = values.get("attributes") or {}
        given = values.get("username")
        if given is None and not self.settings.username_attributes:
            message = "a user of this pool needs a username"
            raise ValueError(message)
        given = given or attributes.get("sub")
        old = self.named(given) if given else None
        number = old.number if old else self.size + 1
        name = given or sub_of(number)
        user = User(**{"created": now, "modified": now, **values, "username": name}, number=number)
        if user.password is not None and not user.history:
            user.history = (user.password,)
        key = self.fold(name)
        if self.past:
            self.past.note(float(values.get("created", now)), key, old)
        if old:
            self._forget(old, key)
        else:
            self.names.append(key)
        self.users[key] = user
        if attributes:
            for other in self._others_of(user):
                self._others[other] = number
        return user

    def _forget(self, old: User, key: str) -> None:
        # The lookup indexes are rebuilt at their next use.
        self._indexes.clear()
        if old.number <= self.crowd.count and key not in self._replaced:
            self._replaced.append(key)
        for other in self._others_of(old):
            if self._others.get(other) == old.number:
                del self._others[other]

    def _names_by(self, attributes: Mapping[str, str]) -> Iterator[str]:
        settings = self.settings
        return names_by(attributes, settings.alias_attributes, settings.username_attributes)

    def _others_of(self, user: User) -> Iterator[str]:
        if "sub" in user.attributes:
            self.has_given_subs = True
            yield self.fold(user.attributes["sub"])
        for attribute in self._names_by(user.attributes):
            yield self.fold(user.attributes[attribute])

    def named(self, username: str) -> User | None:
        """Look a user up by its username alone."""
        key = self.fold(username)
        user = self.users.get(key)
        if user is None and (number := self.crowd.number("username", key, fold=not self.settings.case_sensitive)):
            user = self.crowd.user(number)
        return user

    def indexed(self, attribute: str, value: str) -> list[int]:
        """Return the numbers of users outside the crowd who have that value, in any case."""
        index = self._indexes.get(attribute)
        if index is None:
            index = self._indexes[attribute] = Index(attribute)
            index.take(self.users[key] for key in self._replaced)
        new = self.names[index.read :]
        index.take(self.users[key] for key in new)
        index.read += len(new)
        return index.numbers(value)

    def _known_as(self, key: str) -> User | None:
        if number := self._others.get(key):
            return self.user(number)
        number = number_in(key)
        if 0 < number <= self.size and (user := self.user(number)).sub == key:
            return user
        for attribute in self._crowd_names:
            number = self.crowd.number(attribute, key, fold=not self.settings.case_sensitive)
            if number and key in self._others_of(user := self.user(number)):
                return user
        return None

    def find(self, username: str, now: float) -> User | None:
        """Look a user up by username, sub or alias; with auto_users it always exists."""
        key = self.fold(username)
        user = self.users.get(key) or self.named(key) or self._known_as(key)
        if user is None and self.settings.auto_users:
            return self._create(self._fields(username), now)
        return user

    def keep(self, user: User) -> None:
        """Keep a user who is changed."""
        # A user of the crowd is made anew at every lookup; a change has to stay.
        if user.number <= self.crowd.count:
            # Share one string if folding changes nothing.
            key = self.fold(user.username)
            self.users[user.username if key == user.username else key] = user

    def require(self, username: str, now: float) -> User:
        """Look a user up, or raise what the service answers."""
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
        if self.past:
            self.past.note(now, self.fold(user.username), user)
        if kept:
            user.history = (password, *user.history[: kept - 1])
        self.keep(user)
        user.password = password
        user.status = "CONFIRMED" if permanent else "FORCE_CHANGE_PASSWORD"
        user.modified = now
        # Count at the second call only: this counts users, not calls.
        self.repeated += user.applied == 1
        user.applied += 1
        return user

    def sign_out(self, username: str, now: float) -> User:
        """Do what AdminUserGlobalSignOut does, or raise ApiError."""
        user = self.require(username, now)
        self.keep(user)
        user.sign_outs += 1
        return user


class Directory:
    """Every user pool of the simulated AWS, over all accounts and Regions."""

    def __init__(self) -> None:
        """Start without pools."""
        self.pools: dict[str, UserPool] = {}

    def put(self, pool_id: str, settings: PoolSettings, crowd: Crowd | None = None) -> UserPool:
        """Create a pool, or replace the one with the same id."""
        check_pool_id(pool_id)
        pool = self.pools[pool_id] = UserPool(pool_id, settings, crowd)
        return pool

    def require(self, pool_id: str, account: str, region: str) -> UserPool:
        """Return a pool as a caller of one account and Region (empty: any) sees it."""
        check_pool_id(pool_id)
        pool = self.pools.get(pool_id)
        if pool is None or pool.settings.account not in {None, account}:
            raise unknown_pool(pool_id)
        # One port serves every Region, so the signed Region stands for the endpoint's.
        home = _REGION.fullmatch(pool_id)
        if home and region and home[1] != region:
            raise unknown_pool(pool_id)
        return pool
