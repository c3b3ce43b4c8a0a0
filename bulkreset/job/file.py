"""Reads a job from a TOML file, applies the command-line flags and reports every wrong key."""

import errno
import os
import re
import tomllib
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from pydantic import ValidationError

from bulkreset.errors import JobError
from bulkreset.files import decode_text, read_small_file
from bulkreset.job import COMPRESSED, ENCRYPTED, S3, SUFFIXES, TAG, Job, ScheduleConfig
from bulkreset.job.problems import describe_errors, describe_syntax, describe_unknown, keys_of
from bulkreset.text import end_sentence, quoted

_INPUTS = (*chain.from_iterable(SUFFIXES.values()), *COMPRESSED, ENCRYPTED)


def load(path: Path | None, overrides: Mapping[str, Any], flags: Mapping[str, str] = MappingProxyType({})) -> Job:
    """Return the job in `path` (or an empty one) with `overrides` ("pace.rate": 24, …) applied.

    Paths in the file are relative to the file. Raises JobError naming every wrong key, or the flag in `flags`
    ("pace.rate": "--rate", …) that set it.
    """
    tables = _read(path) if path else {}
    if "input.path" in overrides and isinstance(tables.get("schedule"), dict):
        for key in ScheduleConfig.model_fields:  # these belong to the inputs in the job file
            tables["schedule"].pop(key, None)
    return build(tables, overrides, str(path or "The command line"), path, flags)


def build(
    tables: dict[str, Any],
    overrides: Mapping[str, Any],
    label: str,
    path: Path | None = None,
    flags: Mapping[str, str] = MappingProxyType({}),
) -> Job:
    """Return the job of `tables`; changes `tables`.

    Errors call the job `label`. The job's default name comes from `path`. Raises JobError as `load` does.
    """
    if isinstance(tables.get("targets"), dict):
        raise JobError(f"{label} is not a valid job: write [[targets]] with double brackets.")
    after = tables.get("after")
    if isinstance(after, str):
        raise JobError(
            f"{label} is not a valid job: after must be a list of steps.", 'For example: after = ["sign_out"].'
        )
    if isinstance(after, list) and all(isinstance(step, str) for step in after):
        tables["after"] = {"sign_out": False} | dict.fromkeys(after, True)
    for key, value in overrides.items():
        _set_key(tables, key, value, label[:1].lower() + label[1:])
    if not isinstance(tables.get("input", {}), dict):
        raise JobError(f"{label} is not a valid job: input must be a table.")
    has_input = bool(tables.get("input", {}).keys() & {"path", "from_pool"})
    unknown = [describe_unknown([key], value) for key, value in tables.items() if key not in Job.model_fields]
    if unknown and not (has_input and tables.get("targets")):  # it may be the misspelled name of that table
        raise JobError(end_sentence(f"{label} is not a valid job: {'; '.join(unknown)}"))
    if not has_input:
        raise JobError("No input.", "Use --input FILE, or set input.path or input.from_pool in the job file.")
    if not tables.get("targets"):
        raise JobError("No user pool.", "Use --user-pool-id POOL, or add a [[targets]] table to the job file.")
    inputs = tables["input"].get("path")
    first = inputs[0] if isinstance(inputs, list | tuple) and inputs else inputs
    tables.setdefault("name", _name_from(path or Path(str(first))))
    return _validated(tables, label, flags)


def job_from_journal(
    tables: dict[str, Any], overrides: Mapping[str, Any], flags: Mapping[str, str] = MappingProxyType({})
) -> Job:
    """Return a job as stored in a journal, with `overrides` applied. Raises JobError as `load` does."""
    for key, value in overrides.items():
        _set_key(tables, key, value, label="the run")
    return _validated(tables, "The run's job with these changes", flags)


def _validated(tables: dict[str, Any], label: str, flags: Mapping[str, str]) -> Job:
    try:
        return Job.model_validate(tables)
    except ValidationError as error:
        # If one target is invalid, pydantic also reports the list as too short. That is not a second problem.
        found = [detail for detail in error.errors() if (detail["type"], detail["loc"]) != ("too_short", ("targets",))]
        of_flags, of_keys = describe_errors(found or error.errors(), flags)
        if of_keys:
            of_flags.append(f"{label} is not a valid job: {'; '.join(of_keys)}")
        raise JobError(end_sentence("; ".join(of_flags))) from None


def _parsed(path: Path) -> dict[str, Any]:
    text = ""
    try:
        text = decode_text(read_small_file(path))
        return tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise JobError(*_read_error(path, error, text)) from None


def _read_error(path: Path, error: Exception, text: str) -> tuple[str, str]:  # noqa: PLR0911  (one for each kind of error)
    """Return why a file is no job file, and the next step."""
    was_read = not isinstance(error, OSError) or error.errno == errno.EFBIG
    file = f"The job file {path}"
    match error:
        case FileNotFoundError():
            return f"There is no job file {path}.", "Check the path, or use --input and --user-pool-id without one."
        case _ if was_read and path.name.lower().endswith(_INPUTS):
            return f"{file} is not TOML: by its name it is an input.", f"Pass it as one: --input {quoted(path)}."
        case IsADirectoryError() if (path / "journal.sqlite").exists():
            resume = f"bulkreset resume {quoted(path)}"
            return f"{path} is a run directory, not a job file.", f"To continue that run: {resume}."
        case IsADirectoryError():
            return f"{path} is a directory, not a job file.", "Name the job file."
        case OSError():
            return f"{file} cannot be read: {error.strerror}.", "Check the file and its rights."
        case RecursionError():
            return f"{file} cannot be read: it is nested too deeply.", "Check the file."
        case UnicodeDecodeError():
            return f"{file} is not TOML: it is not UTF-8 text.", "Save it as UTF-8."
        case tomllib.TOMLDecodeError() if kind := _other_format(path, text):
            return f"{path} looks like {kind}. Job files are TOML.", "To write one: bulkreset init."
        case tomllib.TOMLDecodeError():
            return f"{file} is not TOML, {describe_syntax(error, text)}.", "Fix that line."
        case _:  # Python's own message is advice for Python programmers, so it is not shown.
            return f"{file} has a number of thousands of digits.", "Check the file."


def _other_format(path: Path, text: str) -> str:
    """Return "YAML" or "JSON" if the name or the first line of a file that is not TOML shows it, else ""."""
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    if path.suffix.lower() in {".yaml", ".yml"} or re.match(r"---|[\w-]+:(\s|$)", first):
        return "YAML"
    return "JSON" if path.suffix.lower() == ".json" or first.startswith("{") else ""


def _read(path: Path) -> dict[str, Any]:
    tables = _parsed(path)
    for table, key in ((table, key) for table, key, annotation in keys_of(Job) if _holds_path(annotation)):
        found: Any = tables
        for part in table.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        for entry in found if isinstance(found, list) else [found]:
            if isinstance(entry, dict) and isinstance(entry.get(key), str):
                entry[key] = _absolute_path(entry[key], path)
            elif isinstance(entry, dict) and isinstance(entry.get(key), list):
                entry[key] = [_absolute_path(one, path) if isinstance(one, str) else one for one in entry[key]]
    _make_absolute(tables, path)
    return tables


def _absolute_path(text: str, path: Path) -> str:
    """Return a path of the job file as absolute; it is relative to the file.

    S3 addresses and "tag" are returned unchanged.
    """
    if text.startswith(S3) or text == TAG:
        return text
    return str(path.parent.absolute() / os.path.expanduser(text))  # noqa: PTH111  (Path.expanduser raises)


def _make_absolute(tables: dict[str, Any], path: Path) -> None:
    """Make values absolute for keys that have a path only in some forms, such as "file:PATH"."""
    notify, metrics = tables.get("notify"), tables.get("metrics")
    if isinstance(notify, dict) and str(notify.get("urls_from")).startswith("file:"):
        notify["urls_from"] = "file:" + _absolute_path(notify["urls_from"].removeprefix("file:"), path)
    if isinstance(metrics, dict) and isinstance(metrics.get("emf"), str) and metrics["emf"] not in {"", "stdout"}:
        metrics["emf"] = _absolute_path(metrics["emf"], path)


def _holds_path(annotation: object) -> bool:
    return annotation is Path or any(map(_holds_path, get_args(annotation)))


def _set_key(tables: dict[str, Any], key: str, value: object, label: str) -> None:
    """Set one dotted key. A key of `targets` is set on the only target. Raises JobError if there is not exactly one."""
    table, _, leaf = key.rpartition(".")
    if not table:
        tables[leaf] = value
        return
    if table != "targets":
        entry = tables.setdefault(table, {})
    else:
        targets = tables.setdefault("targets", [{}])
        if not isinstance(targets, list) or len(targets) != 1:
            flag = "--" + leaf.replace("_", "-")
            raise JobError(
                f"{flag} cannot be used: {label} does not have exactly one target.",
                "Set the key in each [[targets]] table.",
            )
        entry = targets[0]
    if not isinstance(entry, dict):
        raise JobError(f"{label} is not a valid job: {table} must be a table.")
    entry[leaf] = value


def _name_from(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", path.name.split(".")[0]).strip("-_")[:64] or "job"
