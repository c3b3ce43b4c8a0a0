"""A step with several calls: it lists, removes one by one, is settled as a whole, and begins again after a kill."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from bulkreset.cognito.response import Disposition, Response
from bulkreset.cognito.response_parser import UnreadableResponseError
from bulkreset.job import PaceConfig
from bulkreset.models import StepOutcome, StepTask
from bulkreset.send.operations import TOO_MANY, TakeStep
from bulkreset.send.pacer import Pacer
from bulkreset.send.worker import Worker
from bulkreset.steps import DELETE_TOTP, FORGET_DEVICES, MOST_EMPTY_PAGES, MOST_ITEMS, REVOKE_SESSIONS, Step
from tests.send.fakes import DOUBTFUL, EXPIRED, FATAL, POOL, REFUSED, SET, THROTTLED, FakeClock
from tests.send.lanes import outcome_of

GONE = Response(Disposition.FATAL, "ResourceNotFoundException", "Device does not exist.")
NO_USER = Response(Disposition.FATAL, "ResourceNotFoundException", "User does not exist.")
NO_POOL = Response(Disposition.FATAL, "ResourceNotFoundException", f"User pool {POOL} does not exist.")

Answer = Callable[[str, int], Response | None]


class Service:
    """A service where ann has so many items, listed in pages. `answer` may replace the nth answer of an operation.

    A DOUBTFUL answer is applied; any other replacement is not.
    """

    def __init__(self, step: Step, items: int, answer: Answer = lambda _call, _number: None, page: int = 60) -> None:
        self.step = step
        self.items = [f"item{number}" for number in range(items)]
        self.calls: list[str] = []
        self._answer = answer
        self._page = page

    def call(
        self, operation: str, parameters: Mapping[str, Any], read: Callable[[Mapping[str, Any]], None] = lambda _: None
    ) -> Response:
        """Answer, and apply the call if it succeeds."""
        assert {"UserPoolId": POOL, "Username": "ann"}.items() <= parameters.items()
        self.calls.append(operation)
        told = self._answer(operation, self.calls.count(operation))
        if told and told is not DOUBTFUL:
            return told
        listing = self.step.listing
        if listing and operation == listing.call:
            first = int(parameters.get(listing.token, 0))
            found = [{listing.key: item, "Other": 1} for item in self.items[first : first + self._page]]
            more = len(self.items) > first + self._page
            if not told:
                read({listing.items: found} | ({listing.token: str(first + self._page)} if more else {}))
        elif listing:
            if parameters[listing.key] not in self.items:
                return GONE
            self.items.remove(parameters[listing.key])
        return told or SET


class Bench:
    """One worker, which takes the step for ann."""

    def __init__(self, service: Service, attempts: int = 3) -> None:
        self.service, self.stop = service, threading.Event()
        self.clock = FakeClock()
        pace = PaceConfig(max_attempts=attempts, max_wait=2.0)
        step = TakeStep(service.step, {POOL: service})
        self.worker = Worker(step, Pacer(20, self.clock), pace, self.clock, self.stop)

    def take(self) -> StepOutcome:
        """Take the step, from its beginning."""
        outcome = outcome_of(self.worker.send(StepTask(1, "ann", POOL)))
        assert isinstance(outcome, StepOutcome)
        assert outcome.step == self.service.step.name
        return outcome


@pytest.mark.parametrize("step", [FORGET_DEVICES, REVOKE_SESSIONS], ids=lambda step: step.name)
@pytest.mark.parametrize(("items", "calls"), [(0, 1), (1, 2), (60, 61), (61, 63)])
def test_everything_that_is_listed_is_removed_and_every_call_takes_a_slot(step: Step, items: int, calls: int) -> None:
    bench = Bench(Service(step, items))
    outcome = bench.take()
    assert (outcome.done, outcome.attempts, bench.service.items) == (True, calls, [])
    assert len(bench.service.calls) == calls
    assert bench.clock.now() >= (calls - 1) / 20


@pytest.mark.parametrize("call", ["AdminListDevices", "AdminForgetDevice"])
@pytest.mark.parametrize("answer", [THROTTLED, DOUBTFUL])
def test_each_call_has_its_own_attempts(call: str, answer: Response) -> None:
    # The first two attempts of the list and of every device: far more than three for the user.
    bench = Bench(Service(FORGET_DEVICES, 4, lambda made, number: answer if made == call and number % 3 else None))
    assert bench.take().done is True
    assert bench.service.items == []


def test_exhausted_call_settles_the_step_as_failed() -> None:
    bench = Bench(
        Service(FORGET_DEVICES, 2, lambda made, number: THROTTLED if "Forget" in made and number > 1 else None)
    )
    outcome = bench.take()
    assert (outcome.done, outcome.code, outcome.attempts, outcome.throttled) == (False, THROTTLED.code, 5, 3)
    assert "only the removal of the remembered devices failed after 3 attempts" in outcome.message


def test_lost_answer_is_requested_again_and_missing_items_count_as_done() -> None:
    bench = Bench(
        Service(FORGET_DEVICES, 1, lambda made, number: DOUBTFUL if ("Forget" in made and number == 1) else None)
    )
    assert bench.take() == StepOutcome("forget_devices", 1, done=True, attempts=3)


def test_user_without_an_authenticator_is_done() -> None:
    assert Bench(Service(DELETE_TOTP, 0, lambda _call, _number: GONE)).take().done is True


@pytest.mark.parametrize("step", [FORGET_DEVICES, REVOKE_SESSIONS, DELETE_TOTP], ids=lambda step: step.name)
def test_missing_pool_stops_the_lane(step: Step) -> None:
    bench = Bench(Service(step, 1, lambda _call, _number: NO_POOL))
    assert bench.take().done is None
    assert bench.stop.is_set()


@pytest.mark.parametrize("answer", [NO_USER, REFUSED])
def test_deleted_user_fails_only_its_own_row(answer: Response) -> None:
    bench = Bench(Service(FORGET_DEVICES, 1, lambda _call, _number: answer))
    outcome = bench.take()
    assert (outcome.done, outcome.code) == (False, answer.code)
    assert not bench.stop.is_set()


@pytest.mark.parametrize("answer", [FATAL, EXPIRED])
def test_stopped_step_begins_again_with_the_remaining_items(answer: Response) -> None:
    service = Service(FORGET_DEVICES, 9, lambda made, number: answer if ("Forget" in made and number == 5) else None)
    assert Bench(service).take() == StepOutcome("forget_devices", 1, done=None, attempts=6)
    assert len(service.items) == 5
    assert Bench(service).take() == StepOutcome("forget_devices", 1, done=True, attempts=6)
    assert service.items == []


def test_no_page_is_read_after_the_most_items_of_a_step() -> None:
    page = MOST_ITEMS // 10
    service = Service(FORGET_DEVICES, MOST_ITEMS + page, page=page)
    assert Bench(service).take().code == TOO_MANY
    assert len(service.items) == page


def test_too_many_items_fail_the_step_and_the_next_attempt_continues() -> None:
    service = Service(FORGET_DEVICES, MOST_ITEMS + 50)
    outcome = Bench(service).take()
    assert (outcome.done, outcome.code, len(service.items)) == (False, TOO_MANY, 30)
    assert outcome.message.endswith(": 1,000 were removed, and there are more")
    assert outcome.attempts <= FORGET_DEVICES.most_calls
    assert Bench(service).take().done is True
    assert service.items == []


@pytest.mark.parametrize("step", [FORGET_DEVICES, REVOKE_SESSIONS], ids=lambda step: step.name)
def test_list_of_empty_pages_without_an_end_fails_the_step(step: Step) -> None:
    class Endless(Service):
        def call(
            self,
            operation: str,
            parameters: Mapping[str, Any],
            read: Callable[[Mapping[str, Any]], None] = lambda _: None,
        ) -> Response:
            self.calls.append(operation)
            assert step.listing
            number = int(parameters.get(step.listing.token, 0)) + 1
            try:
                read({step.listing.items: [], step.listing.token: str(number)})
            except UnreadableResponseError:
                return DOUBTFUL
            return SET

    service = Endless(step, 0)
    outcome = Bench(service).take()
    assert (outcome.done, outcome.attempts) == (False, len(service.calls))
    assert len(service.calls) == MOST_EMPTY_PAGES + 3  # attempts
    assert outcome.attempts <= 3 * step.most_calls


@pytest.mark.parametrize(
    "answer",
    [
        {"Devices": "x"},
        {"Devices": ["x"]},
        {"Devices": [{}]},
        {"Devices": [{"DeviceKey": 7}]},
        {"Devices": [], "PaginationToken": "leads to its own page"},
        {"Devices": [], "PaginationToken": 7},
    ],
)
def test_list_in_another_format_is_not_read_as_empty(answer: dict[str, Any]) -> None:
    class Strange(Service):
        def call(
            self,
            operation: str,
            parameters: Mapping[str, Any],
            read: Callable[[Mapping[str, Any]], None] = lambda _: None,
        ) -> Response:
            assert isinstance(parameters.get("PaginationToken", ""), str)
            try:
                read(answer)
            except UnreadableResponseError:
                return DOUBTFUL
            return SET if operation == "AdminListDevices" else super().call(operation, parameters, read)

    assert Bench(Strange(FORGET_DEVICES, 1)).take().done is False
