"""Faults and when they happen: scripts by username, probabilities, rules for all, expiry."""

import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.sim.errors import Code
from tests.sim.quota import Clock
from tests.sim.steps import ORDINARY, Step, read_step, read_steps

_MAIN: Final = "AdminSetUserPassword"
_STS: Final = frozenset({"GetCallerIdentity", "AssumeRole"})
_SELECTORS: Final = ("operation", "pool", "username", "access_key", "region")


class SeededRandom(random.Random):
    """A repeatable random generator; nothing secret depends on it."""


@dataclass(frozen=True, slots=True)
class Target:
    """The properties by which a fault selects a call."""

    operation: str
    pool: str
    username: str
    access_key: str
    region: str


class Rule:
    """A step for every matching call, from the Nth such call to another."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        """Read the selectors and the window; the rest is the step."""
        rest = dict(raw)
        self._wanted = {key: rest.pop(key) for key in _SELECTORS if key in rest}
        self._first = int(rest.pop("from_call", 1))
        self._last = rest.pop("until_call", None)
        self._step = read_step(rest)
        self._seen = 0

    @property
    def holds(self) -> bool:
        """Return whether calls wait for the end of this rule."""
        return self._step.kind == "hold"

    def step(self, target: Target) -> Step | None:
        """Count a matching call and return what happens to it."""
        if target.operation in _STS and "operation" not in self._wanted:
            return None
        if any(getattr(target, key) != want for key, want in self._wanted.items()):
            return None
        self._seen += 1
        inside = self._seen >= self._first and (self._last is None or self._seen <= self._last)
        return self._step if inside else None


@dataclass(frozen=True, slots=True)
class RandomRule:
    """A step that happens to a share `p` of the calls of one operation."""

    p: float
    step: Step
    operation: str = _MAIN


@dataclass(slots=True)
class Expiry:
    """The remaining life of one access key."""

    code: str
    at: float
    calls_left: float


class Faults:
    """All configured faults; consulted once for every call."""

    def __init__(self, clock: Clock) -> None:
        """Start without faults."""
        self._clock = clock
        self._rng = SeededRandom(0)
        self._scripts: dict[tuple[str, str], deque[Step]] = {}
        self._chances: list[RandomRule] = []
        self._rules: list[Rule] = []
        self._expiries: dict[str, Expiry] = {}
        self.echo_password = False

    def configure(self, raw: Mapping[str, Any]) -> None:
        """Merge one `faults` object in; raise ValueError for an unknown key."""
        readers = {
            "users": lambda value: self._add_scripts({_MAIN: value}),
            "scripts": self._add_scripts,
            "random": self._set_chances,
            "every": self._set_rules,
            "expire": self._add_expiries,
            "echo_password": self._set_echo,
        }
        for key, value in raw.items():
            if key not in readers:
                message = f"unknown fault {key!r}"
                raise ValueError(message)
            readers[key](value)

    def _add_scripts(self, raw: Mapping[str, Any]) -> None:
        for operation, users in raw.items():
            for username, steps in users.items():
                script = [step for entry in steps for step in read_steps(entry)]
                self._scripts[operation, username] = deque(script)

    def _set_chances(self, raw: Mapping[str, Any] | None) -> None:
        raw = raw or {"rules": []}
        self._rng = SeededRandom(raw.get("seed", 0))
        self._chances = [
            RandomRule(rule["p"], read_step(rule["step"]), rule.get("operation", _MAIN)) for rule in raw["rules"]
        ]

    def _set_rules(self, raw: Mapping[str, Any] | Iterable[Any] | None) -> None:
        rules = [raw] if isinstance(raw, Mapping) else list(raw or ())
        self._rules = [Rule(rule) for rule in rules]

    def _add_expiries(self, raw: Mapping[str, Mapping[str, Any] | None]) -> None:
        for access_key, life in raw.items():
            if life is None:
                self._expiries.pop(access_key, None)
                continue
            self._expiries[access_key] = Expiry(
                code=life.get("code", Code.EXPIRED),
                at=self._clock() + life.get("seconds", float("inf")),
                calls_left=life.get("calls", float("inf")),
            )

    def _set_echo(self, value: object) -> None:
        self.echo_password = bool(value)

    def expired(self, target: Target) -> str | None:
        """Use up one call of the access key's life; return the error code after its end."""
        life = self._expiries.get(target.access_key)
        if life is None:
            return None
        if life.calls_left <= 0 or self._clock() >= life.at:
            return life.code
        # GetCallerIdentity is not counted: tests count Cognito calls.
        if target.operation not in _STS:
            life.calls_left -= 1
        return None

    @property
    def holding(self) -> bool:
        """Return whether a held call must still wait."""
        return any(rule.holds for rule in self._rules)

    def rule(self, target: Target) -> Step | None:
        """Return what the rules for all calls do to this one; the first that matches wins."""
        hits = [rule.step(target) for rule in self._rules]
        return next((step for step in hits if step), None)

    def step(self, target: Target) -> Step:
        """Return the next scripted step of the call's user, or a random one."""
        for username in (target.username, "*"):
            if script := self._scripts.get((target.operation, username)):
                return script.popleft()
        for chance in self._chances:
            # Drawn for every call of the operation, so that a seed fixes the sequence.
            if chance.operation == target.operation and self._rng.random() < chance.p:
                return chance.step
        return ORDINARY
