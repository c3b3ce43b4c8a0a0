"""The control endpoints under /_sim/: how a test configures and reads a Service."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.sim.crowd import Crowd
from tests.sim.errors import ApiError
from tests.sim.policy import PasswordPolicy
from tests.sim.pool import PoolSettings
from tests.sim.quota import Limit
from tests.sim.service import Service, accounts_of, repeated_users
from tests.sim.wire import JsonValue, Request, respond, to_json

PREFIX: Final = "/_sim/"
_MAIN: Final = "AdminSetUserPassword"


def configure(service: Service, config: Mapping[str, Any], now: float) -> None:
    """Merge `config` into a running service; `now` is wall-clock seconds.

    Every key may be left out, and then stays as it is:

    - pools: {id: {name, policy (in the API's names), history, auto_users,
      case_sensitive, username_configuration (false: DescribeUserPool leaves it out),
      alias_attributes or username_attributes, first_auth_factors (null: not in the answer),
      estimated_users, filters_fold (false: ListUsers is case-sensitive), account,
      groups ({name: [username]}), mfa_config (GetUserPoolMfaConfig's answer), replicas and recoveries (as the API lists
      them), session_tracking, extra (fields of DescribeUserPool), point_in_time ({polls, keeps, fails}; null: unknown
      operation), users, generate}}
    - generate: {count, prefix (null: a user's sub is its username), suffix, digits,
      first (the number of the first user), status, enabled, created, attributes}; "{number}" in an
      attribute stands for the number. A user takes memory only after the first write
    - users: {pool id: [username or {username, status, password, enabled, created, modified
      (wall-clock seconds; default: now), attributes, mfa ([SMS_MFA, EMAIL_OTP, SOFTWARE_TOKEN_MFA]), legacy_mfa
      (ListUsers shows it), devices and sessions ([id]), passkeys (a number)}]}; in a pool with username_attributes a
      plain e-mail address or phone number becomes that attribute, and a user without a username gets its sub
    - quota: null, or one or a list of {rate (per second; null: no limit), bucket,
      operation}
    - latency (seconds), jitter (a fraction of it), seed (of the jitter)
    - accounts: {access key: account id}; secret_keys: {access key: secret}
    - roles: {ARN: the required external id, or null}; without it any role may be assumed;
      role_seconds: lifetime of its credentials
    - service_quotas: {quota code: requests per second}
    - provisioned_limits: {category: requests per second, or null: unknown}
    - token_seconds (lifetime of a page token)
    - keep_calls: false: only count
    - check_model: compare requests, answers and errors with botocore's model, see GET model_faults
    - faults: {users: {username or *: [step]},
      scripts: {operation: {username or *: [step]}},
      random: {seed, rules: [{p, step, operation}]},
      every: null, or one or a list of a step with operation, pool, username,
      access_key, region, from_call and until_call,
      expire: {access key: {calls, seconds, code} or null}, echo_password}

    A step is one of {error, status, message, apply}, {throttle: N}, {cut: before or
    after}, {hang: seconds, apply}, {slow: seconds}, {hold: true, waits}, {garbage: true, binary, array or
    truncated, status, apply}, {http: status, apply} and {ok: true}.

    A held call of an `every` rule takes effect at once, and is answered when the rule is removed. With `waits` it
    counts
    as in flight until then, because its caller does not time out.

    Raises ValueError, TypeError, KeyError or ApiError for invalid settings.
    """
    settings = service.settings
    readers: dict[str, Callable[[Any], object]] = {
        "pools": lambda value: _pools(service, value, now),
        "users": lambda value: _users(service, value, now),
        "quota": lambda value: _quota(service, value),
        "latency": lambda value: setattr(settings, "latency", float(value)),
        "jitter": lambda value: setattr(settings, "jitter", float(value)),
        "seed": lambda value: service.rng.seed(int(value)),
        "faults": service.faults.configure,
        "accounts": lambda value: settings.accounts.update(accounts_of(value)),
        "secret_keys": settings.secret_keys.update,
        "roles": settings.roles.update,
        "role_seconds": lambda value: setattr(settings, "role_seconds", float(value)),
        "service_quotas": settings.service_quotas.update,
        "provisioned_limits": settings.provisioned_limits.update,
        "token_seconds": lambda value: setattr(settings, "token_seconds", float(value)),
        "check_model": lambda value: setattr(settings, "check_model", bool(value)),
        "keep_calls": lambda value: setattr(service.log, "write_job", bool(value)),
    }
    if unknown := config.keys() - readers.keys():
        message = f"unknown settings: {sorted(unknown)}"
        raise ValueError(message)
    for key, reader in readers.items():
        if key in config:
            reader(config[key])


def _pools(service: Service, raw: Mapping[str, Any], now: float) -> None:
    for pool_id, given in raw.items():
        spec = dict(given)
        users = spec.pop("users", ())
        policy = dict(spec.pop("policy", None) or {})
        if (history := spec.pop("history", None)) is not None:
            policy["PasswordHistorySize"] = history
        for key in ("alias_attributes", "username_attributes", "first_auth_factors"):
            if key in spec:
                spec[key] = tuple(spec[key] or ())
        generate = spec.pop("generate", None)
        crowd = None if generate is None else Crowd.from_json(generate, now)
        settings = PoolSettings(policy=PasswordPolicy.from_api(policy), **spec)
        service.directory.put(pool_id, settings, crowd).add(users, now)


def _users(service: Service, raw: Mapping[str, Any], now: float) -> None:
    for pool_id, users in raw.items():
        service.directory.pools[pool_id].add(users, now)


def _quota(service: Service, raw: JsonValue) -> None:
    if raw is None:
        service.quotas.set(_MAIN, None)
        return
    for one in [raw] if isinstance(raw, Mapping) else raw:
        limit = None if one.get("rate") is None else Limit.from_json(one)
        service.quotas.set(one.get("operation", _MAIN), limit)


class Control:
    """Answers control requests. A reset replaces the Service with a new one."""

    def __init__(self, service: Service, now: Callable[[], float]) -> None:
        """Control `service`; `now` returns wall-clock seconds."""
        self.service = service
        self._now = now

    def handle(self, request: Request) -> bytes:
        """Answer one control request; an invalid one gets a 400 with the reason."""
        parts = urlsplit(request.path)
        route = f"{request.method} {parts.path.removeprefix(PREFIX)}"
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        routes: dict[str, Callable[[], Any]] = {
            "POST configure": lambda: self._configure(request.body),
            "POST reset": self._reset,
            "GET calls": lambda: self._calls(query),
            "GET stats": self._stats,
            "GET model_faults": lambda: self.service.model_faults,
            "GET users": lambda: self._show_users(query["pool"]),
        }
        if route not in routes:
            return respond(404, to_json({"error": f"no such control: {route}"}))
        try:
            return respond(200, to_json(routes[route]()))
        except ApiError as error:
            return respond(400, to_json({"error": error.message}))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return respond(400, to_json({"error": repr(error)}))

    def _configure(self, body: bytes) -> dict[str, Any]:
        configure(self.service, json.loads(body), self._now())
        return {}

    def _reset(self) -> dict[str, Any]:
        self.service = Service(self.service.clock)
        return {}

    def _calls(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        return self.service.log.since(int(query.get("since", 0)))

    def _stats(self) -> dict[str, Any]:
        repeated = repeated_users(self.service.directory)
        return asdict(self.service.log.stats(repeated))

    def _show_users(self, pool_id: str) -> dict[str, Any]:
        pool = self.service.directory.pools[pool_id]
        return {
            user.username: {
                "password": user.password,
                "status": user.status,
                "enabled": user.enabled,
                "applied": user.applied,
                "sign_outs": user.sign_outs,
                "mfa": list(user.mfa),
                "devices": list(user.devices),
                "sessions": list(user.sessions),
            }
            for user in pool.users.values()
        }
