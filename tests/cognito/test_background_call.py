"""Background requests: an answer in time or its substitute; the run never waits longer."""

import threading

from bulkreset.cognito.background_call import ask_in_background
from tests.waiting import wait_until

PATIENCE = 90.0  # seconds after which a test gives up


def test_answer_is_given_again_and_again() -> None:
    asked: list[int] = []

    def question() -> int:
        asked.append(1)
        return 42

    answer = ask_in_background(question, 0, PATIENCE)
    assert [answer(), answer(), answer()] == [42, 42, 42]
    assert len(asked) == 1


def test_questions_are_asked_side_by_side() -> None:
    both = threading.Barrier(2, timeout=PATIENCE)
    first, second = (ask_in_background(lambda: both.wait() >= 0, otherwise=False, seconds=PATIENCE) for _ in range(2))
    assert first()
    assert second()


def test_late_answer_is_not_waited_for_but_used_when_it_arrives() -> None:
    told, clock = threading.Event(), [1000.0]
    answer = ask_in_background(lambda: told.wait(PATIENCE) or True, otherwise=False, seconds=3600, now=lambda: clock[0])
    clock[0] += 3600.0  # counted from the request on: no time is left
    assert answer() is False
    told.set()
    assert wait_until(answer)


def test_answer_is_waited_for_until_the_time_limit_at_most() -> None:
    told = threading.Event()
    answer = ask_in_background(lambda: told.wait(PATIENCE) or True, otherwise=False, seconds=0.05)
    assert answer() is False
    told.set()


def test_unanswered_question_does_not_keep_the_process() -> None:
    told = threading.Event()
    before = set(threading.enumerate())  # also of other tests: a thread may outlive its answer for a moment
    ask_in_background(lambda: told.wait(PATIENCE), otherwise=False, seconds=0.0)
    (thread,) = (thread for thread in set(threading.enumerate()) - before if thread.name == "background question")
    assert thread.daemon
    told.set()
    thread.join(PATIENCE)
