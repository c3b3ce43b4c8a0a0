"""The simulated AWS: decides the answer to each request, without sockets."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qs

from tests.sim.context import Context, Json, Settings
from tests.sim.errors import ApiError, Code
from tests.sim.faults import Faults, SeededRandom, Target
from tests.sim.operations import OPERATIONS, WRITES
from tests.sim.pool import Directory
from tests.sim.quota import Clock, Quotas
from tests.sim.record import Call, CallLog
from tests.sim.signature import check_signature
from tests.sim.steps import Step
from tests.sim.wire import (
    HTML,
    JSON_1_1,
    Request,
    Signature,
    json_error,
    read_signature,
    respond,
    sts_error,
    sts_identity,
    sts_role,
    to_json,
)

DEFAULT_ACCOUNT: Final = "123456789012"
_STS: Final = frozenset({"GetCallerIdentity", "AssumeRole"})


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send (None: nothing), after how many seconds, and whether to hang up. `held`: a rule holds the answer."""

    data: bytes | None
    delay: float = 0.0
    close: bool = False
    call: Call | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class _Incoming:
    """A request, parsed as far as possible."""

    index: int
    time: float
    request: Request
    signature: Signature
    account: str
    operation: str
    params: Json

    @property
    def request_id(self) -> str:
        return f"{self.index:08x}-51e0-4000-8000-000000000000"

    def string(self, name: str) -> str:
        value = self.params.get(name)
        return value if isinstance(value, str) else ""

    @property
    def target(self) -> Target:
        return Target(
            self.operation,
            self.string("UserPoolId"),
            self.string("Username"),
            self.signature.access_key,
            self.signature.region,
        )


class Service:
    """The state of one simulated AWS since the last reset."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        """Start without pools, limits or faults."""
        self.clock = clock
        self.settings = Settings()
        self.directory = Directory()
        self.quotas = Quotas(clock)
        self.faults = Faults(clock)
        self.log = CallLog()
        self.rng = SeededRandom(0)
        self.model_faults: list[str] = []

    def handle(self, request: Request) -> Reply:
        """Process one request; return what to answer and when."""
        incoming = self._read(request)
        try:
            return self._follow(self._admit(incoming), incoming)
        except ApiError as error:
            return self._refuse(error, incoming)

    def _read(self, request: Request) -> _Incoming:
        target = request.headers.get("x-amz-target", "")
        params: Json = {}
        try:
            if target:
                loaded = json.loads(request.body)
                params = loaded if isinstance(loaded, dict) else {}
            else:
                form = parse_qs(request.body.decode())
                target = form.get("Action", [""])[0]
                params = {key: values[0] for key, values in form.items()}
        except ValueError:
            target = "unreadable"
        signature = read_signature(request)
        account = self.settings.accounts.get(signature.access_key, DEFAULT_ACCOUNT)
        return _Incoming(
            index=self.log.total,
            time=self.clock(),
            request=request,
            signature=signature,
            account=account,
            operation=target.rpartition(".")[2],
            params=params,
        )

    def _note(self, incoming: _Incoming, answer: str, *, applied: bool, waits: bool = True) -> Call:
        permanent = incoming.params.get("Permanent")
        call = Call(
            index=incoming.index,
            time=incoming.time,
            operation=incoming.operation,
            account=incoming.account,
            region=incoming.signature.region,
            pool=incoming.string("UserPoolId") or incoming.string("RoleArn"),
            username=incoming.string("Username"),
            password=incoming.string("Password") or None,
            permanent=permanent if isinstance(permanent, bool) else None,
            access_key=incoming.signature.access_key,
            request_id=incoming.request_id,
            answer=answer,
            applied=applied,
        )
        self.log.add(call, waits=waits)
        return call

    def _admit(self, incoming: _Incoming) -> Step:
        # In the order of the real service: first the caller, then the rate, then the request.
        target = incoming.target
        if code := self.faults.expired(target):
            # STS has its own name for the same error.
            is_sts = incoming.operation in _STS
            raise ApiError(Code.EXPIRED_AT_STS if is_sts else code)
        if self.settings.secret_keys:
            secret = self.settings.secret_keys.get(incoming.signature.access_key)
            check_signature(incoming.request, incoming.signature, secret)
        if step := self.faults.rule(target):
            return step
        if not self.quotas.admit(target.operation, incoming.account, target.region):
            raise ApiError(Code.TOO_MANY_REQUESTS)
        return self.faults.step(target)

    def _follow(self, step: Step, incoming: _Incoming) -> Reply:
        if step.kind in {"ok", "slow", "hold"}:
            held = step.kind == "hold"
            data = self._perform(incoming)
            applied = incoming.operation in WRITES
            call = self._note(incoming, "ok", applied=applied, waits=step.waits or not (step.seconds or held))
            return Reply(data, self._delay() + step.seconds, call=call, held=held)
        applied = step.apply and self._take_effect(incoming)
        if step.kind == "error":
            error = ApiError(step.code, step.message, step.status)
            return self._refuse(error, incoming, applied=applied)
        answer = f"http {step.status}" if step.kind == "http" else step.kind
        waits = step.kind not in {"cut", "hang"}
        call = self._note(incoming, answer, applied=applied, waits=waits)
        if step.kind in {"cut", "hang"}:
            delay = step.seconds if step.kind == "hang" else self._delay()
            return Reply(None, delay, close=True, call=call)
        # Neither has a request id: such answers come from something in front of the service.
        body = step.body
        if body and self.faults.echo_password:
            body += incoming.string("Password").encode()
        return Reply(respond(step.status, body, HTML), self._delay(), call=call)

    def _perform(self, incoming: _Incoming) -> bytes:
        access_key, region = incoming.signature.access_key, incoming.signature.region
        if incoming.operation == "AssumeRole":
            return self._assume_role(incoming)
        if incoming.operation in _STS:
            return sts_identity(incoming.account, access_key, incoming.request_id)
        operation = OPERATIONS.get(incoming.operation)
        if operation is None:
            raise ApiError(Code.UNKNOWN_OPERATION)
        context = Context(self.directory, incoming.account, region, time.time(), self.settings)
        if not self.settings.check_model:
            return respond(200, to_json(operation(context, incoming.params)), JSON_1_1, incoming.request_id)
        from tests.sim.model import answer_faults, error_faults, request_faults  # noqa: PLC0415  (loads botocore)

        self.model_faults += request_faults(incoming.operation, incoming.params)
        try:
            answer = operation(context, incoming.params)
        except ApiError as error:
            self.model_faults += error_faults(incoming.operation, error.code)
            raise
        self.model_faults += answer_faults(incoming.operation, answer)
        return respond(200, to_json(answer), JSON_1_1, incoming.request_id)

    def _assume_role(self, incoming: _Incoming) -> bytes:
        """Return a new access key each time, of the role's account."""
        role, settings = incoming.string("RoleArn"), self.settings
        if settings.roles and settings.roles.get(role, "not its id") != (incoming.string("ExternalId") or None):
            raise ApiError(Code.ACCESS_DENIED, status=403)
        access_key = f"ASIA{incoming.index:012d}"
        settings.accounts[access_key] = role.split(":")[4]
        expires = datetime.now(UTC) + timedelta(seconds=settings.role_seconds)
        session = incoming.string("RoleSessionName")
        return sts_role(role, session, access_key, f"{expires:%Y-%m-%dT%H:%M:%SZ}", incoming.request_id)

    def _take_effect(self, incoming: _Incoming) -> bool:
        try:
            self._perform(incoming)
        except ApiError:
            return False
        return incoming.operation in WRITES

    def _refuse(self, error: ApiError, incoming: _Incoming, *, applied: bool = False) -> Reply:
        call = self._note(incoming, error.code, applied=applied)
        message = error.message
        if self.faults.echo_password and call.password is not None:
            message += f" (password: {call.password})"
        write = sts_error if incoming.operation in _STS else json_error
        return Reply(write(error, message, call.request_id), self._delay(), call=call)

    def _delay(self) -> float:
        settings = self.settings
        spread = self.rng.uniform(-settings.jitter, settings.jitter)
        return settings.latency * (1 + spread)


def repeated_users(directory: Directory) -> int:
    """Count users, over all pools, whose password was set more than once."""
    return sum(pool.repeated for pool in directory.pools.values())


def accounts_of(raw: Mapping[str, str]) -> dict[str, str]:
    """Check that account ids are strings of twelve digits, as STS returns them."""
    if not all(re.fullmatch(r"\d{12}", account) for account in raw.values()):
        message = "an account id is a string of twelve digits"
        raise ValueError(message)
    return dict(raw)
