"""The command `undo`, which restores the user pools to the time before a run."""

import sys
from typing import Annotated

import typer

from bulkreset.cancellation import CancelToken
from bulkreset.cli import json_events, process
from bulkreset.cli.options import RunDirArgument


def undo(
    run_dir: RunDirArgument,
    preview: Annotated[
        bool,
        typer.Option("--preview", help="Show what a recovery would change, then cancel it. Pauses the pool's writes."),
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel an undo in progress.")] = False,
) -> None:
    """Restore the user pools to the time before a run, with Cognito's point-in-time recovery.

    Everything since then is reverted, not only this run. The pool accepts no writes meanwhile. It asks twice: before
    the preview, and before anything is changed. If it was interrupted, the same command continues.
    """
    from bulkreset.cli.prompts import TerminalUi
    from bulkreset.run.undo import undo as undo_run

    if not cancel:
        process.require_terminal("Run undo in a terminal.")
    stop = CancelToken()
    ui = TerminalUi(stop, show_progress=False)
    process.install_handlers(stop, json_events.emit_aborted)
    try:
        undone = undo_run(run_dir, ui, stop, preview=preview, cancel=cancel)
    finally:
        ui.close()
    for pool, facts in undone.items():
        sys.stdout.write(f"{pool}: {facts.status}\n")
    process.require_stdout_written()
