"""The commands by name. Turns an error into its exit code."""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from bulkreset.cli import entry, init, json_events, process, read_runs, steer, undo
from bulkreset.cli import run as running
from bulkreset.cli.help_format import CommandHelp, UsageError, show_help
from bulkreset.cli.options import ENVIRONMENT, LogAs
from bulkreset.errors import EXIT_BUG, BulkresetError, place_of

app = typer.Typer(
    name="bulkreset",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,  # they would show local variables, which may hold a password
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: bulkreset init, then bulkreset run JOB --dry-run.",
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


def _add(function: Callable[..., None], short_help: str | None = None, **settings: str) -> None:
    """Add a command. It also gets the option --log-format, because each may end with an error."""

    @functools.wraps(function)
    def command(*args: object, log_format: str, **options: object) -> None:
        json_events.enable(as_json=log_format == "json")
        function(*args, **options)

    signature = inspect.signature(function)
    option = inspect.Parameter("log_format", inspect.Parameter.KEYWORD_ONLY, default="console", annotation=LogAs)
    command.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    command.__annotations__ = {**function.__annotations__, "log_format": LogAs}
    app.command(cls=CommandHelp, short_help=short_help, context_settings=settings)(command)


_add(running.run, **ENVIRONMENT)
_add(running.resume, **ENVIRONMENT)
_add(running.abandon, "Give up an unfinished run.")
_add(read_runs.status, "Show progress and state of one run, or of all runs.")
_add(steer.control, "Slow down, pause or stop a run that another process works on.")
_add(steer.watch, "Show the progress of a run that another process works on.")
_add(read_runs.report, "Write the report again, in another format or for some rows only.")
_add(read_runs.extract, "Write rows of a run's input, with all columns, for a new run.")
_add(read_runs.passwords, "Decrypt the passwords that a run generated.")
_add(read_runs.contacts, "Write an encrypted list of the users to contact, for a mail merge.")
_add(read_runs.verify, "Check whether users have signed in and changed their password.")
_add(undo.undo, "Restore the user pool to the time before a run.")
_add(init.init, "Create a job file, step by step.")
_add(running.demo, "Run the sample job against the embedded Cognito.")
app.command("help", cls=CommandHelp)(show_help)


def main() -> None:
    """Run the command line."""
    entry.guarded(run)


def run() -> None:
    """Run the command that the arguments name, until SystemExit.

    A bug is reported by its place in the code, without traceback and values.
    """
    process.prepare()
    json_events.enable(as_json=json_events.is_asked_for())
    if "_BULKRESET_COMPLETE" in os.environ:
        # A completion shows words, and uses no value that was typed. If typer cannot import pydantic to convert one, it
        # leaves it out. The import would take as long as everything else together.
        sys.modules["pydantic"] = None  # type: ignore[assignment]
    try:
        # app() would replace our excepthook with its own
        sys.exit(typer.main.get_command(app)(prog_name=app.info.name, standalone_mode=not json_events.current()))
    except UsageError as error:
        where = error.ctx.command_path if error.ctx else app.info.name
        json_events.emit_ended(error.exit_code, f"{error.format_message().rstrip('.')}. See {where} --help.")
        raise SystemExit(error.exit_code) from None
    except SystemExit:
        if why := process.stdout_error():
            process.print_error(f"The output could not be written completely to standard output: {why}.")
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
