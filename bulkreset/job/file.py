"""Reads a job from a TOML file, applies the command-line flags and reports every wrong key."""

import difflib
import errno
import os
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bulkreset.errors import JobError
from bulkreset.files import read_small_file
from bulkreset.job import S3, TAG, Job, Target

_INPUTS = (".csv", ".parquet", ".pq", ".gz", ".age")


def load(path: Path | None, overrides: Mapping[str, Any]) -> Job:
    """Return the job in `path` (or an empty one) with `overrides` ("pace.rate": 24, …) applied.

    Paths in the file are relative to the file. Raises JobError naming every wrong key.
    """
    tables = _read(path) if path else {}
    if "input.path" in overrides and isinstance(tables.get("input"), dict):
        for key in ("state", "expected", "done"):  # these belong to the inputs that the job file names
            tables["input"].pop(key, None)
    return build(tables, overrides, str(path or "The command line"), path)


def build(tables: dict[str, Any], overrides: Mapping[str, Any], label: str, path: Path | None = None) -> Job:
    """Return the job of `tables`; changes `tables`.

    Errors call the job `label`. The job's default name comes from `path`. Raises JobError as `load` does.
    """
    for key, value in overrides.items():
        _set_key(tables, key, value, label[:1].lower() + label[1:])
    if not isinstance(tables.get("input", {}), dict):
        raise JobError(f"{label} is not a valid job: input must be a table.")
    if not tables.get("input", {}).keys() & {"path", "from_pool"}:
        raise JobError("No input was named.", "Pass --input FILE, or give the job file an [input] path or from_pool.")
    if not tables.get("targets"):
        raise JobError("No user pool was named.", "Pass --user-pool-id POOL, or give the job file a [[targets]] table.")
    tables.setdefault("name", _name_from(path or _first_input(tables["input"].get("path"))))
    return _validated(tables, label)


def job_from_journal(tables: dict[str, Any], overrides: Mapping[str, Any]) -> Job:
    """Return a job as stored in a journal, with `overrides` applied. Raises JobError as `load` does."""
    for key, value in overrides.items():
        _set_key(tables, key, value, label="the run")
    return _validated(tables, "The command line")


def _validated(tables: dict[str, Any], label: str) -> Job:
    try:
        return Job.model_validate(tables)
    except ValidationError as error:
        # If one target is invalid, pydantic also reports the list as too short. That is not a second problem.
        found = [detail for detail in error.errors() if (detail["type"], detail["loc"]) != ("too_short", ("targets",))]
        problems = "; ".join(dict.fromkeys(_describe_error(detail) for detail in found or error.errors()))
        raise JobError(f"{label} is not a valid job: {problems}.") from None


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_small_file(path).decode())
    except FileNotFoundError:
        raise JobError(
            f"There is no job file {path}.", "Check the path, or use --input and --user-pool-id without one."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _read_error(path, error) from None


def _read_error(path: Path, error: OSError | ValueError | RecursionError) -> JobError:
    """Return the error for a job file that is not TOML or cannot be read."""
    was_read = not isinstance(error, OSError) or error.errno == errno.EFBIG
    if was_read and path.name.lower().endswith(_INPUTS):
        return JobError(
            f"The job file {path} is not TOML: by its name it is an input.",
            f"Pass it as one: --input {shlex.quote(str(path))}.",
        )
    if isinstance(error, OSError):
        return JobError(f"The job file {path} cannot be read: {error.strerror}.", "Check the file and its rights.")
    if isinstance(error, RecursionError):
        return JobError(f"The job file {path} cannot be read: it is nested too deeply.", "Check the file.")
    if isinstance(error, tomllib.TOMLDecodeError | UnicodeDecodeError):
        return JobError(f"The job file {path} is not TOML: {error}.", "Fix that line.")
    # Python's own message is advice for Python programmers, so it is not shown.
    return JobError(f"The job file {path} has a number of thousands of digits.", "Check the file.")


def _read(path: Path) -> dict[str, Any]:
    tables = _parsed(path)
    for table, key in _PATHS:
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
    """Make values absolute for keys that hold a path only in some forms, such as "file:PATH"."""
    notify, metrics = tables.get("notify"), tables.get("metrics")
    if isinstance(notify, dict) and str(notify.get("urls_from")).startswith("file:"):
        notify["urls_from"] = "file:" + _absolute_path(notify["urls_from"].removeprefix("file:"), path)
    if isinstance(metrics, dict) and isinstance(metrics.get("emf"), str) and metrics["emf"] not in {"", "stdout"}:
        metrics["emf"] = _absolute_path(metrics["emf"], path)


_PATHS = (
    ("input", "path"),
    ("input", "identity"),
    ("input", "state"),
    ("input", "done"),
    ("input.select", "not_in"),
    ("handout", "path"),
    ("metrics", "textfile"),
    ("targets", "ca_bundle"),
    ("fleet", "tls_ca_file"),
    ("fleet", "tls_cert"),
    ("fleet", "tls_key"),
)


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


def _first_input(given: object) -> Path:
    """Return the path that a job without a job file is named after: the first input."""
    return Path(str(given[0] if isinstance(given, list | tuple) and given else given))


def _name_from(path: Path) -> str:
    stem = path.name.split(".")[0]
    return (
        "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "-" for letter in stem).strip(
            "-_"
        )[:64]
        or "job"
    )


def _describe_error(detail: ErrorDetails) -> str:
    """Return one pydantic error in our wording. The value itself is never shown."""
    if detail["loc"][:2] == ("pace", "rate"):
        return 'pace.rate must be a number of calls per second above 0 and up to 10000, "auto" or "none"'
    if detail["loc"][:2] == ("guards", "max_failures"):
        return 'guards.max_failures must be a number of rows, or a percentage below 100 such as "5%"'
    where = ".".join(text if (text := str(part)).isprintable() else repr(text) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{where} is not a known key{_suggestion(detail['loc'])}"
    if detail["type"] == "missing":
        return f"{where} is missing"
    if detail["type"] == "value_error":
        return f"{where} {detail['ctx']['error']}".strip()
    return f"{where}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _suggestion(location: tuple[int | str, ...]) -> str:
    """Return " (did you mean rate?)" if that table has a key with a similar spelling, else ""."""
    model: Any = Job
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else Target
    close = difflib.get_close_matches(str(location[-1]), list(model.model_fields), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
