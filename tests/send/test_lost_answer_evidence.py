"""The evidence for a lost call: the result for every answer of ListUsers."""

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, cast

import pytest

from bulkreset.cognito.list_users import PoolUser, UserLister, UserPage
from bulkreset.cognito.read_calls import MAX_SKEW, ReadCallError
from bulkreset.cognito.response import Disposition
from bulkreset.models import Row, Secret
from bulkreset.send.lost_answer_evidence import ATTEMPTS, MARGIN, PAGES, ListedEvidence
from bulkreset.send.pacer import Pacer
from tests.send.fakes import POOL, FakeClock

SINCE = 1_000_000_000
CLOCKS = "the clocks of this machine and of the service differ by more than 5 minutes"
EARLIER = "the user was last changed before that call"


class UserChange(NamedTuple):
    """A page's data about the user; `token` leads to the next page."""

    found: bool
    modified: int | None
    ahead: int | None
    token: str | None = None


Answer = UserChange | ReadCallError
DENIED = ReadCallError("AccessDeniedException", Disposition.FATAL)
LOST = ReadCallError("ReadTimeoutError", Disposition.AMBIGUOUS)
THROTTLED = ReadCallError("TooManyRequestsException", Disposition.THROTTLED)
EXPIRED = ReadCallError("ExpiredTokenException", Disposition.EXPIRED)


def changed(at: int | None, ahead: int | None = 0, token: str | None = None, *, found: bool = True) -> UserChange:
    return UserChange(found, at, ahead, token)


class Reader:
    """Returns its answers in order, and repeats the last one."""

    def __init__(self, clock: FakeClock, *answers: Answer) -> None:
        self._clock = clock
        self._answers = list(answers)
        self.calls: list[tuple[str, str | None, float]] = []
        self.renewed = 0
        self.on_call: Callable[[], None] = lambda: None

    def page(self, token: str | None, expression: str) -> UserPage:
        username = expression.removeprefix('username = "').removesuffix('"')
        self.calls.append((username, token, self._clock.now()))
        self.on_call()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, ReadCallError):
            raise answer
        names = [username, "another"] if answer.found else ["another"]
        users = [
            PoolUser(name, "CONFIRMED", enabled=True, federated=False, names=(), modified=answer.modified)
            for name in names
        ]
        return UserPage(tuple(users), answer.token, answer.ahead)

    def refresh_credentials(self) -> bool:
        self.renewed += 1
        return self.renewed == 1


class Bench:
    """The evidence of a pool with scripted answers."""

    def __init__(self, *answers: Answer, rate: float | None = 10) -> None:
        self.clock, self.stop = FakeClock(), threading.Event()
        self.reader = Reader(self.clock, *answers)
        sessions: dict[str, Any] = {POOL: None}
        pacer = Pacer(rate, self.clock)
        self.evidence = ListedEvidence(
            sessions, pacer, self.clock, self.stop, lambda _session: cast("UserLister", self.reader)
        )

    def missing(self, since: int | None = SINCE, canonical: str = "") -> str:
        row = Row(1, "ann", Secret("Hidden-1"), POOL, permanent=True, canonical=canonical)
        return self.evidence.missing(row, since)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (changed(SINCE), ""),
        (changed(SINCE - 1), EARLIER),
        (changed(SINCE + 60_000), ""),
        (changed(SINCE + 7_000, ahead=7_000), ""),
        (changed(SINCE + 6_999, ahead=7_000), EARLIER),
        (changed(SINCE - 7_000, ahead=-7_000), ""),
        (changed(SINCE - 7_001, ahead=-7_000), EARLIER),
        (changed(SINCE - MARGIN, ahead=None), ""),
        (changed(SINCE - MARGIN - 1, ahead=None), EARLIER),
        (changed(SINCE + 1_000_000, ahead=3_600_000), CLOCKS),
        (changed(SINCE, ahead=-MAX_SKEW - 1), CLOCKS),
        (changed(SINCE, ahead=-MAX_SKEW), ""),
        (changed(None), "ListUsers gave no date of the user's last change"),
        (changed(None, found=False), "ListUsers did not find the user"),
    ],
)
def test_only_a_change_after_the_call_is_evidence(change: UserChange, missing: str) -> None:
    bench = Bench(change)
    assert bench.missing() == missing
    assert len(bench.reader.calls) == 1


def test_call_of_unknown_time_has_no_evidence_and_no_user_is_looked_up() -> None:
    bench = Bench(changed(SINCE))
    assert bench.missing(since=None) == "the time of that call is not known"
    assert bench.reader.calls == []


def test_user_is_looked_up_by_the_users_own_name() -> None:
    bench = Bench(changed(SINCE))
    bench.missing()
    bench.missing(canonical="0a1b")
    assert [name for name, *_ in bench.reader.calls] == ["ann", "0a1b"]


@pytest.mark.parametrize(
    ("error", "calls"), [(DENIED, 1), (LOST, ATTEMPTS), (THROTTLED, ATTEMPTS), (EXPIRED, 2)], ids=str
)
def test_failed_look_up_is_not_evidence_and_is_limited(error: ReadCallError, calls: int) -> None:
    bench = Bench(error)
    assert bench.missing() == f"ListUsers failed ({error.code})"
    assert len(bench.reader.calls) == calls


@pytest.mark.parametrize("error", [LOST, THROTTLED, EXPIRED], ids=lambda it: it.code)
def test_look_up_is_repeated_after_a_passing_error(error: ReadCallError) -> None:
    assert Bench(error, changed(SINCE)).missing() == ""


def test_user_may_be_on_a_later_page_but_not_on_any_page() -> None:
    empty = changed(None, found=False, token="next")
    bench = Bench(empty, changed(SINCE))
    assert bench.missing() == ""
    assert [token for _, token, _ in bench.reader.calls] == [None, "next"]
    endless = Bench(empty)
    assert endless.missing() == "ListUsers did not find the user"
    assert len(endless.reader.calls) == PAGES


def test_every_look_up_takes_a_slot_of_the_listing_pace() -> None:
    bench = Bench(LOST, changed(SINCE), rate=0.1)
    bench.missing()
    bench.missing()
    times = [at for *_, at in bench.reader.calls]
    assert len(times) == 3
    assert all(second - first >= 10 - 1e-9 for first, second in pairwise(times))


def test_stopped_run_looks_no_user_up() -> None:
    bench = Bench(changed(SINCE))
    bench.stop.set()
    assert bench.missing() == "the run stopped before the user was looked up"
    assert bench.reader.calls == []


def test_stop_during_a_look_up_ends_it() -> None:
    bench = Bench(LOST)
    bench.reader.on_call = bench.stop.set
    assert bench.missing() == "ListUsers failed (ReadTimeoutError)"
    assert len(bench.reader.calls) == 1
