"""The command line: commands and options; the only place that prints, prompts or exits."""

import csv
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from bulkreset import process
from bulkreset.draft import Kind
from bulkreset.errors import EXIT_BUG, EXIT_OK, BulkresetError, Interrupted, RecordError, Refused, place_of
from bulkreset.job import S3
from bulkreset.manual import Page
from bulkreset.options import (
    Fleet,
    LogAs,
    LogFormat,
    MaxDuration,
    MaxFailures,
    MaxRows,
    NewRunDir,
    NoProgress,
    Permanent,
    Profile,
    Rate,
    Redact,
    ReportForm,
    Share,
    StopAfter,
    UserPoolId,
    Verbose,
    Workers,
    Yes,
    count,
    number,
)
from bulkreset.options import fleet as fleet_of
from bulkreset.rows import Summary, in_rows
from bulkreset.watch import Stop

if TYPE_CHECKING:
    from bulkreset.console import Terminal
    from bulkreset.job import Job
    from bulkreset.run import Mode

# Each command imports what it runs: boto3, pandas and what else a run needs take most of a second to load.

RUNS = Path("runs")

app = typer.Typer(
    name="bulkreset",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,  # they would show local variables, and one of them is a password
    rich_markup_mode=None,
    epilog="Begin with: bulkreset init, then bulkreset run JOB --dry-run.",
    help="Set many users' passwords in Amazon Cognito: planned, paced, journalled, resumable.",
)


def _show_version(asked: bool) -> None:  # noqa: FBT001  (typer's callback)
    if asked:
        from bulkreset import __version__

        sys.stdout.write(f"bulkreset {__version__}\n")
        raise SystemExit(0)


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Set many users' passwords in Amazon Cognito: planned, paced, journalled, resumable."""


@app.command(cls=Page)
def run(
    job: Annotated[Path | None, typer.Argument(metavar="JOB", help="A job file (TOML).", show_default=False)] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input", help="File, folder, pattern or s3:// address with the rows; repeat it.", show_default=False
        ),
    ] = None,
    user_pool_id: UserPoolId = None,
    region: Annotated[str | None, typer.Option(help="The pool's Region.", show_default=False)] = None,
    profile: Profile = None,
    endpoint_url: Annotated[
        str | None, typer.Option(help="Cognito's endpoint, where it is not AWS's own.", show_default=False)
    ] = None,
    ca_bundle: Annotated[Path | None, typer.Option(help="Certificates to trust, as PEM.", show_default=False)] = None,
    no_verify_ssl: Annotated[
        bool, typer.Option("--no-verify-ssl", help="Do not verify the endpoint's certificate.")
    ] = False,
    connect_timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait for a connection.", show_default=False)
    ] = None,
    read_timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait for an answer.", show_default=False)
    ] = None,
    permanent: Permanent = None,
    sign_out: Annotated[
        bool | None,
        typer.Option("--sign-out/--no-sign-out", help="Whether to sign users out once set.", show_default=False),
    ] = None,
    rate: Rate = None,
    share: Share = None,
    workers: Workers = None,
    max_rows: MaxRows = None,
    max_failures: MaxFailures = None,
    max_duration: MaxDuration = None,
    stop_after: StopAfter = None,
    fleet: Fleet = None,
    run_dir: NewRunDir = None,
    check_users: Annotated[
        bool | None,
        typer.Option(
            "--check-users/--no-check-users",
            help="Whether the plan looks the users up in the pool.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan and report; send nothing.")] = False,
    approved: Annotated[
        Path | None,
        typer.Option(
            metavar="DRY_RUN_DIR",
            help="Run what this dry run planned, and nothing else; no question is asked.",
            show_default=False,
        ),
    ] = None,
    emulate: Annotated[
        bool, typer.Option("--emulate", help="Run against the embedded Cognito; nothing real is touched.")
    ] = False,
    yes: Yes = False,
    log_format: LogAs = LogFormat.CONSOLE,
    no_progress: NoProgress = False,
    verbose: Verbose = 0,
) -> None:
    """Plan a job, confirm it, apply it, report."""
    from bulkreset.jobfile import load

    overrides: dict[str, Any] = {
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
        "pace.rate": number(rate),
        "pace.share": share,
        "pace.workers": workers,
        "guards.max_rows": max_rows,
        "guards.max_failures": count(max_failures),
        "guards.max_duration": max_duration,
    }
    if approved and dry_run:
        raise Refused("--approved runs what a dry run planned, and --dry-run plans only.", "Pass one of the two.")
    asked = load(job, {key: value for key, value in overrides.items() if value is not None} | fleet_of(fleet))
    _must_be_confirmable(yes=yes or emulate or bool(approved) or dry_run)
    from bulkreset.run import Mode

    mode = Mode(
        sys.stderr,
        dry_run=dry_run,
        emulate=emulate,
        yes=yes or emulate,
        approved=approved,
        stop_after=stop_after,
        verbosity=verbose,
        console_json=log_format is LogFormat.JSON,
        out=sys.stdout,
    )
    _execute(asked, run_dir, mode, progress=not no_progress)


@app.command(cls=Page)
def resume(
    run: Annotated[
        str, typer.Argument(metavar="RUN_DIR", help="The directory of a run, or its s3:// mirror.", show_default=False)
    ],
    failed: Annotated[bool, typer.Option("--failed", help="Send the rows that failed again, too.")] = False,
    rate: Rate = None,
    share: Share = None,
    workers: Workers = None,
    max_rows: MaxRows = None,
    max_failures: MaxFailures = None,
    max_duration: MaxDuration = None,
    stop_after: StopAfter = None,
    run_dir: NewRunDir = None,
    fleet: Fleet = None,
    yes: Yes = False,
    log_format: LogAs = LogFormat.CONSOLE,
    no_progress: NoProgress = False,
    verbose: Verbose = 0,
) -> None:
    """Go on with a run: send what is not settled, and nothing else."""
    from bulkreset.console import Terminal
    from bulkreset.mirroring import brought, name_of
    from bulkreset.run import Mode
    from bulkreset.run import resume as resume_run

    asked = {
        "pace.rate": number(rate),
        "pace.share": share,
        "pace.workers": workers,
        "guards.max_rows": max_rows,
        "guards.max_failures": count(max_failures),
        "guards.max_duration": max_duration,
        "guards.stop_after": stop_after,
    }
    overrides = {key: value for key, value in asked.items() if value is not None} | fleet_of(fleet)
    json_events = log_format is LogFormat.JSON
    mode = Mode(sys.stderr, yes=yes, again=failed, verbosity=verbose, console_json=json_events, out=sys.stdout)
    stop = Stop()
    ui = Terminal(stop, show_progress=not no_progress)
    mode = replace(mode, console=ui.events)
    path = brought(run, run_dir or (RUNS / name_of(run)) if run.startswith(S3) else run_dir)
    _watched(path, stop, ui, lambda: resume_run(path, mode, overrides, ui, stop))


@app.command(cls=Page)
def status(
    run_dir: Annotated[
        Path | None, typer.Argument(metavar="RUN_DIR", help="One run; without it, all in runs/.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show how far a run is, whether it is alive or ended."""
    from bulkreset.console import describe_status
    from bulkreset.record.status import runs_in, status_of

    found = [status_of(run_dir)] if run_dir else runs_in(RUNS)
    if as_json:
        shown = [asdict(one) for one in found]
        sys.stdout.write(json.dumps(shown[0] if run_dir else shown, indent=2) + "\n")
    elif not found:
        sys.stdout.write(f"There are no runs in {RUNS.absolute()}.\n")
    else:
        sys.stdout.write("\n\n".join(describe_status(one) for one in found) + "\n")


@app.command(cls=Page, short_help="Draw the report once more, in any form.")
def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The directory of a run.", show_default=False)],
    form: Annotated[
        ReportForm | None,
        typer.Option("--format", help="As what; as the file's name says, or as the run's own.", show_default=False),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="STATUS,...", help="Only rows with one of these statuses.", show_default=False),
    ] = None,
    redact: Annotated[
        Redact | None,
        typer.Option(help="Hashes in place of usernames; as the job says without it.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A new file, or - ; in the run directory without it.", show_default=False),
    ] = None,
) -> None:
    """Draw the report from the journal once more, while the run goes on or later."""
    from bulkreset.redraw import Wanted, redraw, statuses

    wanted = Wanted(form, statuses(only or ()), output, None if redact is None else redact is Redact.USERNAMES)
    if drawn := redraw(run_dir, wanted, sys.stdout.fileno()):
        sys.stdout.write(f"Report: {drawn}\n")


@app.command(cls=Page, short_help="Open the made passwords of a run.")
def handout(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The directory of a run.", show_default=False)],
    identity: Annotated[Path, typer.Option(help="A key file that opens the handout.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="A new file, readable to you alone; standard output without it.", show_default=False
        ),
    ] = None,
) -> None:
    """Open the made passwords of a run, with the key of one of its recipients: CSV for a mail merge."""
    from bulkreset.handing import COLUMNS, hand_out
    from bulkreset.record.report import write_new

    given = hand_out(run_dir, identity)
    if output is None:
        first = next(given, None)  # what is wrong with the key is said before anything is written
        try:
            # Not through the stream that forgives: passwords that are missing must not look like all of them.
            with open(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as stream:
                csv.writer(stream, lineterminator="\n").writerows(chain([COLUMNS], [first] if first else (), given))
        except OSError as error:
            raise RecordError(
                f"Not all passwords could be written to standard output: {error.strerror}.", "Run it once more."
            ) from None
        return
    number = write_new(output, COLUMNS, given)
    sys.stdout.write(f"{number:,} passwords: {output}\n")


@app.command(cls=Page, short_help="Say what has become of the users that were set.")
def verify(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The directory of a run.", show_default=False)],
    within: Annotated[
        float, typer.Option(metavar="DAYS", help="A temporary password is expiring within so many days.")
    ] = 1.0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A new file; the run's verify.csv without it.", show_default=False),
    ] = None,
    reissue: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A new input of those whose temporary password has expired or is expiring.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    no_progress: NoProgress = False,
) -> None:
    """Say what has become of the users that a run has set; changes nothing and costs nothing."""
    from bulkreset.console import Terminal, describe_verified
    from bulkreset.verify import Wanted
    from bulkreset.verify import verify as verify_run

    stop = Stop()
    ui = Terminal(stop, show_progress=not no_progress)
    process.listen(stop)
    try:
        found = verify_run(run_dir, Wanted(within, output, reissue, sys.stdout if as_json else None), ui, stop)
    finally:
        ui.close()
    if not as_json:
        sys.stdout.write(describe_verified(found) + "\n")
    sys.stdout.flush()
    raise SystemExit(found.exit_code)


@app.command(cls=Page, short_help="Write a job file, by asking.")
def init(
    kind: Annotated[Kind | None, typer.Option(help="What the job is for.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="The job's name.", show_default=False)] = None,
    input_: Annotated[
        str | None,
        typer.Option("--input", help="File, folder, pattern or s3:// address with the rows.", show_default=False),
    ] = None,
    user_pool_id: UserPoolId = None,
    region: Annotated[
        str | None, typer.Option(help="The pool's Region; as its id says without it.", show_default=False)
    ] = None,
    profile: Profile = None,
    permanent: Permanent = None,
    recipient: Annotated[
        str | None, typer.Option(help="The age key to which made passwords are sealed.", show_default=False)
    ] = None,
    rate: Rate = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A new file; NAME.toml without it.", show_default=False)
    ] = None,
) -> None:
    """Write a job file: asks for what no flag says, and keeps it if it is a job."""
    from bulkreset.console import Terminal, ask
    from bulkreset.draft import complete, keep

    told = {"kind": kind, "name": name, "input": input_, "user_pool_id": user_pool_id, "region": region}
    told |= {"profile": profile, "recipient": recipient, "rate": rate}
    told["permanent"] = None if permanent is None else "yes" if permanent else "no"
    given = {key: str(value) for key, value in told.items() if value is not None}
    if sys.stdin.isatty():
        stop = Stop()
        process.listen(stop)
        try:
            answers = ask(Terminal(stop, show_progress=False), given)
        except Interrupted as error:
            raise Interrupted(error.message, "Nothing was written.", error.signal_number) from None
    else:
        answers = complete(given)
    path = output or Path(f"{answers['name']}.toml")
    keep(answers, path)
    sys.stdout.write(f"Job file: {path}\nLook first: bulkreset run {shlex.quote(str(path))} --dry-run\n")


@app.command(cls=Page, short_help="Run the sample job against the embedded Cognito.")
def demo(
    run_dir: NewRunDir = None,
    no_progress: NoProgress = False,
    verbose: Verbose = 0,
) -> None:
    """Run the sample job against the embedded Cognito; nothing real is touched."""
    from bulkreset.jobfile import load
    from bulkreset.run import Mode

    here = Path(__file__).parent
    home = here / "_demo" if (here / "_demo").is_dir() else here.parent  # in a wheel, or in a checkout
    _execute(
        load(home / "jobs" / "demo.toml", {}),
        run_dir,
        Mode(sys.stderr, emulate=True, yes=True, verbosity=verbose),
        progress=not no_progress,
    )


def _execute(job: "Job", run_dir: Path | None, mode: "Mode", *, progress: bool) -> NoReturn:
    """Run a job, watched; leave with its exit code."""
    from bulkreset.console import Terminal
    from bulkreset.record.rundir import new_name
    from bulkreset.run import start

    def named() -> Path:
        return run_dir or new_name(RUNS / f"{job.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")

    stop = Stop()
    ui = Terminal(stop, show_progress=progress)
    mode = replace(mode, console=ui.events)
    if job.input.state:
        from bulkreset.nights import Night

        _through_the_night(Night(job, job.input.state, mode, ui, stop).run(named), job, stop, ui)
    path = named()
    _watched(path, stop, ui, lambda: start(job, path, mode, ui, stop))


def _watched(path: Path, stop: Stop, ui: "Terminal", go: Callable[[], Summary]) -> NoReturn:
    """Run, and leave with the run's exit code."""
    process.listen(stop)
    try:
        summary = go()
    finally:
        ui.close()
    _tell(path, summary)
    raise SystemExit(summary.exit_code)


def _through_the_night(runs: Iterator[tuple[Path, Summary]], job: "Job", stop: Stop, ui: "Terminal") -> NoReturn:
    """The runs of a night, each told as it ends; leave with the worst of their exit codes."""
    process.listen(stop)
    codes: list[int] = []
    try:
        for path, summary in runs:
            ui.close()
            _tell(path, summary)
            codes.append(summary.exit_code)
    finally:
        ui.close()
    if not codes:
        sys.stdout.write(f"No new input at {job.input.named}: nothing to do.\n")
        sys.stdout.flush()
    raise SystemExit(max(codes, default=EXIT_OK))


def _tell(path: Path, summary: Summary) -> None:
    """What came of a run; the last line says how to go on where there is something left."""
    from bulkreset.console import conclude
    from bulkreset.record.rundir import RunDir

    conclude(summary, RunDir(path), sys.stdout)
    sys.stdout.flush()
    if summary.stopped_by:
        _complain(f"{summary.stopped_by['message']} {summary.stopped_by['advice']}".strip())
    elif in_doubt := summary.counts.get("in_doubt"):
        _complain(f"{in_rows(in_doubt)} {'is' if in_doubt == 1 else 'are'} in doubt: sent, and no answer known.")
    if summary.resumable:
        sys.stderr.write(f"Resume with: bulkreset resume {shlex.quote(str(path))}\n")


def _must_be_confirmable(*, yes: bool) -> None:
    """Raise Refused where a confirmation is needed and there is nobody to ask."""
    if not (yes or sys.stdin.isatty()):
        raise Refused("There is no terminal to ask for confirmation.", "Look at a --dry-run first, then pass --yes.")


def _complain(text: str) -> None:
    sys.stderr.write(f"bulkreset: {text}\n")


def main() -> None:
    """The console script. No traceback reaches the user: a bug names its place, without the values there."""
    process.prepare()
    try:
        typer.main.get_command(app)()  # app() would put an excepthook of its own in place of ours
    except BulkresetError as error:
        _complain(str(error))
        raise SystemExit(error.exit_code) from None
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001
        _complain(
            f"a bug: {place_of(error)}. What a run had done is in its journal and can be resumed;"
            " please report this line."
        )
        raise SystemExit(EXIT_BUG) from None


if __name__ == "__main__":
    main()
