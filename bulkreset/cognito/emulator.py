"""Runs an embedded Cognito: moto on loopback, with the job's own users and a request quota like the real one."""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from bulkreset.cognito.session import EMULATED_ACCOUNT, TargetSession, emulated_session
from bulkreset.errors import missing_extra
from bulkreset.job import Job, Target

_COUNTED = "AWSCognitoIdentityProviderService.AdminSetUserPassword"
_THROTTLED = json.dumps({"__type": "TooManyRequestsException", "message": "Too many requests"}).encode()
_SHORTEST = 6  # the smallest minimum length that a user pool allows
_LONGEST = 257  # moto refuses a password of this maximum length or longer
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")

# The answers to the calls that moto does not know: each user has one device, one session and an authenticator.
STEP_ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "AdminListUserSessions": {"Sessions": [{"SessionId": "tkn" + "0" * 25, "SessionType": "TOKEN"}]},
    "AdminRevokeUserSession": {},
    "AdminListDevices": {"Devices": [{"DeviceKey": "us-east-1_00000000-0000-4000-8000-000000000000"}]},
    "AdminForgetDevice": {},
    "AdminDeleteSoftwareToken": {},
}

_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class EmbeddedCognito:
    """A running emulator. `url` is its address on loopback."""

    def __init__(self, url: str, job: Job) -> None:
        self.url = url
        self._job = job

    def open_session(self, target: Target) -> TargetSession:
        """Return a session for the emulated copy of `target`."""
        return emulated_session(target, _region_of(target), self.url)

    def seed(self, pools: Iterable[str], usernames: Iterable[str]) -> None:
        """Create confirmed users without a password; `pools` and `usernames` have the same length.

        Pool "" means the job's only pool. Pools outside the job, empty usernames and existing users are skipped.
        """
        from moto.cognitoidp.models import CognitoIdpUser, cognitoidp_backends  # noqa: PLC0415  (an extra)

        backends = cognitoidp_backends[EMULATED_ACCOUNT]
        homes = {at.user_pool_id: backends[_region_of(at)].user_pools[at.user_pool_id] for at in self._job.targets}
        if len(homes) == 1:
            homes[""] = next(iter(homes.values()))
        for pool, username in zip(pools, usernames, strict=True):
            if username and pool in homes and username not in homes[pool].users:
                homes[pool].users[username] = CognitoIdpUser(homes[pool].id, username, None, "CONFIRMED", [])

    def make_pools(self) -> None:
        """Create every target's pool under its own id, with the job's password policy."""
        from moto.cognitoidp.models import cognitoidp_backends  # noqa: PLC0415  (an extra)

        rules = {"MinimumLength": _SHORTEST, "MaximumLength": _LONGEST} | self._job.password.policy.to_cognito()
        for target in self._job.targets:
            backend = cognitoidp_backends[EMULATED_ACCOUNT][_region_of(target)]
            pool = backend.create_user_pool(
                f"emulated {target.user_pool_id}", {"Policies": {"PasswordPolicy": dict(rules)}}
            )
            del backend.user_pools[pool.id]
            pool.id = target.user_pool_id
            backend.user_pools[pool.id] = pool
            for group in self._job.guards.protected.groups:
                backend.create_group(pool.id, group, "", "", 0)


@contextmanager
def run_emulator(job: Job) -> Iterator[EmbeddedCognito]:
    """Run the emulator during the block. Raises JobError if the extra `emulator` is not installed."""
    try:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415  (an extra)
        from werkzeug.serving import make_server  # noqa: PLC0415  (an extra)
    except ImportError:
        raise missing_extra("The emulator", "emulator") from None
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    application = _QuotaMiddleware(DomainDispatcherApplication(create_backend_app), job.emulator.quota, time.monotonic)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, name="emulator", daemon=True)
    thread.start()
    try:
        with _no_aws_configuration():
            running = EmbeddedCognito(f"http://127.0.0.1:{server.port}", job)
            running.make_pools()
            yield running
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _no_aws_configuration() -> Iterator[None]:
    """Hide the user's AWS settings: moto reads them, and a broken profile must not stop an emulated run."""
    hidden = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    for name in hidden:
        del os.environ[name]
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    os.environ |= nowhere
    try:
        yield
    finally:
        for name in nowhere:
            del os.environ[name]
        os.environ |= hidden


class _QuotaMiddleware:
    """A token bucket for each Region in front of the application. It holds the tokens of 0.1 seconds, at least one.

    It also answers calls that moto does not know.

    `rate` is in calls per second. Refused calls take no token.
    """

    def __init__(self, application: _Application, rate: float, clock: Callable[[], float]) -> None:
        self._application = application
        self._rate = rate
        self._depth = max(1.0, rate / 10)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}  # by Region: the tokens, and since when

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        target = str(environ.get("HTTP_X_AMZ_TARGET"))
        answer = STEP_ANSWERS.get(target.rpartition(".")[2])
        if answer is None and (target != _COUNTED or self._take(_signed_for(environ))):
            return self._application(environ, start_response)
        # Otherwise the next request on this connection would start with this body.
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = _THROTTLED if answer is None else json.dumps(answer).encode()
        kind = ("x-amzn-errortype", "TooManyRequestsException") if answer is None else ("x-amzn-requestid", "emulated")
        headers = [("Content-Type", "application/x-amz-json-1.1"), kind, ("Content-Length", str(len(body)))]
        start_response("400 Bad Request" if answer is None else "200 OK", headers)
        return [body]

    def _take(self, region: str) -> bool:
        with self._lock:
            now = self._clock()
            tokens, since = self._buckets.get(region, (self._depth, now))
            tokens = min(self._depth, tokens + (now - since) * self._rate)
            allowed = tokens >= 1
            self._buckets[region] = (tokens - allowed, now)
            return allowed


def _signed_for(environ: Mapping[str, Any]) -> str:
    """Return the Region in the scope of a request's signature, "" without one."""
    found = re.search(r"Credential=[^/]+/\d+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return found[1] if found else ""


def _region_of(target: Target) -> str:
    suggested = target.region or target.user_pool_id.partition("_")[0]
    return suggested if _REGION.fullmatch(suggested) else "us-east-1"
