"""The source of an input that is an extract of another run's input: facts in the directory of that run."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bulkreset.files import MOST, read_small_file

FILE = "extracts.jsonl"  # one JSON object per line: an Extract, or the use of one by a run
_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Extract:
    """A file that `extract` wrote: its SHA-256 and path, the statuses and the number of its rows, and the time.

    `used_by` is the directory of a run that has read it, "" in the line of the extract itself.
    """

    sha256: str
    file: str
    only: tuple[str, ...]
    rows: int
    at: str
    used_by: str = ""


def record_extract(run_dir: Path, made: Extract) -> None:
    """Add a line to the extracts of a run. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with os.fdopen(os.open(run_dir / FILE, flags, _PRIVATE), "ab") as file:
        file.write(json.dumps(asdict(made)).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def extracts_of(run_dir: Path) -> list[Extract]:
    """Return the extracts of a run and their uses. Unreadable lines are skipped."""
    found = []
    with suppress(OSError):
        for line in read_small_file(run_dir / FILE, MOST).splitlines():
            with suppress(ValueError, TypeError, KeyError):
                values = json.loads(line)
                found.append(Extract(**{**values, "only": tuple(values["only"])}))
    return found


def find_origin(path: str, sha256: str, folders: list[Path]) -> tuple[Path, list[Extract]] | None:
    """Return the run of which this input is an extract, with the lines about the extract; None if there is none.

    The extract is recognised by its content, or by its path if it was edited. `folders` have the run directories. If
    several runs have written it, the last one counts.
    """
    best: tuple[str, Path, list[Extract]] | None = None
    for folder in folders:
        for record in sorted(folder.glob(f"*/{FILE}")):
            about = [one for one in extracts_of(record.parent) if path == one.file or sha256 == one.sha256]
            made = [one.at for one in about if not one.used_by]
            if made and (best is None or max(made) > best[0]):
                best = (max(made), record.parent, about)
    return best and (best[1], best[2])
