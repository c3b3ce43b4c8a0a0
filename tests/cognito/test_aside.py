"""Aside: an answer in time, or what stands in for it; the run never waits longer."""

import threading
import time

from bulkreset.cognito.aside import ask_aside


def test_answer_is_given_again_and_again() -> None:
    asked: list[int] = []

    def question() -> int:
        asked.append(1)
        return 42

    answer = ask_aside(question, 0)
    assert [answer(), answer(), answer()] == [42, 42, 42]
    assert len(asked) == 1


def test_questions_are_asked_side_by_side() -> None:
    both = threading.Barrier(2, timeout=5)
    first, second = (ask_aside(lambda: both.wait() >= 0, otherwise=False) for _ in range(2))
    assert first()
    assert second()


def test_late_answer_is_not_waited_for_but_taken_when_it_is_there() -> None:
    told = threading.Event()
    answer = ask_aside(lambda: told.wait(5), otherwise=False, seconds=0.05)
    began = time.monotonic()
    assert answer() is False
    assert answer() is False, "the time is counted from the question on"
    assert time.monotonic() - began < 2
    told.set()
    for _ in range(100):
        if answer():
            return
        time.sleep(0.02)
    raise AssertionError


def test_unanswered_question_does_not_keep_the_process() -> None:
    told = threading.Event()
    ask_aside(lambda: told.wait(5), otherwise=False, seconds=0.0)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "aside" and thread.is_alive())
    assert thread.daemon
    told.set()
    thread.join(5)
