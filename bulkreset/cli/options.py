"""The options that several commands have, and what their text means to a job."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bulkreset.errors import JobError

RUNS = Path("runs")  # where run directories are that nobody named

MOST_DIGITS = 19  # of a number of rows


class LogFormat(StrEnum):
    """How the log's louder events look on standard error."""

    CONSOLE = "console"
    JSON = "json"


class ReportForm(StrEnum):
    """What a report is drawn as."""

    CSV = "csv"
    PARQUET = "parquet"
    JSONL = "jsonl"
    HTML = "html"


class Redact(StrEnum):
    """What a report has hashes in place of."""

    USERNAMES = "usernames"
    NONE = "none"


# The options that several commands have.
Rate = Annotated[str | None, typer.Option(help='Calls per second, "auto" or "none".', show_default=False)]
Share = Annotated[
    float | None, typer.Option(help="The share of the quota that an automatic rate takes.", show_default=False)
]
Workers = Annotated[int | None, typer.Option(help="Threads, where not as many as the rate needs.", show_default=False)]
MaxRows = Annotated[
    int | None, typer.Option(help="Send nothing if more rows than this would be sent.", show_default=False)
]
MaxFailures = Annotated[
    str | None,
    typer.Option(help='Stop after more failed rows than this, or than a share such as "5%".', show_default=False),
]
MaxDuration = Annotated[
    str | None, typer.Option(help='Stop after this time: seconds, or "90m", "8h".', show_default=False)
]
UserPoolId = Annotated[str | None, typer.Option(help="The user pool.", show_default=False)]
Profile = Annotated[str | None, typer.Option(help="A profile of your AWS configuration.", show_default=False)]
Permanent = Annotated[
    bool | None,
    typer.Option(
        "--permanent/--no-permanent", help="Whether the passwords are permanent or temporary.", show_default=False
    ),
]
StopAfter = Annotated[
    int | None, typer.Option(min=1, help="Send at most so many rows this time; resume goes on.", show_default=False)
]
Fleet = Annotated[
    str | None,
    typer.Option(
        metavar="WHERE",
        help='Where lanes run: "tls://HOST:PORT", a Dask scheduler; "local:N", N processes here; "none", this one.',
        show_default=False,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
LogAs = Annotated[LogFormat, typer.Option(help="How events look on standard error.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress.")]
Verbose = Annotated[
    int, typer.Option("-v", "--verbose", count=True, help="Show events; twice: every row.", show_default=False)
]
NewRunDir = Annotated[
    Path | None, typer.Option(help="A new directory for all that the run writes.", show_default=False)
]


def parse_rate(text: str | None) -> float | str | None:
    """A rate as the job takes it: a number where it is one."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def parse_limit(text: str | None) -> int | str | None:
    """A number of rows, or a share, as the job takes it."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < MOST_DIGITS else text


def parse_cluster(text: str | None) -> dict[str, object]:
    """The keys of a fleet that --fleet sets: one, and not the other. Raises JobError for what is none."""
    if text is None:
        return {}
    found = re.fullmatch(r"local:([1-9]\d?)", text)
    if not found and text != "none" and not re.match(r"(tls|tcp)://.", text):
        raise JobError(
            f"--fleet {text!r} is no fleet.", 'Pass "tls://HOST:PORT", "local:N" with up to 64 processes, or "none".'
        )
    return {"fleet.scheduler": text if "://" in text else None, "fleet.local": int(found[1]) if found else None}
