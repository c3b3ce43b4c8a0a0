"""Aside: a question to a service that the run can do without, asked in a thread and waited for a few seconds at most."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

SECONDS = 4.0  # from the question on; a time-out of botocore's does not bound the name look-up

_Answer = TypeVar("_Answer")


def ask_in_background(
    question: Callable[[], _Answer],
    otherwise: _Answer,
    seconds: float | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Callable[[], _Answer]:
    """Ask now. Return a function that waits for the answer, and returns `otherwise` if none came within `seconds`.

    The default is SECONDS. `question` must not raise.
    """
    until = now() + (SECONDS if seconds is None else seconds)
    answers: list[_Answer] = []
    # A daemon, which the process need not wait for at its end.
    thread = threading.Thread(target=lambda: answers.append(question()), name="background question", daemon=True)
    thread.start()

    def answer() -> _Answer:
        thread.join(max(0.0, until - now()))
        return answers[0] if answers else otherwise

    return answer
