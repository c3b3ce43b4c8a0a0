"""Both transports check the permit when the connection is open and the request is signed, right before it is sent."""

from collections.abc import Callable

import pytest

from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.response import Disposition
from bulkreset.cognito.session import open_session
from bulkreset.job import Target
from bulkreset.models import Row, Secret
from bulkreset.send_permit import AllPermits, Departure, departing
from tests.cognito.conftest import PATIENCE, POOL, Opened
from tests.sim.handle import Simulator
from tests.waiting import wait_until

ROW = Row(1, "ann", Secret("Quiet-Garden-1!"), POOL, permanent=True)

pytestmark = pytest.mark.usefixtures("credentials")


class Over:
    """A permit that has ended."""

    def seconds_left(self) -> float:
        """Return zero."""
        return 0.0


def test_call_without_a_permit_never_arrives(sim: Simulator, opened: Opened) -> None:
    sending = opened(sim.url)
    for _ in range(2):
        with departing(Departure(Over())):
            answer = sending.set_password(ROW)
        assert (answer.disposition, answer.code) == (Disposition.WITHHELD, "Withheld")
        assert sim.calls() == []
    assert sending.set_password(ROW).disposition is Disposition.DONE
    with departing(Departure(Over())):  # on a connection that is open already
        assert sending.set_password(ROW).disposition is Disposition.WITHHELD
    assert len(sim.calls()) == 1


def test_call_is_asked_whether_it_is_late_and_the_first_one_has_opened_a_connection(
    sim: Simulator, opened: Opened
) -> None:
    sending = opened(sim.url)
    asked: list[tuple[int, bool]] = []

    def is_late(*, connected: bool) -> bool:
        asked.append((len(sim.calls()), connected))
        return False

    for _ in range(3):
        with departing(Departure(AllPermits(), is_late)):
            assert sending.set_password(ROW).disposition is Disposition.DONE
    assert list(dict.fromkeys(asked)) == [
        (0, True),
        *([(0, False)] if opened.kind == "crt" else []),
        (1, False),
        (2, False),
    ]


def test_late_call_is_withheld_and_nothing_of_it_arrives(sim: Simulator, opened: Opened) -> None:
    sending = opened(sim.url)
    with departing(Departure(AllPermits(), lambda *, connected: connected)):
        assert sending.set_password(ROW).disposition is Disposition.WITHHELD
    assert sim.calls() == []


def test_sign_out_needs_the_permit_too(sim: Simulator) -> None:
    target = Target(
        user_pool_id=POOL, region="us-east-1", endpoint_url=sim.url, connect_timeout=PATIENCE, read_timeout=PATIENCE
    )
    sending = BotoTransport.of(open_session(target))
    with departing(Departure(Over())):
        assert (
            sending.call("AdminUserGlobalSignOut", {"UserPoolId": POOL, "Username": "ann"}).disposition
            is Disposition.WITHHELD
        )
    assert sim.calls() == []


def test_call_that_becomes_late_on_an_open_connection_is_withheld(sim: Simulator, opened: Opened) -> None:
    """As after a stop of the process; with AWS's runtime also on its own thread."""
    sending = opened(sim.url)
    for passed in range(2 if opened.kind == "crt" else 1):
        assert sending.set_password(ROW).disposition is Disposition.DONE
        before, checks = len(sim.calls()), iter([False] * passed)
        with departing(Departure(AllPermits(), lambda *, connected, checks=checks: next(checks, True))):  # noqa: ARG005  (the name that a LateCheck has)
            assert sending.set_password(ROW).disposition is Disposition.WITHHELD
        assert len(sim.calls()) == before


class Ending:
    """A permit that ends after its first check. Until the next check is answered, `meanwhile` happens."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._left = iter([1.0])
        self._meanwhile = meanwhile

    def seconds_left(self) -> float:
        """A second, then none."""
        left = next(self._left, 0.0)
        if not left:
            self._meanwhile()
        return left


def test_permit_that_ends_while_the_request_is_written_withholds_it(sim: Simulator, opened: Opened) -> None:
    """AWS's runtime writes on a thread of its own, after the transport's check: the body is read there.

    With boto3 the whole request is written by then, and the kernel holds it back.
    """
    sending = opened(sim.url)
    for calls in range(2):  # on a new connection, and on one that was used
        with departing(Departure(Ending())):
            assert sending.set_password(ROW).disposition is Disposition.WITHHELD
        assert len(sim.calls()) == calls
        assert sending.set_password(ROW).disposition is Disposition.DONE


def test_request_that_the_kernel_has_sent_before_the_second_check_is_in_doubt(sim: Simulator) -> None:
    """A process that is stopped right after the write does not keep its request: the kernel sends it, in time."""
    sending = Opened("boto3")(sim.url)
    with departing(Departure(Ending(lambda: wait_until(sim.calls)))):
        assert sending.set_password(ROW).disposition is Disposition.AMBIGUOUS
    assert len(sim.calls()) == 1
    assert sending.set_password(ROW).disposition is Disposition.DONE
