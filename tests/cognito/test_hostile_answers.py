"""Both transports and ListUsers against one table of hostile answers: the same result, in bounded time and memory."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from awscrt.http import HttpHeaders, HttpRequest

from bulkreset.cognito import crt_connections
from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.bounded_http import CALL_BYTES, PAGE_BYTES, Answers, BoundedReader
from bulkreset.cognito.crt_connections import ConnectionPool
from bulkreset.cognito.crt_transport import CrtTransport
from bulkreset.cognito.endpoint import resolve_endpoint
from bulkreset.cognito.list_users import UserLister
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import ReadCallError
from bulkreset.cognito.response import Disposition
from bulkreset.cognito.response_parser import scrub_message
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.job import Target
from bulkreset.models import Row, Secret
from tests.cognito.conftest import PATIENCE, POOL
from tests.cognito.hostile_answers import ANSWERS, Answer
from tests.cognito.tcp_peers import peer, read_request
from tests.waiting import wait_until

SHORT = 0.3  # seconds: the deadline of an answer that nothing else ends
BUFFERED = 2**24  # bytes: more than the kernel's buffers of one connection
ROW = Row(1, "ann", Secret("Quiet-1"), POOL, permanent=True)

pytestmark = pytest.mark.usefixtures("credentials")


@dataclass(frozen=True)
class Verdict:
    """The result of an answer, and how many bytes of it the server could send."""

    disposition: Disposition
    code: str
    sent: int


def judge(
    call: Callable[[TargetSession], tuple[Disposition, str]], answer: Answer, deadline: float, before: bytes = b""
) -> Verdict:
    """Make one call that gets this answer. The first request on the connection gets the answer `before`, if there is one."""
    sent = [0]

    def serve(_number: int, connection: socket.socket) -> None:
        if before:
            read_request(connection)
            connection.sendall(before)
        while read_request(connection) and answer.serve(connection, sent):
            pass

    with peer(serve) as there:
        target = Target(
            user_pool_id=POOL,
            region="us-east-1",
            endpoint_url=there.url,
            connect_timeout=PATIENCE,
            read_timeout=deadline,
        )
        verdict = call(open_session(target))
        assert there.connections == 1  # one attempt, and no redirect is followed
    return Verdict(*verdict, sent[0])


def set_with_boto3(session: TargetSession) -> tuple[Disposition, str]:
    response = BotoTransport.of(session).set_password(ROW)
    return response.disposition, response.code


def set_on_open_connection(session: TargetSession) -> tuple[Disposition, str]:
    transport = BotoTransport.of(session)
    assert transport.set_password(ROW).disposition is Disposition.DONE
    response = transport.set_password(ROW)
    return response.disposition, response.code


def set_with_crt(session: TargetSession) -> tuple[Disposition, str]:
    response = CrtTransport(session).set_password(ROW)
    return response.disposition, response.code


def list_users(session: TargetSession) -> tuple[Disposition, str]:
    try:
        UserLister(session, PoolFacts(POOL)).page()
    except ReadCallError as error:
        return error.verdict, error.code
    return Disposition.DONE, ""


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_password_call_is_judged_the_same_by_boto3(answer: Answer) -> None:
    found = judge(set_with_boto3, answer, SHORT if answer.is_late else PATIENCE)
    assert (found.disposition, found.code) == (answer.verdict, answer.code)
    assert found.sent <= CALL_BYTES + BUFFERED


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_password_call_on_an_open_connection_is_judged_the_same(answer: Answer) -> None:
    done = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    found = judge(set_on_open_connection, answer, SHORT if answer.is_late else PATIENCE, done)
    assert (found.disposition, found.code) == (answer.verdict, answer.code)
    assert found.sent <= CALL_BYTES + BUFFERED


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_password_call_is_judged_the_same_by_crt(answer: Answer) -> None:
    found = judge(set_with_crt, answer, SHORT if answer.is_late else PATIENCE)
    assert (found.disposition, found.code) == (answer.verdict, answer.code)


@pytest.mark.parametrize("lacking", ["the figure", "a part of it", "/proc"])
def test_headers_without_end_last_until_the_deadline_if_the_system_counts_no_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lacking: str
) -> None:
    if lacking == "the figure":
        monkeypatch.delattr(socket, "TCP_INFO")
    elif lacking == "a part of it":
        monkeypatch.setattr(socket, "TCP_INFO", socket.TCP_KEEPCNT)  # an option of four bytes
    else:
        monkeypatch.setattr(crt_connections, "Path", lambda _proc: tmp_path / "none")
    (answer,) = [answer for answer in ANSWERS if answer.name == "1xx storm"]
    assert judge(set_with_crt, answer, SHORT).code == "ReadTimeoutError"


@pytest.mark.linux("counts the bytes of a connection")
def test_bytes_are_counted_for_each_connection() -> None:
    """Two connections of one pool are counted separately; bytes that the runtime has not read do not count."""

    def serve(number: int, connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nx: " + b"a" * number * 1000)
        connection.recv(1)

    with peer(serve) as there:
        target = Target(user_pool_id=POOL, region="us-east-1", endpoint_url=there.url)
        pool = ConnectionPool(resolve_endpoint(open_session(target)))
        both = [pool.acquire()[0] for _ in range(2)]
        assert [connection.bytes_read() for connection in both] == [0, 0]
        for number, connection in enumerate(both, 1):
            request = HttpRequest("GET", "/", HttpHeaders([("Host", "x")]))
            connection.http.request(request).activate()
            wait_until(lambda number=number, connection=connection: connection.bytes_read() == 20 + number * 1000)  # type: ignore[misc]
        assert [connection.bytes_read() for connection in both] == [1020, 2020]
        for connection in both:
            connection.http.close()
            connection.http.shutdown_future.result(PATIENCE)
        assert [connection.bytes_read() for connection in both] == [None, None]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_page_of_users_is_judged_the_same(answer: Answer) -> None:
    found = judge(list_users, answer, SHORT if answer.is_late else PATIENCE)
    assert (found.disposition, found.code) == (answer.listed or (answer.verdict, answer.code))
    assert found.sent <= PAGE_BYTES + BUFFERED


def test_table_has_no_name_twice() -> None:
    assert len({answer.name for answer in ANSWERS}) == len(ANSWERS)


def test_message_of_the_service_is_cut_and_cannot_control_a_terminal() -> None:
    message = scrub_message("\x1b[31m" + "m" * 5000, ROW.password.withhold)
    assert message == "␛[31m" + "m" * 994 + "…"
    assert scrub_message("m" * 1000, ROW.password.withhold) == "m" * 1000


def test_password_in_the_part_that_is_cut_is_withheld_all_the_same() -> None:
    assert "withheld" in scrub_message("m" * 997 + ROW.password.reveal(), ROW.password.withhold)


def test_socket_has_its_time_out_again_after_an_answer() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(PATIENCE)
        there.sendall(b"abc")
        reader = BoundedReader(here, 3, Answers())
        assert reader.read(3) == b"abc"
        assert here.gettimeout() != PATIENCE
        reader.close()
        assert here.gettimeout() == PATIENCE


@pytest.mark.parametrize("already", [False, True])
def test_waiting_for_a_page_ends_at_once_if_nobody_needs_it(*, already: bool) -> None:
    asked, ended = threading.Event(), threading.Event()

    def serve(_number: int, connection: socket.socket) -> None:
        read_request(connection)
        asked.set()
        ended.wait(PATIENCE)

    with peer(serve) as there:
        target = Target(user_pool_id=POOL, region="us-east-1", endpoint_url=there.url, read_timeout=PATIENCE * 10)
        lister = UserLister(open_session(target), PoolFacts(POOL))

        def give_up() -> None:
            asked.wait(PATIENCE)
            lister.abandon()

        if already:
            lister.abandon()
        thread = threading.Thread(target=give_up)
        thread.start()
        with pytest.raises(ReadCallError, match="ConnectionClosedError"):  # not the time-out
            lister.page()
        ended.set()
        thread.join()
