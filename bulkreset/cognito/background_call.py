"""Asks a service in a thread and waits for a limited time. The run can do without the answer."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

SECONDS = 4.0  # counted from the call; botocore's timeouts do not limit the DNS lookup

_Answer = TypeVar("_Answer")


def ask_in_background(
    question: Callable[[], _Answer],
    otherwise: _Answer,
    seconds: float | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Callable[[], _Answer]:
    """Ask now. Return a function that waits for the answer and returns `otherwise` if none comes within `seconds`.

    The time counts from now; the default is SECONDS. `question` must not raise.
    """
    until = now() + (SECONDS if seconds is None else seconds)
    answers: list[_Answer] = []
    # A daemon thread: the process does not wait for it when it exits.
    thread = threading.Thread(target=lambda: answers.append(question()), name="background question", daemon=True)
    thread.start()

    def answer() -> _Answer:
        thread.join(max(0.0, until - now()))
        return answers[0] if answers else otherwise

    return answer
