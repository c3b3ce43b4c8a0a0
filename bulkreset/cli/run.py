"""The commands that run jobs, and give up a run: run, resume, abandon, demo."""

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

from bulkreset.cancellation import CancelToken
from bulkreset.cli import json_events, options, process
from bulkreset.errors import EXIT_OK, EXIT_ROWS, BulkresetError, Refused
from bulkreset.models import Summary, format_rows
from bulkreset.statuses import describe_counts
from bulkreset.text import quoted

if TYPE_CHECKING:
    import io

    from bulkreset.cli.prompts import TerminalUi
    from bulkreset.job import Job
    from bulkreset.report.run_status import RunStatus
    from bulkreset.run.context import RunEnd, RunOptions
    from bulkreset.run.scheduled import LeftOut


def run(
    job: Annotated[Path | None, typer.Argument(metavar="JOB", help="A job file (TOML).")] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="FILE", help="Input file, folder, glob or s3:// URL. May be given several times."
        ),
    ] = None,
    spool: Annotated[
        bool,
        typer.Option(
            "--spool", help="With --input -: keep standard input in a file, encrypted for the key in input.identity."
        ),
    ] = False,
    user_pool_id: options.UserPoolId = None,
    region: Annotated[str | None, typer.Option(help="The pool's Region.")] = None,
    profile: options.Profile = None,
    endpoint_url: Annotated[str | None, typer.Option(help="Endpoint of Cognito, if it is not AWS's own.")] = None,
    ca_bundle: Annotated[Path | None, typer.Option(help="Certificates to trust, as PEM.")] = None,
    no_verify_ssl: Annotated[
        bool, typer.Option("--no-verify-ssl", help="Do not verify the endpoint's certificate.")
    ] = False,
    connect_timeout: Annotated[float | None, typer.Option(help="Seconds to wait for a connection.")] = None,
    read_timeout: Annotated[float | None, typer.Option(help="Seconds to wait for an answer.")] = None,
    permanent: options.Permanent = None,
    sign_out: Annotated[
        bool | None,
        typer.Option("--sign-out/--no-sign-out", help="Sign each user out of all devices after the password is set."),
    ] = None,
    rate: options.Rate = None,
    share: options.Share = None,
    workers: options.Workers = None,
    max_rows: options.MaxRows = None,
    max_failures: options.MaxFailures = None,
    max_duration: options.MaxDuration = None,
    cluster: options.Cluster = None,
    limit: options.Limit = None,
    run_dir: options.NewRunDir = None,
    check_users: Annotated[
        bool | None,
        typer.Option(
            "--check-users/--no-check-users", help="Check that every user exists before sending (default: on)."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan and report; send nothing.")] = False,
    approved: Annotated[
        Path | None,
        typer.Option(
            metavar="DRY_RUN_DIR",
            autocompletion=options.complete_run_dir,
            help="Run exactly what this dry run planned. Stops if anything has changed. Does not ask.",
        ),
    ] = None,
    emulate: Annotated[
        bool, typer.Option("--emulate", help="Run against the embedded Cognito; nothing real is touched.")
    ] = False,
    yes: options.Yes = False,
    again: options.Again = False,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
    verbose: options.Verbose = 0,
) -> None:
    """Set the passwords in a job: check, ask, send, write a report."""
    from bulkreset.job.file import load

    kept = _spool_path(input_, run_dir) if spool else None
    input_ = [str(kept)] if kept else input_
    overrides = {
        "input.path": input_ if input_ and len(input_) > 1 else input_[0] if input_ else None,
        "targets.user_pool_id": user_pool_id,
        "targets.region": region,
        "targets.profile": profile,
        "targets.endpoint_url": endpoint_url,
        "targets.ca_bundle": ca_bundle,
        "targets.verify_ssl": False if no_verify_ssl else None,
        "targets.connect_timeout": connect_timeout,
        "targets.read_timeout": read_timeout,
        "permanent": permanent,
        "plan.check_users": check_users,
        "after.sign_out": sign_out,
    }
    if approved and dry_run:
        raise Refused("--approved runs what a dry run planned, and --dry-run plans only.", "Pass one of the two.")
    if approved and kept:  # each copy is encrypted with a new key, so it never equals the approved input
        raise Refused(
            "--approved needs the input of the dry run, and --spool would make a new file of standard input.",
            "Pass the file that the dry run kept, with --input.",
        )
    given = _given(overrides) | _limits(rate, share, workers, max_rows, max_failures, max_duration, cluster)
    asked = load(job, given, options.flags_of(given))
    if not (yes or emulate or approved or dry_run or sys.stdin.isatty()):
        if not (kept or asked.schedule.state):
            from bulkreset.input.discovery import discover

            discover(asked.input)  # raises if it is missing, which is more useful to know
        process.require_terminal()
    stop, ui, mode = _terminal(
        progress=not no_progress,
        quiet=quiet,
        verbose=verbose,
        as_json=json,
        dry_run=dry_run,
        emulate=emulate,
        yes=yes or emulate,
        approved=approved,
        again=again,
        limit=limit,
        command=_command_to_repeat(sys.argv[1:], kept),
    )
    if kept:
        from bulkreset.input.spool import spool as keep
        from bulkreset.journal.run_dir import require_free

        if run_dir:
            require_free(run_dir)  # before standard input is read, which can be read only once
        keep(cast("io.BufferedReader", sys.stdin.buffer), kept, asked.input.identity)
    if kept and not quiet:
        ui.notice(f"Standard input is kept in {kept}, encrypted. Delete it when no run needs it any more.")
    _execute(asked, run_dir, mode, stop, ui, as_json=json)


def resume(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN_DIR",
            help="The directory of a run, or its s3:// mirror.",
            autocompletion=options.complete_run_dir,
        ),
    ],
    failed: Annotated[bool, typer.Option("--failed", help="Also send the failed rows again.")] = False,
    rate: options.Rate = None,
    share: options.Share = None,
    workers: options.Workers = None,
    max_rows: options.MaxRows = None,
    max_failures: options.MaxFailures = None,
    max_duration: options.MaxDuration = None,
    limit: options.Limit = None,
    run_dir: options.NewRunDir = None,
    cluster: options.Cluster = None,
    mirror: options.Mirror = None,
    moved: options.Moved = False,
    yes: options.Yes = False,
    again: options.Again = False,
    json: options.AsJson = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
    verbose: options.Verbose = 0,
) -> None:
    """Continue a stopped run. Send only rows that are not done yet."""
    from bulkreset.mirror.factory import fetch_run_dir
    from bulkreset.run.start_and_resume import resume as resume_run

    limits = _limits(rate, share, workers, max_rows, max_failures, max_duration, cluster)
    overrides = limits | options.parse_mirror(mirror)
    stop, ui, mode = _terminal(
        progress=not no_progress,
        quiet=quiet,
        verbose=verbose,
        as_json=json,
        yes=yes,
        again=again,
        limit=limit,
        retry_failed=failed,
        moved=moved,
        flags=options.flags_of(overrides),
    )
    path = fetch_run_dir(run, run_dir)
    before = _finished(path)
    if failed and before and any(step["failed"] for step in before.steps.values()):
        before = None  # steps are taken again, so there is something to do
    ends = (resume_run(at, mode, overrides, ui, stop) for at in [path])  # begins when signals are handled
    _run_and_exit(ends, stop, ui, path, before=before, as_json=json)


def abandon(run_dir: options.RunDirArgument) -> None:
    """Give up an unfinished or undone run: it is never resumed. Sends nothing; the report keeps who was set."""
    from bulkreset.run.abandon import abandon as abandon_run

    found = abandon_run(run_dir)
    counts = describe_counts(found.counts) or "no rows"
    lines = [f"Given up: {run_dir}: {counts}."]
    if found.perhaps_set:
        lines.append(
            f"{format_rows(found.perhaps_set)} are set, or may be. A scheduled job does not run its inputs again."
        )
        if command := found.list_remaining:
            lines.append(f"For a new run, write an input of the users who are not set: {command}")
    else:
        lines.append("No user was set. A scheduled job runs its inputs again, with the job as it is then.")
    if found.mirror:
        lines.append(f"Its mirror {found.mirror} can still be resumed; delete it.")
    sys.stdout.write("\n".join(lines) + "\n")
    process.require_stdout_written()


def demo(
    run_dir: options.NewRunDir = None,
    no_progress: options.NoProgress = False,
    verbose: options.Verbose = 0,
) -> None:
    """Run the sample job against the embedded Cognito. Nothing real is touched."""
    from bulkreset.cli.job_template import JOBS
    from bulkreset.job.file import load

    stop, ui, mode = _terminal(progress=not no_progress, verbose=verbose, emulate=True, yes=True)
    _execute(load(JOBS / "demo.toml", {}), run_dir, mode, stop, ui)


def _limits(
    rate: str | None,
    share: float | None,
    workers: int | None,
    max_rows: int | None,
    max_failures: str | None,
    max_duration: str | None,
    cluster: str | None,
) -> dict[str, Any]:
    """Return the job keys that the flags of both run and resume set."""
    limits = {
        "pace.rate": options.parse_rate(rate),
        "pace.share": share,
        "pace.workers": workers,
        "guards.max_rows": max_rows,
        "guards.max_failures": options.parse_limit(max_failures),
        "guards.max_duration": max_duration,
    }
    return _given(limits) | options.parse_cluster(cluster)


def _given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the job keys whose flag is given."""
    return {key: value for key, value in overrides.items() if value is not None}


def _terminal(
    *,
    progress: bool,
    quiet: bool = False,
    verbose: int = 0,
    as_json: bool = False,
    **more: Any,  # noqa: ANN401  (fields of RunOptions)
) -> "tuple[CancelToken, TerminalUi, RunOptions]":
    """Return what the terminal's user is asked and shown with, and the options that follow from it and from `more`.

    Raises Refused if both --quiet and --verbose are given.
    """
    from bulkreset.cli.prompts import TerminalUi
    from bulkreset.run.context import RunOptions

    if quiet and verbose:
        raise Refused("--quiet and --verbose contradict each other.", "Leave one of the two out.")
    stop = CancelToken()
    ui = TerminalUi(stop, show_progress=progress, quiet=quiet)
    mode = RunOptions(
        ui.events,
        verbosity=-1 if quiet else verbose,
        console_json=json_events.current() is not None,
        out=None if as_json else sys.stdout,
        ask_code=ui.ask_code,
        **more,
    )
    return stop, ui, mode


def _execute(
    job: "Job", run_dir: Path | None, mode: "RunOptions", stop: CancelToken, ui: "TerminalUi", *, as_json: bool = False
) -> NoReturn:
    """Run a job with progress, and exit with its exit code."""
    from bulkreset.journal.run_dir import reserve_path
    from bulkreset.run.scheduled import LeftOut, run_job

    path = run_dir or (None if job.schedule.state else reserve_path(job.name))  # a scheduled job may need no directory
    left_out = LeftOut()
    ends = run_job(job, path, mode, ui, stop, left_out)
    nothing = f"No new input at {job.input.named}: nothing to do."
    _run_and_exit(ends, stop, ui, path, nothing, left_out, as_json=as_json)


def _spool_path(given: Sequence[str] | None, run_dir: Path | None) -> Path:
    """Return the new file that standard input is kept in. Raises Refused if it is not the only input."""
    from bulkreset.journal.run_dir import new_path

    if given is None or [*given] != ["-"]:
        raise Refused("--spool keeps standard input, which must be the only input.", "Pass it with --input -.")
    path = new_path("stdin")
    return ((run_dir.parent if run_dir else path.parent) / f"{path.name}.age").absolute()


def _command_to_repeat(arguments: Sequence[str], spooled: Path | None = None) -> str:
    """Return the command line without what only this run needs. No option has a secret as its value."""
    kept = [
        str(spooled) if argument == "-" else f"--input={spooled}" if argument == "--input=-" else argument
        for argument in arguments
    ]
    once = {"--dry-run", "--yes", "--again", "--no-progress", "--quiet", "-q", "--spool"}
    kept = [argument for argument in kept if argument not in once]
    while "--run-dir" in kept[:-1]:
        at = kept.index("--run-dir")
        del kept[at : at + 2]
    return shlex.join(["bulkreset", *(argument for argument in kept if not argument.startswith("--run-dir="))])


def _finished(path: Path) -> "RunStatus | None":
    """Return the status of the run in `path` if it is finished, else None."""
    from bulkreset.report.run_status import read_status

    try:
        status = read_status(path)
    except BulkresetError:  # resuming reports it
        return None
    return status if status.state == "finished" and not (status.alive or status.resumable) else None


def _run_and_exit(
    ends: Iterable["RunEnd"],
    stop: CancelToken,
    ui: "TerminalUi",
    path: Path | None,
    nothing: str = "",
    left_out: "LeftOut | None" = None,
    *,
    before: "RunStatus | None" = None,
    as_json: bool = False,
) -> NoReturn:
    """Perform the runs, print the end of each, and exit with the highest of their exit codes.

    `as_json`: the end of each is a line of JSON, and nothing else is printed. `path` is the run directory, if it is
    known before. `nothing` is printed if there was nothing to run. An input that is set aside in `left_out` counts as
    rows that are not set. `before` is the status of a finished run that is resumed.
    """
    process.install_handlers(stop, lambda code: json_events.emit_aborted(code, path))
    codes: list[int] = []
    try:
        for end in ends:
            ui.close()
            _print_end(end, before, quiet=ui.is_quiet, as_json=as_json)
            codes.append(end.summary.exit_code)
    finally:
        ui.close()
    code = EXIT_ROWS if left_out and left_out.set_aside else EXIT_OK
    if not codes:
        nothing = " ".join([nothing, *(left_out.held if left_out else ())])
        if as_json:
            process.print_json({"state": "finished", "exit_code": code, "message": nothing})
        elif not ui.is_quiet:
            sys.stdout.write(f"{nothing}\n")
        sys.stdout.flush()
        if json_events.current():
            json_events.emit_ended(code, nothing, state="finished")
    raise SystemExit(max([code, *codes]))


def _print_end(end: "RunEnd", before: "RunStatus | None" = None, *, quiet: bool, as_json: bool) -> None:
    """Print the result of a run; if `quiet`, not of one in which all went well.

    If it is resumable, the last line is the resume command.
    """
    from bulkreset.cli.prompts import describe_next, describe_nothing_to_do, describe_summary
    from bulkreset.journal.run_dir import RunDir
    from bulkreset.report.summary import summary_figures

    path, summary, home = end.run_dir, end.summary, RunDir(end.run_dir)
    resume = f"bulkreset resume {quoted(path)}" if summary.resumable else ""
    if as_json:
        commands = [command for _, command in end.ways]
        process.print_json({"run_dir": str(path), **summary_figures(summary), "commands": commands})
    elif not quiet or summary.exit_code != EXIT_OK:
        if before and summary.state == "finished" and summary.attempts == before.attempts:
            lines = describe_nothing_to_do(summary, before, home)
        else:
            lines = describe_summary(summary, home)
        lines += describe_next([way for way in end.ways if way[1] != resume], summary, path)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    if why := process.stdout_error():
        process.print_error(
            f"The summary could not be written to standard output: {why}. The report: {path / summary.report}"
        )
    json_events.emit_ended(
        summary.exit_code, _end_message(summary), state=summary.state, run_dir=str(path), resume=resume
    )


def _end_message(summary: Summary) -> str:
    """Return why the run stopped, or a warning about rows in doubt; "" if there is nothing to report."""
    if summary.stopped_by:
        return f"{summary.stopped_by.message} {summary.stopped_by.advice}".strip()
    if in_doubt := summary.counts.get("in_doubt"):
        return f"{format_rows(in_doubt)} {'is' if in_doubt == 1 else 'are'} in doubt: perhaps sent, and no answer is known."
    return ""
