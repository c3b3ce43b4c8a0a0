"""Validates the keys and types of a journal's facts before they are used."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from bulkreset.models import LaneSummary

_BEGUN = {"job", "mode", "state", "started_at"}
_NUMBER = (int, float)
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "run_id": str,
    "job": dict,
    "mode": str,
    "state": str,
    "started_at": str,
    "finished_at": str,
    "input": dict,
    "rows": int,
    "seconds": _NUMBER,
    "sending_seconds": _NUMBER,
    "temporary_days": dict,
    "unchecked": dict,
    "passwords": (str, type(None)),
    "approved": (dict, type(None)),
    "confirmation": (dict, type(None)),
    "command": str,
    "preflight": list,
    "limit": (int, type(None)),
    "stopped_by": (dict, type(None)),
}
_TABLES = {
    "targets": {"user_pool_id"},
    "executions": {"started_at"},
    "lanes": {field.name for field in fields(LaneSummary)} - {"pools", "rows", "counts", "stopped_by", "changes"},
}
_LANE = {field.name for field in fields(LaneSummary)}
_TEXTS = {"region", "user_pool_id", "started_at"}
_LISTS = {"pools"}


def is_whole(facts: Mapping[str, Any]) -> bool:
    """Return whether all facts that a run begins with are present and each known fact has the right type."""
    return (
        facts.keys() >= _BEGUN
        and all(isinstance(facts[key], kind) for key, kind in _KINDS.items() if key in facts)
        and facts["mode"] in {"run", "dry_run"}
        and isinstance(facts["job"].get("name"), str)
        and all(_is_table(facts[key], needed) for key, needed in _TABLES.items() if key in facts)
        and all(lane.keys() <= _LANE for lane in facts.get("lanes", ()))
    )


def _is_table(found: object, needed: set[str]) -> bool:
    return isinstance(found, list) and all(
        isinstance(entry, dict)
        and entry.keys() >= needed
        and all(isinstance(entry[key], str) for key in entry.keys() & _TEXTS)
        and isinstance(entry.get("account"), str | None)
        and all(isinstance(entry[key], list) for key in entry.keys() & _LISTS)
        for entry in found
    )
