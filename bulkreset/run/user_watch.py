"""Reads the users' own calls from CloudWatch, and limits each lane to the part of the quota that users do not need."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field
from functools import partial
from typing import Final

from bulkreset.cognito.background_call import ask_in_background
from bulkreset.cognito.read_calls import NO_ANSWER, ReadCallError
from bulkreset.cognito.session import TargetSession
from bulkreset.cognito.usage import ACTION, PERIOD, UsagePoint, read_usage
from bulkreset.errors import TargetError
from bulkreset.log import Log
from bulkreset.models import Outcome
from bulkreset.send.operations import OperationResult, SetPassword
from bulkreset.send.rate_ceiling import Limit
from bulkreset.send.user_demand import READ_SECONDS, USERS, left_by_users, users_peak
from bulkreset.steps import STEPS

ANSWER_SECONDS: Final = 10.0  # the longest wait before the first call leaves
EVERY_SECONDS: Final = 60.0  # between two requests: a data point is used soon after it is published
CATEGORIES: Final = {
    SetPassword.call: "UserAccountRecovery",
    **{step.call: step.category for step in STEPS.values()},
}
_WHAT: Final = "the users' own calls"

Read = Callable[[TargetSession, str, float, float], Sequence[UsagePoint]]


@dataclass(slots=True)
class _Category:
    """One kind of call of one lane: the known calls of its users, and the run's own calls by period."""

    session: TargetSession
    name: str
    points: Sequence[UsagePoint] = ()
    ours: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    problem: str = ""


@dataclass
class UserWatch:
    """A source of limits: the part of the quota that users do not need.

    Without data or permission there is no limit; the log says so once.

    `lanes` are sessions by "ACCOUNT/REGION", `calls` the run's kinds of calls. Calls of other runs and of earlier
    executions count as the users'.
    """

    lanes: InitVar[Mapping[str, TargetSession]]
    calls: InitVar[Iterable[str]]
    _reserve: float
    _log: Log
    _read: Read = read_usage
    _now: Callable[[], float] = time.time

    def __post_init__(self, lanes: Mapping[str, TargetSession], calls: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._categories = {
            (lane, call): _Category(session, CATEGORIES[call]) for lane, session in lanes.items() for call in calls
        }

    @contextmanager
    def following(self) -> Iterator[None]:
        """Read before the block, and every EVERY_SECONDS in a thread while it runs."""
        over = threading.Event()
        self.ask()
        threading.Thread(target=self._keep_asking, args=(over,), name="users", daemon=True).start()
        try:
            yield
        finally:
            over.set()  # a request in progress ends by itself, and its answer is not used

    def ask(self) -> None:
        """Read the data points of every lane in parallel. An answer after more than ANSWER_SECONDS is not used."""
        late: tuple[Sequence[UsagePoint], str] = ((), NO_ANSWER)
        answers = [
            (lane, category, ask_in_background(partial(self._question, category), late, ANSWER_SECONDS))
            for (lane, _), category in self._categories.items()
        ]
        for lane, category, answer in answers:
            points, problem = answer()
            if problem and problem != category.problem:
                self._log.warning("info_unavailable", what=f"{_WHAT} in {lane}", action=ACTION, problem=problem)
            category.problem = problem
            category.points = points or category.points  # old data is used until it is stale

    def _question(self, category: _Category) -> tuple[Sequence[UsagePoint], str]:
        """Return the data points, and the problem, "" if there is none."""
        now = self._now()
        try:
            points = self._read(category.session, category.name, now - READ_SECONDS, now)
        except ReadCallError as error:
            return (), error.code
        except TargetError as error:
            return (), error.message
        return points, "" if points else "no data"

    def count(self, lane: str, call: str, result: OperationResult) -> None:
        """Count the calls of a result as the run's own."""
        category = self._categories.get((lane, call))
        if category and result.attempts:
            ended = result.finished_at if isinstance(result, Outcome) else None
            at = self._now() if ended is None else ended / 1000
            with self._lock:
                category.ours[int(at // PERIOD)] += result.attempts

    def limits(self, lane: str, call: str, quota: float) -> Iterable[Limit]:
        """Return the part of the quota that users leave, if known."""
        category = self._categories.get((lane, call))
        if category is None:
            return
        with self._lock:
            peak = users_peak(category.points, category.ours, self._now())
        if peak is not None:
            yield Limit(round(left_by_users(quota, peak, self._reserve), 2), USERS)

    def _keep_asking(self, over: threading.Event) -> None:
        while not over.wait(EVERY_SECONDS):
            self.ask()
