"""A fault that can happen to a call in place of its ordinary answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from tests.sim.errors import Code
from tests.sim.wire import JsonValue

Kind = Literal["ok", "slow", "error", "hold", "cut", "hang", "garbage", "http"]

_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "ok": frozenset(),
    "slow": frozenset(),
    "hold": frozenset({"waits"}),
    "throttle": frozenset({"message"}),
    "error": frozenset({"status", "message", "apply"}),
    "cut": frozenset(),
    "hang": frozenset({"apply"}),
    "garbage": frozenset({"status", "apply"}),
    "http": frozenset({"apply"}),
}

# `true` is a proxy's page; the others are hard cases for a JSON reader.
_BODIES: Final = {
    True: b"<html><body>It works!</body></html>",
    "binary": b"\xff\xfe\x00\x80",
    "array": b"[1, 2]",
    "truncated": b'{"__type":"Inter',
}


@dataclass(frozen=True, slots=True)
class Step:
    """What to do with a call.

    `apply`: the operation takes effect anyway. `waits`: the held caller does not time out.
    """

    kind: Kind
    code: str = ""
    message: str = ""
    status: int = 0
    seconds: float = 0.0
    apply: bool = False
    body: bytes = b""
    waits: bool = False


ORDINARY: Final = Step("ok")


def read_steps(raw: Mapping[str, Any]) -> list[Step]:
    """Read one step of the configuration; `throttle: N` stands for N of them."""
    kinds = raw.keys() & _OPTIONS.keys()
    if len(kinds) != 1:
        message = f"a step has exactly one of {sorted(_OPTIONS)}: {sorted(raw)}"
        raise ValueError(message)
    kind = kinds.pop()
    if unknown := raw.keys() - _OPTIONS[kind] - {kind}:
        message = f"a step of kind {kind} has no {sorted(unknown)}"
        raise ValueError(message)
    if kind == "throttle":
        code = Code.TOO_MANY_REQUESTS
        return [Step("error", code, str(raw.get("message", "")))] * int(raw[kind])
    return [_read(cast("Kind", kind), raw[kind], raw)]


def read_step(raw: Mapping[str, Any]) -> Step:
    """Read a step that must be a single one."""
    steps = read_steps(raw)
    if len(steps) != 1:
        message = "only one call can be meant here: throttle must be 1"
        raise ValueError(message)
    return steps[0]


def _read(kind: Kind, value: JsonValue, raw: Mapping[str, Any]) -> Step:
    if kind == "cut":
        if value not in {"before", "after"}:
            message = "cut is either 'before' or 'after' the call is applied"
            raise ValueError(message)
        return Step("cut", apply=value == "after")
    common: dict[str, Any] = {
        "message": str(raw.get("message", "")),
        "status": int(raw.get("status", 0)),
        "seconds": float(value) if kind in {"hang", "slow"} else 0.0,
        "apply": bool(raw.get("apply", False)),
        "waits": bool(raw.get("waits", False)),
    }
    match kind:
        case "error":
            common["code"] = str(value)
        case "garbage":
            common["body"] = _BODIES[value]
            common["status"] = common["status"] or 200
        case "http":
            common["status"] = int(value)
    return Step(kind, **common)
