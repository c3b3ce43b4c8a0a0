"""The options shared by several commands, and the parsers of their text."""

import os
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from bulkreset.errors import JobError

_JOURNAL = "journal.sqlite"  # what makes a directory a run's

# Options that are not given are read from variables such as BULKRESET_RATE.
ENVIRONMENT = {"auto_envvar_prefix": "BULKRESET"}

MOST_DIGITS = 19  # limit on the digits of a number of rows


def complete_run_dir(incomplete: str) -> list[str]:
    """Return the run directories, and the directories that may have some, whose path begins with `incomplete`.

    If nothing is typed yet, these are the runs in RUNS.
    """
    from bulkreset.journal.run_dir import RUNS

    start = f"{RUNS}/" if f"{RUNS}/".startswith(incomplete) else incomplete
    parent = Path(start if start.endswith("/") else os.path.dirname(start))  # noqa: PTH120  (a Path loses the slash)
    try:
        found = [path for path in parent.iterdir() if path.is_dir()]
    except OSError:
        return []
    paths = [str(path) if (path / _JOURNAL).exists() else f"{path}/" for path in found]
    return sorted(path for path in paths if path.startswith(start))


class JobKind(StrEnum):
    """The purpose of a job."""

    FILE = "file"
    SCHEDULED = "scheduled"
    TEMPORARY = "temporary"
    SCRAMBLE = "scramble"
    FROM_POOL = "from-pool"


# Arguments and options shared by several commands.
RunDirArgument = Annotated[
    Path, typer.Argument(metavar="RUN_DIR", help="The directory of a run.", autocompletion=complete_run_dir)
]
Rate = Annotated[str | None, typer.Option(help='Calls per second, "auto" or "none".')]
ControlRate = Annotated[
    str | None, typer.Option("--rate", help='At most N calls per second for each lane; "auto": no such limit.')
]
Share = Annotated[
    float | None, typer.Option(help="Share of the AWS quota to use, 0-1 (default 0.8). Used if --rate is auto.")
]
Workers = Annotated[int | None, typer.Option(help="Number of worker threads. Default: as many as the rate needs.")]
MaxRows = Annotated[int | None, typer.Option(help="Stop before sending if the input has more than N rows.")]
MaxFailures = Annotated[str | None, typer.Option(help="Stop when more than N rows (or N%) have failed.")]
MaxDuration = Annotated[str | None, typer.Option(help='Stop after this time: seconds, or "90m", "8h".')]
UserPoolId = Annotated[str | None, typer.Option(help="The user pool.")]
Profile = Annotated[str | None, typer.Option(help="AWS profile. Default: boto3's credential chain.")]
Permanent = Annotated[
    bool | None,
    typer.Option(
        "--permanent/--no-permanent",
        help="Set permanent passwords. Default: temporary; the user must change it at the next sign-in.",
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Send at most N rows, then stop. `resume` sends the rest.")]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="WHERE",
        help="Where the workers run: a Dask scheduler (tls://HOST:PORT), N local processes (local:N), or this process (none).",
    ),
]
Mirror = Annotated[
    str | None, typer.Option(metavar="none", help="none: continue without the mirror, if it is permanently gone.")
]
Moved = Annotated[
    bool, typer.Option("--moved", help="The directory was moved or copied here; the process that ran it has ended.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
Again = Annotated[bool, typer.Option("--again", help="Set passwords that an earlier run of this input has set.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
LogAs = Annotated[Literal["console", "json"], typer.Option(help="Log format on standard error: text or JSON lines.")]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print only errors, and the summary if the exit code is not 0.")
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress.")]
Verbose = Annotated[
    int,
    typer.Option(
        "-v", "--verbose", count=True, help="Show more log messages; -vv also logs every row.", show_default=False
    ),
]
NewRunDir = Annotated[
    Path | None, typer.Option(help="Directory for this run's files; must not exist. Default: runs/JOB-TIME.")
]


_FLAGS = {"input.path": "--input", "targets.verify_ssl": "--no-verify-ssl"}
_FLAGS |= {"cluster.scheduler": "--cluster", "cluster.local": "--cluster", "mirror.to": "--mirror"}


def flags_of(keys: Iterable[str]) -> dict[str, str]:
    """Return the flags that set these keys of the job, by key."""
    return {key: _FLAGS.get(key, "--" + key.rpartition(".")[2].replace("_", "-")) for key in keys}


def parse_rate(text: str | None) -> float | str | None:
    """Return a rate as a job value, in calls per second. Text that is not a number is returned unchanged."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def parse_limit(text: str | None) -> int | str | None:
    """Return a number of rows as a job value. Other text, such as a share, is returned unchanged."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < MOST_DIGITS else text


def parse_mirror(text: str | None) -> dict[str, object]:
    """Return the job keys that --mirror sets. Raises JobError if the text is not "none"."""
    if text not in {None, "none"}:
        raise JobError(
            f"--mirror {text!r} is not possible: a run keeps its mirror.", "Leave it out, or pass --mirror none."
        )
    return {} if text is None else {"mirror.to": None}


def parse_cluster(text: str | None) -> dict[str, object]:
    """Return the job keys that --cluster sets: one has a value, the other is None; both are None for "none".

    Raises JobError if the text is not valid.
    """
    if text is None:
        return {}
    found = re.fullmatch(r"local:([1-9]\d?)", text)
    if not found and text != "none" and not re.match(r"(tls|tcp)://.", text):
        raise JobError(
            f"--cluster {text!r} is not a cluster.",
            'Pass "tls://HOST:PORT", "local:N" with up to 64 processes, or "none".',
        )
    return {"cluster.scheduler": text if "://" in text else None, "cluster.local": int(found[1]) if found else None}
