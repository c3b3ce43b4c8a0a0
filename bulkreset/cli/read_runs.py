"""The commands that read runs: status, report, extract, passwords, contacts, verify."""

import sys
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import typer

from bulkreset.cancellation import CancelToken, nothing_written
from bulkreset.cli import json_events, process
from bulkreset.cli.options import AsJson, NoProgress, RunDirArgument, complete_run_dir
from bulkreset.errors import RecordError, Refused
from bulkreset.models import ReportFormat
from bulkreset.statuses import EXTRACTED


def status(
    run_dir: Annotated[
        Path | None,
        typer.Argument(metavar="RUN_DIR", help="One run. Default: all runs in runs/.", autocompletion=complete_run_dir),
    ] = None,
    last: Annotated[
        int | None, typer.Option("--last", metavar="N", min=1, help="Only the N newest runs of all runs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show progress and state of one run, or of all runs: the newest is the last one."""
    from bulkreset.cli.prompts import describe_status
    from bulkreset.journal.run_dir import RUNS
    from bulkreset.report.run_status import list_runs, read_status

    if run_dir and last:
        raise Refused("--last selects from all runs, and RUN_DIR names one.", "Pass one of the two.")
    found, unreadable = ([read_status(run_dir)], []) if run_dir else list_runs(RUNS)
    found = found[-last:] if last else found
    if as_json:
        shown = [*map(asdict, found), *map(asdict, unreadable)]
        process.write_result(shown[0] if run_dir else shown)
        return
    parts = ["\n".join(f"{one.run_dir}: {one.state}: {one.problem}" for one in unreadable)] if unreadable else []
    parts += [describe_status(one) for one in found]
    text = "\n\n".join(parts or [f"There are no runs in {RUNS.absolute()}."])
    for line in text.split("\n"):
        whole = line.startswith("  next: ")  # a command must stay on one line, so that it can be copied
        sys.stdout.write((line if whole else process.fit(line, sys.stdout, "    ")) + "\n")
    process.require_stdout_written()


def report(
    run_dir: RunDirArgument,
    form: Annotated[
        Literal[ReportFormat, "html"] | None,
        typer.Option("--format", help="Output format. Default: from the file extension, else the job's format."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="STATUS,...", help="Only rows with one of these statuses.")
    ] = None,
    redact: Annotated[
        Literal["usernames", "none"] | None,
        typer.Option(help="Replace usernames by hashes. Default: as set in the job."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="New output file, or - for standard output. Default: a file in the run directory."
        ),
    ] = None,
    bom: Annotated[bool, typer.Option("--bom", help="CSV for Excel: begin with a UTF-8 byte order mark.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the report again, in another format or for some rows only."""
    from bulkreset.report.rewrite import STANDARD_OUTPUT, ReportRequest, parse_statuses, rewrite_report

    wanted = ReportRequest(
        form, parse_statuses(only or ()), output, None if redact is None else redact == "usernames", bom
    )
    if as_json and output == STANDARD_OUTPUT:
        raise Refused("--json and -o - both write to standard output.", "Leave one of the two out.")
    drawn = rewrite_report(run_dir, wanted, sys.stdout.fileno())
    if as_json:
        process.write_result({"report": str(drawn)})
    elif drawn:
        sys.stdout.write(f"Report: {drawn}\n")


def extract(
    run_dir: RunDirArgument,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="New CSV file (mode 0600). It is encrypted if its name ends with .age."),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS,...", help=f"Only rows with one of these statuses. Default: {','.join(EXTRACTED)}."
        ),
    ] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Public key that can decrypt the file; may be repeated. Default: password.recipients of the job.",
        ),
    ] = None,
) -> None:
    """Write rows of a run's input, with all columns, for a new run.

    The input must be unchanged. The file has the passwords of the input. Fix the rows before you run it.
    """
    from bulkreset.report.extract import ExtractRequest
    from bulkreset.report.extract import extract as extract_rows
    from bulkreset.report.rewrite import parse_statuses

    stop = CancelToken()
    process.install_cleanup_handlers(stop)
    wanted = ExtractRequest(output, parse_statuses(only or EXTRACTED), recipient or ())
    with nothing_written():
        found = extract_rows(run_dir, wanted, stop)
    if found.left_out:
        named = ", ".join(map(str, found.malformed)) + (", …" if found.left_out > len(found.malformed) else "")
        process.print_error(
            f"{found.left_out:,} malformed rows were left out: {named}. Fix their lines in the input, and copy them by hand."
        )
    sys.stdout.write(f"{found.rows:,} rows: {found.output}\n")


def passwords(
    run_dir: RunDirArgument,
    identity: Annotated[Path, typer.Option(help="Private key file of a recipient (age or SSH).")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="New output file (mode 0600). Default: standard output.")
    ] = None,
    form: Annotated[
        Literal["csv", "jsonl"] | None, typer.Option("--format", help="csv or jsonl. Default: csv.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decrypt the passwords that a run generated, with the private key of a recipient. Prints CSV."""
    from bulkreset.files import ELSEWHERE, atomic_writer, remove_stale, require_new
    from bulkreset.report.passwords_export import read_passwords, write_passwords

    if as_json and not output:
        raise Refused("--json reports on a file.", "Name it with -o. For passwords as JSON: --format jsonl.")
    if output:
        require_new(output)
    given = read_passwords(run_dir, identity)
    first = next(given, None)  # raises errors of the key before anything is written
    rows = chain((first,) if first else (), given)
    if output is None:
        try:
            # TolerantStream would hide a write error, and an incomplete list of passwords would look complete.
            with open(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as stream:
                write_passwords(stream, rows, as_jsonl=form == "jsonl")
        except OSError as error:
            raise RecordError(
                f"The passwords could not be written completely to standard output: {error.strerror}.", "Run it again."
            ) from None
        return
    for left in remove_stale(output):
        process.print_error(f"{left} was left by a command that was killed. It contained passwords and was deleted.")
    stop = CancelToken()
    process.install_cleanup_handlers(stop)
    with nothing_written(), atomic_writer(output, ELSEWHERE, new=True) as file:
        number = write_passwords(file, stop.check_between(rows), as_jsonl=form == "jsonl")
    if as_json:
        process.write_result({"passwords": number, "output": str(output)})
    else:
        sys.stdout.write(f"{number:,} passwords: {output}\n")


def contacts(
    run_dir: RunDirArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="New output file, encrypted with age (mode 0600).")],
    recipient: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Public key of a person who may read it (age or SSH). Default: the recipients in the job.",
        ),
    ] = None,
) -> None:
    """Write who got which kind of password and when it expires, for a mail merge. Encrypted; has no passwords."""
    from bulkreset.report.contacts import write_contacts

    number = write_contacts(run_dir, output, recipient or ())
    sys.stdout.write(f"{number:,} users: {output}\n")
    process.require_stdout_written()


def verify(
    run_dir: RunDirArgument,
    within: Annotated[
        float, typer.Option(metavar="DAYS", help="Report temporary passwords that expire within this many days.")
    ] = 1.0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="New output file. Default: verify.csv in the run directory.")
    ] = None,
    reissue: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write an input file with the users whose temporary password has expired or expires soon.",
        ),
    ] = None,
    as_json: AsJson = False,
    no_progress: NoProgress = False,
) -> None:
    """Check whether users have signed in and changed their password. Changes nothing and costs nothing."""
    from bulkreset.cli.prompts import TerminalUi, describe_verified
    from bulkreset.report.verify import VerifyRequest
    from bulkreset.report.verify import verify as verify_run

    stop = CancelToken()
    ui = TerminalUi(stop, show_progress=not no_progress)
    process.install_handlers(stop, json_events.emit_aborted)
    try:
        found = verify_run(run_dir, VerifyRequest(within, output, reissue, sys.stdout if as_json else None), ui, stop)
    finally:
        ui.close()
    if as_json:
        process.require_stdout_written()
    else:
        sys.stdout.write(describe_verified(found) + "\n")
    raise SystemExit(found.exit_code)
