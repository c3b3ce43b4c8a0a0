"""The commands of the command line by name, and its exit codes."""

import sys
from typing import Annotated

import typer

from bulkreset.cli import entry, init, inspect, json_events, process, steer, undo
from bulkreset.cli import run as running
from bulkreset.cli.help_format import CommandHelp, show_help
from bulkreset.cli.options import ENVIRONMENT
from bulkreset.errors import EXIT_BUG, BulkresetError, place_of

app = typer.Typer(
    name="bulkreset",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,  # they would show local variables, which may hold a password
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: bulkreset init, then bulkreset run JOB --dry-run.",
    help="Set passwords for many Amazon Cognito users at once: rate-limited, crash-safe, resumable.",
)


def _show_version(asked: bool) -> None:  # noqa: FBT001  (typer's callback)
    if asked:
        from bulkreset.version import __version__

        sys.stdout.write(f"bulkreset {__version__}\n")
        raise SystemExit(0)


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("-V", "--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Set passwords for many Amazon Cognito users at once: rate-limited, crash-safe, resumable."""


app.command(cls=CommandHelp, context_settings=ENVIRONMENT)(running.run)
app.command(cls=CommandHelp, context_settings=ENVIRONMENT)(running.resume)
app.command(cls=CommandHelp, short_help="Give up an unfinished run.")(running.abandon)
app.command(cls=CommandHelp)(inspect.status)
app.command(cls=CommandHelp, short_help="Slow down, pause or stop a run that another process works on.")(steer.control)
app.command(cls=CommandHelp, short_help="Show the progress of a run that another process works on.")(steer.watch)
app.command(cls=CommandHelp, short_help="Write the report again, in another format or for some rows only.")(
    inspect.report
)
app.command(cls=CommandHelp, short_help="Write rows of a run's input, with all columns, for a new run.")(
    inspect.extract
)
app.command(cls=CommandHelp, short_help="Decrypt the passwords that a run generated.")(inspect.passwords)
app.command(cls=CommandHelp, short_help="Write an encrypted list of the users to tell, for a mail merge.")(
    inspect.contacts
)
app.command(cls=CommandHelp, short_help="Check whether users have signed in and changed their password.")(
    inspect.verify
)
app.command(cls=CommandHelp, short_help="Restore the user pool to the time before a run.")(undo.undo)
app.command(cls=CommandHelp, short_help="Create a job file, step by step.")(init.init)
app.command(cls=CommandHelp, short_help="Run the sample job against the embedded Cognito.")(running.demo)
app.command("help", cls=CommandHelp)(show_help)


def main() -> None:
    """Run the command line."""
    entry.guarded(run)


def run() -> None:
    """Run the command that the arguments name, until SystemExit. A bug is reported by its place in the code, without traceback and values."""
    process.prepare()
    try:
        typer.main.get_command(app)()  # app() would replace our excepthook with its own
    except SystemExit:
        if why := process.stdout_error():
            process.print_error(f"Not all could be written to standard output: {why}.")
        raise
    except BulkresetError as error:
        json_events.emit_ended(error.exit_code, str(error))
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001
        json_events.emit_ended(
            EXIT_BUG,
            f"a bug: {place_of(error)}. The run is safe and can be resumed. Please report this line.",
            state="bug",
        )
        raise SystemExit(EXIT_BUG) from None


if __name__ == "__main__":
    main()
