"""Answers of a worker that an attacker controls: none is executed, and impossible values are refused."""

import asyncio
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from distributed.protocol import dumps, loads, to_serialize
from distributed.protocol.serialize import ToPickle
from distributed.protocol.utils import pack_frames

from bulkreset.cluster import cluster_runner
from bulkreset.cluster.assignments import LaneAssignments
from bulkreset.cluster.cluster_runner import ClusterRunner
from bulkreset.cluster.comm_without_pickle import MAX_BYTES, PlainComm
from bulkreset.cluster.protocol import REPORT, InvalidMessage, OpenFailed, RowReport, WorkerReport, pack, unpack
from bulkreset.cluster.remote_lane import LaneGroup, RemoteLane, WorkerSession
from bulkreset.cognito.response import Disposition, Response
from bulkreset.errors import ClusterLost
from bulkreset.job import PaceConfig, Target
from bulkreset.models import Outcome, Status, StepOutcome
from bulkreset.send.lane import LaneKey, Results
from bulkreset.send.operations import SetPassword
from bulkreset.send.pacer import PacerState
from tests.cluster.in_process_cluster import LEASE, SKEW, in_process_cluster
from tests.cluster.test_assignments import NOBODY
from tests.send.fakes import POOL, FakeClock, row
from tests.send.lanes import rows
from tests.waiting import wait_until

HELLO = {"compression": None, "python": (3, 13, 0), "pickle-protocol": 5}


class _Writes:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def _message(frames: Sequence[bytes]) -> bytes:
    body = bytes(pack_frames(frames))
    return struct.pack("<Q", len(body)) + body


def _asked(*answers: bytes) -> Any:  # noqa: ANN401  (what came)
    """Connect to a server that gives these answers to the handshake and to one request. Return what it received."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            (length,) = struct.unpack("<Q", await reader.readexactly(8))
            await reader.readexactly(length)
            writer.write(answer)
            await writer.drain()
        writer.close()

    async def ask() -> Any:  # noqa: ANN401  (as above)
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            comm = await PlainComm.connect(f"tcp://127.0.0.1:{port}", {})
            try:
                return await comm.ask("bulkreset_exchange", turn=1)
            finally:
                comm.close()

    return asyncio.run(asyncio.wait_for(ask(), 60))


@pytest.mark.parametrize("where", ["greeting", "answer"])
@pytest.mark.parametrize("mark", [ToPickle, to_serialize], ids=["pickled", "serialized"])
def test_pickle_is_not_executed(tmp_path: Path, where: str, mark: Callable[[object], object]) -> None:
    path = tmp_path / "written"
    evil = [bytes(frame) for frame in dumps({"report": mark(_Writes(path))})]
    answers = (evil, dumps({"report": None})) if where == "greeting" else (dumps(HELLO), evil)
    said = _asked(*map(_message, answers))
    assert not path.exists()
    if where == "answer":
        with pytest.raises(InvalidMessage):
            unpack(REPORT, said["report"])
    loads(evil)
    assert path.exists(), "Dask would have executed it, or this test would prove nothing"


def test_report_that_is_a_pickle_is_not_executed(tmp_path: Path) -> None:
    with pytest.raises(InvalidMessage):
        unpack(REPORT, pickle.dumps(_Writes(tmp_path / "written")))
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "said",
    [
        _message([b"\xc1"]),
        _message([b"\x82\x01"]),
        _message([b"\x91" * 5000]),
        _message([b""]),
        _message([]),
        struct.pack("<Q", 4) + b"abcd",
        struct.pack("<Q", 0),
        struct.pack("<Q", MAX_BYTES + 1),
        struct.pack("<QQQ", 16, 1, 2**62),
        struct.pack("<QQ", 8, 2**40),
        struct.pack("<QQ", 8, 2),
    ],
)
def test_invalid_message_bytes_are_nonsense(said: bytes) -> None:
    with pytest.raises(InvalidMessage):
        _asked(_message(dumps(HELLO)), said)


def test_truncated_message_is_a_lost_connection() -> None:
    with pytest.raises(OSError):  # noqa: PT011  (tornado's)
        _asked(_message(dumps(HELLO)), _message(dumps({"report": None}))[:-3])


GOOD = Outcome(7, Status.SET, attempts=1)


@pytest.mark.parametrize(
    "packed",
    [
        None,
        7,
        {"unix": 1.0},
        b"",
        b"null",
        b"[]",
        b"{}",
        b'[{"unix": "1"}]',
        b'[{"unix": 1, "halted": [0.5]}]',
        b'[{"unix": 1, "results": [{"lane": [0, -1], "outcome": {"row": 1, "done": true}}]}]',
        b'[{"unix": 1, "results": [{"lane": [0, 0], "outcome": {"row": 1, "status": "set by me"}}]}]',
        b'[{"unix": 1, "opened": [[0, "carrier pigeon"]]}]',
        b'[{"unix": 1, "states": [[[0, 0], {"rate": "fast"}]]}]',
        b'[{"unix": 1, "more": 1}]',
        pack(REPORT, (WorkerReport(1.0),))[:-2],
        b"[" * 5000,
    ],
)
def test_report_of_a_wrong_shape_is_nonsense(packed: object) -> None:
    with pytest.raises(InvalidMessage):
        unpack(REPORT, packed)


def _report(**fields: Any) -> WorkerReport:  # noqa: ANN401  (any field)
    return WorkerReport(1.0, **fields)


def _row(outcome: Any = GOOD, lane: tuple[int, int] = (0, 0), **fields: Any) -> WorkerReport:  # noqa: ANN401
    return _report(results=[RowReport(lane, outcome, **fields)])


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (WorkerReport(NAN), "an invalid time"),
        (_row(lane=(5, 0)), "lanes that it does not have"),
        (_row(lane=(1, 0)), "lanes that it does not have"),
        (_row(lane=(0, 1)), "a lane that does not exist"),
        (_row(StepOutcome("sign_out", 7, done=True)), "another call"),
        (_row(Outcome(7, Status.REJECTED)), "no row can have"),
        (_row(Outcome(7, Status.CLAIMED)), "no row can have"),
        (_row(Outcome(7, Status.SET, attempts=-1)), "attempts"),
        (_row(Outcome(7, Status.SET, attempts=9)), "attempts"),
        (_row(Outcome(7, Status.SET, attempts=1, throttled=2)), "throttled"),
        (_row(Outcome(7, Status.SET, started_at=2**70)), "no row can have"),
        (_row(Outcome(7, Status.FAILED, message="x" * (2**20 + 1))), "long text"),
        (_row(fatal=Response(Disposition.DONE)), "not fatal"),
        (_report(states=[((0, 0), PacerState(INF))]), "cannot have"),
        (_report(states=[((0, 0), PacerState(NAN))]), "cannot have"),
        (_report(states=[((0, 0), PacerState(5.0))]), "cannot have"),
        (_report(states=[((0, 0), PacerState(0.0))]), "cannot have"),
        (_report(states=[((0, 0), PacerState(None))]), "another lane"),
        (_report(states=[((0, 0), PacerState(4.0, next_in=INF))]), "slot"),
        (_report(states=[((0, 0), PacerState(4.0, backoff=2.0))]), "factor"),
        (_report(states=[((0, 0), PacerState(4.0, cut_ago=-1.0))]), "cut"),
        (_report(states=[((0, 0), PacerState(4.0, accepted=(-1.0,)))]), "call in the future"),
        (_report(changes=[((0, 0), 1e9, "")]), "cannot have"),
        (_report(opened=[(0, "boto3")]), "opened at the wrong time"),
        (_report(failed=[OpenFailed(0, "", "")]), "refused at the wrong time"),
        (_report(halted=[0]), "emptied at the wrong time"),
        (_report(retired=[(0, [])]), "closed at the wrong time"),
        (_report(halted=[1]), "lanes that it does not have"),
        (_report(halted=[-1]), "lanes that it does not have"),
    ],
)
def test_report_that_cannot_be_true_is_refused_as_a_whole(report: WorkerReport, why: str) -> None:
    clock, results = FakeClock(), Results()
    assignments = LaneAssignments(clock)
    first, second = assignments.posts["a"], assignments.posts["b"] = WorkerSession("a", "1"), WorkerSession("b", "2")
    groups = [_group(0), _group(1)]
    assignments.add(groups, results, lambda *_, **__: None)
    assert [group.worker for group in groups] == [first, second]
    assignments.apply_report(first, _report(opened=[(0, "boto3")]))
    lane = groups[0].lanes[0]
    assignments.put(lane, [row(7)])
    with pytest.raises(InvalidMessage, match=why):
        assignments.apply_report(first, report)
    assert results.empty()
    assert lane.away
    assignments.apply_report(first, _row())
    assert results.get_nowait() == (lane, GOOD)


def test_password_in_a_message_is_withheld_from_the_journal() -> None:
    results = Results()
    assignments = LaneAssignments(FakeClock())
    first = assignments.posts["a"] = WorkerSession("a", "1")
    group = _group(0)
    assignments.add([group], results, lambda *_, **__: None)
    assignments.apply_report(first, _report(opened=[(0, "boto3")]))
    what = row(7)
    assignments.put(group.lanes[0], [what])
    says = f"it is {what.password.reveal()}"
    fatal = Response(Disposition.FATAL, "AccessDenied", says)
    assignments.apply_report(first, _row(Outcome(7, Status.FAILED, message=says, attempts=1), fatal=fatal))
    assert what.password.reveal() not in repr(results.get_nowait())


def _group(number: int) -> LaneGroup:
    key = LaneKey(number)
    lane = RemoteLane[Any](NOBODY, SetPassword({}), key, 4.0, PaceConfig(max_attempts=3), lambda *_: None)
    return LaneGroup(key, "", [Target(user_pool_id=POOL, region="eu-west-1")], emulated=True, lanes=[lane], weight=1.0)


LIES: list[Callable[[bytes], object]] = [
    lambda _packed: b"nonsense",
    lambda packed: packed[:-3],
    lambda _packed: None,
    lambda _packed: pickle.dumps(WorkerReport(1.0)),
    lambda _packed: pack(REPORT, (WorkerReport(1.0, halted=[77]),)),
]


@pytest.mark.parametrize("lie", LIES)
def test_worker_with_nonsense_answers_is_dropped_and_another_continues(lie: Callable[[bytes], object]) -> None:
    with in_process_cluster("a", "b") as it:

        def drop(_cluster: ClusterRunner) -> None:
            wait_until(lambda: it.events_named("worker_lost"))
            it.clock.advance(LEASE + SKEW)

        it.cluster.lies["a"] = lie
        it.run([rows(1, 20)], 80.0, drop)
    assert it.journal.statuses() == {"set": 20}
    (refused,) = it.events_named("worker_refused")
    assert refused["worker"] == "a"
    assert refused["problem"].startswith("it answered 3 times what cannot be used: ")


def test_single_nonsense_answer_is_requested_again() -> None:
    with in_process_cluster("a") as it:
        left = [b"nonsense"] * 2

        it.cluster.lies["a"] = lambda packed: left.pop() if left else packed
        it.run([rows(1, 20)], 80.0)
    assert it.journal.statuses() == {"set": 20}
    assert not it.events_named("worker_refused")


def test_run_ends_resumable_when_every_worker_is_dropped() -> None:
    with in_process_cluster("a", "b") as it:

        def end(cluster: ClusterRunner) -> None:
            wait_until(lambda: len(it.events_named("worker_lost")) == 2)
            wait_until(it.listed_again())
            it.clock.advance(LEASE + SKEW + cluster_runner.NOBODY_SECONDS)
            wait_until(lambda: cluster._failure)

        it.cluster.lies = dict.fromkeys("ab", lambda _packed: b"nonsense")
        with pytest.raises(ClusterLost, match="has had no worker") as caught:
            it.run([rows(1, 20)], 80.0, end)
        assert caught.value.exit_code == 3
    assert it.service.rows == []
    assert set(it.journal.statuses()) <= {"ready"}
