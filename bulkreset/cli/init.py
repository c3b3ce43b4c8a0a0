"""The command `init`, which writes a job file."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bulkreset.cancellation import CancelToken, nothing_written
from bulkreset.cli import json_events, process
from bulkreset.cli.options import AsJson, JobKind, Permanent, Profile, Rate, UserPoolId
from bulkreset.text import quoted


def init(
    kind: Annotated[JobKind | None, typer.Option(help="What the job is for.")] = None,
    name: Annotated[str | None, typer.Option(help="The job's name.")] = None,
    input_: Annotated[str | None, typer.Option("--input", help="Input file, folder, glob or s3:// URL.")] = None,
    user_pool_id: UserPoolId = None,
    region: Annotated[str | None, typer.Option(help="AWS Region. Default: taken from the pool ID.")] = None,
    profile: Profile = None,
    permanent: Permanent = None,
    recipient: Annotated[
        str | None, typer.Option(help="age public key. Generated passwords are encrypted to it.")
    ] = None,
    rate: Rate = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="New output file. Default: NAME.toml.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a job file, step by step. Asks for values that no flag gives."""
    from bulkreset.cli.job_template import fill_defaults, missing_input, write_job
    from bulkreset.cli.prompts import TerminalUi, ask_questions

    options = {"kind": kind, "name": name, "input": input_, "user_pool_id": user_pool_id, "region": region}
    options |= {"profile": profile, "recipient": recipient, "rate": rate}
    options["permanent"] = None if permanent is None else "yes" if permanent else "no"
    given = {key: str(value) for key, value in options.items() if value is not None}
    if sys.stdin.isatty():
        stop = CancelToken()
        process.install_handlers(stop, json_events.emit_aborted)
        with nothing_written():
            answers = ask_questions(TerminalUi(stop, show_progress=False), given)
    else:
        answers = fill_defaults(given)
    path = output or Path(f"{answers['name']}.toml")
    write_job(answers, path)
    if missing := missing_input(answers):
        process.print_error(f"warning: the input file {missing} does not exist.")
    command = f"bulkreset run {quoted(path)} --dry-run"
    if as_json:
        process.write_result({"job": str(path), "commands": [command]})
    else:
        sys.stdout.write(f"Job file: {path}\nNext: {command}\n")
