"""The page of a run (report.html), written again and again while the run works, and copied to its mirror."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bulkreset.errors import BulkresetError, Interrupted
from bulkreset.journal.journal import Journal
from bulkreset.report.page import write_page
from bulkreset.report.redaction import Redaction
from bulkreset.run.context import RunContext

_PART = 20  # writing the page takes at most this part of the time


@contextmanager
def live_page(context: RunContext) -> Iterator[None]:
    """Write the page every `report.live` seconds while the block runs; do nothing if that is unset.

    Reading many rows takes time, so the page is written less often if that is needed. A failure does not change the
    run: the first one is logged.
    """
    asked = context.job.report
    if asked.live is None:
        yield
        return
    # The key is created here: another thread could create a second one at the same time.
    redaction = Redaction.load(context.home.redaction_key) if asked.redact else None
    over = threading.Event()
    thread = threading.Thread(
        target=_keep_writing, args=(context, asked.live, redaction, over), name="live page", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()  # the last page comes next, and must not be overwritten


def _keep_writing(context: RunContext, every: float, redaction: Redaction | None, over: threading.Event) -> None:
    pause, failed = every, False
    while not over.wait(pause):
        began = time.monotonic()
        try:
            with (
                context.stop.watching(),
                closing(Journal.open(context.home.journal, read_only=True)) as journal,
                journal.stoppable(),
            ):
                write_page(
                    journal, context.home.page, context.home.path, alive=True, redaction=redaction, refresh=every
                )
            if context.mirror:
                context.mirror.upload_page()
        except Interrupted:
            return
        except BulkresetError as error:
            if not failed:
                context.warn_notification(f"The live page could not be written: {error.message}")
            failed = True
        pause = max(every, (time.monotonic() - began) * _PART)
