"""Both transports and the network: unsent calls, calls that may have been sent, and proxies."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from bulkreset.cognito.crt_transport import CrtTransport
from bulkreset.cognito.response import Disposition, Response
from bulkreset.cognito.session import emulated_session
from bulkreset.errors import TargetError
from bulkreset.job import Target
from bulkreset.models import Row, Secret
from tests.cognito.conftest import PATIENCE, POOL, Opened
from tests.cognito.endpoint import Said, answering, certify
from tests.cognito.tcp_peers import ANSWER, deaf, has_arrived, peer, proxy, read_request
from tests.e2e.command import LAX
from tests.sim.handle import Simulator
from tests.waiting import wait_until

ROW = Row(1, "ann", Secret("Quiet-Garden.1"), POOL, permanent=True)
OK = Said(b"{}")
THREADS = 32

pytestmark = [
    pytest.mark.usefixtures("credentials"),
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
]


def verdict(answer: Response) -> tuple[Disposition, str]:
    return answer.disposition, answer.code


NEVER_SENT = (Disposition.NOT_SENT, "EndpointConnectionError")
TOO_LATE = (Disposition.AMBIGUOUS, "ReadTimeoutError")
LOST = (Disposition.AMBIGUOUS, "ConnectionClosedError")


# ---- not sent


def closed_port() -> tuple[socket.socket, str]:
    taken = socket.socket()  # bound, but not listening
    taken.bind(("127.0.0.1", 0))
    return taken, f"127.0.0.1:{taken.getsockname()[1]}"


def test_connection_that_is_refused_was_not_sent(opened: Opened) -> None:
    taken, address = closed_port()
    with taken:
        assert verdict(opened(f"http://{address}").set_password(ROW)) == NEVER_SENT


def test_host_that_is_unknown_was_not_sent(opened: Opened) -> None:
    assert verdict(opened("http://cognito.invalid").set_password(ROW)) == NEVER_SENT


def test_connection_that_takes_too_long_was_not_sent(opened: Opened) -> None:
    with deaf() as url:
        answer = opened(url, connect_timeout=0.1).set_password(ROW)
    assert verdict(answer) == (Disposition.NOT_SENT, "ConnectTimeoutError")


# ---- may have been sent


def test_missing_answer_is_lost_and_its_connection_is_not_reused(opened: Opened) -> None:
    came, old_one_left = threading.Event(), threading.Event()

    def serve(number: int, connection: socket.socket) -> None:
        while read_request(connection):
            if number == 1:
                came.wait(PATIENCE)  # the next call is in flight by then: an old answer must not be used for it
                with suppress(OSError):
                    connection.sendall(ANSWER.replace(b"r-1", b"r-0"))
                old_one_left.set()
                return
            came.set()
            old_one_left.wait(PATIENCE)
            connection.sendall(ANSWER)

    with peer(serve) as server:
        sending = opened(server.url, read_timeout=0.2)
        assert verdict(sending.set_password(ROW)) == TOO_LATE
        # On a busy machine the next ones may be too late as well.
        answers = [TOO_LATE]
        while answers[-1] == TOO_LATE:
            assert len(answers) < PATIENCE
            answer = sending.set_password(ROW)
            answers.append(verdict(answer))
        assert (answer.disposition, answer.request_id) == (Disposition.DONE, "r-1")
        assert server.connections == len(answers)


def test_answer_that_drips_is_lost_when_the_time_is_over(opened: Opened) -> None:
    if opened.kind == "boto3":
        pytest.skip("urllib3's time-out is of each read, so that a drip may take longer")

    def serve(_number: int, connection: socket.socket) -> None:
        read_request(connection)
        for byte in ANSWER:  # takes longer than the time-out, although no two bytes do
            connection.sendall(bytes([byte]))
            threading.Event().wait(0.02)

    with peer(serve) as server:
        assert verdict(opened(server.url, read_timeout=0.2).set_password(ROW)) == TOO_LATE


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"it works!\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: r-1\r\nContent-Length: 20\r\n\r\n{",
    ],
)
def test_truncated_answer_is_in_doubt(opened: Opened, said: bytes) -> None:
    def serve(_number: int, connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(said)
        connection.shutdown(socket.SHUT_RDWR)

    with peer(serve) as server:
        answer = opened(server.url).set_password(ROW)
    assert answer.disposition is Disposition.AMBIGUOUS
    assert answer.code in {"ConnectionClosedError", "UnreadableResponse"}


def test_connection_that_is_reset_is_in_doubt(opened: Opened) -> None:
    def serve(_number: int, connection: socket.socket) -> None:
        read_request(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    with peer(serve) as server:
        assert verdict(opened(server.url).set_password(ROW)) == LOST


# ---- kept connections


@pytest.mark.parametrize(
    "pieces",
    [
        [ANSWER],
        [ANSWER[:-2], ANSWER[-2:]],
        [ANSWER[:20], ANSWER[20:-1], ANSWER[-1:]],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", b"0\r\n\r\n"],
    ],
    ids=["whole", "body apart", "three", "chunked"],
)
def test_connection_is_used_again(opened: Opened, pieces: list[bytes]) -> None:
    def serve(_number: int, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while read_request(connection):
            for piece in pieces:
                connection.sendall(piece)

    with peer(serve) as server:
        sending = opened(server.url)
        assert {sending.set_password(ROW).disposition for _ in range(20)} == {Disposition.DONE}
        assert server.connections == 1


@pytest.mark.linux("TCP_INFO, for whether the end of a connection has arrived")
@pytest.mark.parametrize("close", [b"Connection: close\r\n", b""])
def test_connection_that_the_server_closed_is_not_used_again(opened: Opened, close: bytes) -> None:
    ended: list[socket.socket] = []

    def serve(_number: int, connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(ANSWER.replace(b"Content-", close + b"Content-"))
        connection.shutdown(socket.SHUT_RDWR)
        ended.append(connection)

    with peer(serve) as server:
        sending = opened(server.url)
        for call in range(1, 6):
            assert sending.set_password(ROW).disposition is Disposition.DONE
            wait_until(lambda call=call: len(ended) == call and has_arrived(ended[-1]))  # type: ignore[misc]
            if isinstance(sending, CrtTransport):  # its runtime has its own thread, which must have noticed it, too
                wait_until(lambda: not any(idle.http.is_open() for idle in sending._connections._idle))
            assert server.connections == call


def test_many_threads_share_a_transport(sim: Simulator, opened: Opened) -> None:
    names = [f"user.{number:03d}" for number in range(200)]
    sim.add_pool(POOL, names, LAX)
    sim.configure(faults={"every": {"hold": True}})
    sending = opened(sim.url)
    with ThreadPoolExecutor(THREADS) as pool:
        rows = [Row(1, name, Secret(f"Quiet-{name}"), POOL, permanent=True) for name in names]
        answers_ = pool.map(sending.set_password, rows)
        wait_until(lambda: len(sim.calls()) == THREADS)  # concurrent calls
        sim.configure(faults={"every": None})
        answers = list(answers_)
    assert {answer.disposition for answer in answers} == {Disposition.DONE}
    assert len({answer.request_id for answer in answers}) == len(names)
    assert sim.passwords(POOL) == {name: f"Quiet-{name}" for name in names}


# ---- TLS


def test_untrusted_certificate_gets_no_request(opened: Opened, tmp_path: Path) -> None:
    with answering(OK, certificate=certify(tmp_path)) as endpoint:
        answer = opened(endpoint.url).set_password(ROW)
    assert endpoint.received == []
    assert verdict(answer) == (Disposition.FATAL, "SSLError")


def test_certificate_of_another_host_is_sent_nothing(opened: Opened, tmp_path: Path) -> None:
    certificate = certify(tmp_path)
    with answering(OK, certificate=certificate) as endpoint:
        url = endpoint.url.replace("127.0.0.1", "localhost")
        answer = opened(url, ca_bundle=certificate).set_password(ROW)
    assert endpoint.received == []
    assert verdict(answer) == (Disposition.FATAL, "SSLError")


@pytest.mark.parametrize("where", ["target", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "profile"])
def test_certificate_is_trusted_from_every_setting(
    opened: Opened, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = certify(tmp_path)
    if where == "profile":
        (tmp_path / "config").write_text(f"[default]\nca_bundle = {certificate}\n", encoding="utf-8")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    elif where != "target":
        monkeypatch.setenv(where, str(certificate))
    keys = {"ca_bundle": certificate} if where == "target" else {}
    with answering(OK, certificate=certificate) as endpoint:
        assert opened(endpoint.url, **keys).set_password(ROW).disposition is Disposition.DONE
        assert opened(endpoint.url, verify_ssl=False).set_password(ROW).disposition is Disposition.DONE


def test_no_certificate_is_checked_if_the_target_says_so(opened: Opened, tmp_path: Path) -> None:
    with answering(OK, certificate=certify(tmp_path)) as endpoint:
        assert opened(endpoint.url, verify_ssl=False).set_password(ROW).disposition is Disposition.DONE
        url = endpoint.url.replace("127.0.0.1", "localhost")
        assert opened(url, verify_ssl=False).set_password(ROW).disposition is Disposition.DONE


def test_encryption_that_breaks_after_the_request_left_is_in_doubt(opened: Opened, tmp_path: Path) -> None:
    certificate = certify(tmp_path)
    with answering(Said(raw=b"no TLS record, as a middle box sends it"), certificate=certificate) as endpoint:
        answer = opened(endpoint.url, ca_bundle=certificate).set_password(ROW)
    assert [asked["Password"] for asked in endpoint.asked()] == ["Quiet-Garden.1"]
    assert answer.disposition is Disposition.AMBIGUOUS
    assert answer.code in {"SSLError", "ReadTimeoutError"}


def test_handshake_that_never_ends_is_never_fatal(opened: Opened, tmp_path: Path) -> None:
    certificate = certify(tmp_path)
    given_up = threading.Event()

    def serve(_number: int, _connection: socket.socket) -> None:
        given_up.wait(PATIENCE)

    with peer(serve) as server:
        url = server.url.replace("http", "https")
        answer = opened(url, ca_bundle=certificate, connect_timeout=0.1, read_timeout=0.1).set_password(ROW)
        given_up.set()
    assert answer.disposition in (
        {Disposition.NOT_SENT} if opened.kind == "crt" else {Disposition.NOT_SENT, Disposition.AMBIGUOUS}
    )


def test_bundle_without_a_certificate_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.pem").write_text("nothing", encoding="utf-8")
    for path in (tmp_path / "empty.pem", tmp_path / "missing.pem"):
        monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
        with pytest.raises(TargetError, match="The CA bundle"):
            Opened("crt")("https://127.0.0.1:9")


# ---- proxies


@pytest.fixture(params=["HTTP_PROXY", "http_proxy"])
def http_proxy(request: pytest.FixtureRequest) -> str:
    """Both spellings."""
    return str(request.param)


def test_http_goes_through_the_proxy(
    sim: Simulator, opened: Opened, http_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.configure(secret_keys={"AKIDSIMULATED": "simulated"})
    with proxy("us%er:p@ss") as between:
        monkeypatch.setenv(http_proxy, f"http://us%25er:p%40ss@127.0.0.1:{between.port}")
        assert opened(sim.url).set_password(ROW).disposition is Disposition.DONE
    (head,) = between.heads
    assert head.startswith(f"POST {sim.url}".encode())


def test_https_goes_through_a_tunnel(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = certify(tmp_path)
    with answering(OK, certificate=certificate) as endpoint, proxy("user:password") as between:
        endpoint.protocol = "HTTP/1.1"
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:password@127.0.0.1:{between.port}")
        sending = opened(endpoint.url, ca_bundle=certificate)
        assert [sending.set_password(ROW).disposition for _ in range(2)] == [Disposition.DONE] * 2
        assert len(between.heads) == 1
        answer = opened(endpoint.url).set_password(ROW)
        assert verdict(answer) == (Disposition.FATAL, "SSLError")
    assert {head.split()[0] for head in between.heads} == {b"CONNECT"}
    assert len(endpoint.received) == 2


@pytest.mark.parametrize("exempt", ["127.0.0.1", "*"])
def test_no_proxy_is_used_for_an_exempt_host(
    sim: Simulator, opened: Opened, exempt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert opened(sim.url).set_password(ROW).disposition is Disposition.DONE


def test_proxy_that_refuses_was_sent_nothing(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, address = closed_port()
    with taken:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://user:geheim@{address}")
        for url in ("http://cognito.invalid", "https://cognito.invalid"):
            answer = opened(url).set_password(ROW)
            assert verdict(answer) == (Disposition.NOT_SENT, "ProxyConnectionError")
            assert "geheim" not in repr(answer)


def test_tunnel_that_is_refused_was_sent_nothing(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(OK, certificate=certify(tmp_path)) as endpoint, proxy("user:password") as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:wrong@127.0.0.1:{between.port}")
        answer = opened(endpoint.url).set_password(ROW)
    assert endpoint.received == []
    assert answer.disposition is not Disposition.DONE
    if opened.kind == "crt":
        assert verdict(answer) == (Disposition.NOT_SENT, "ProxyConnectionError")


def test_emulated_session_uses_no_proxy(sim: Simulator, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    target = Target(user_pool_id=POOL, region="us-east-1")
    session = emulated_session(target, "us-east-1", sim.url)
    assert opened.on(session).set_password(ROW).disposition is Disposition.DONE
