"""A delta: commits are read back unchanged; damaged ones and other versions are refused."""

import gzip
import json

import pytest

from bulkreset.errors import RunDirError
from bulkreset.mirror.objects import VERSION, Commit, Delta
from bulkreset.models import Claimed, Event, Outcome, RateChange, StateChanged, Status, StepOutcome

EVENTS: list[Event] = [
    Outcome(1, Status.SET),
    Outcome(2, Status.FAILED, "Code", "why 🚀", 3, 1, in_doubt=True, latency_ms=5, started_at=1, finished_at=2),
    StepOutcome("sign_out", 1, done=None),
    StepOutcome("sign_out", 2, done=False, code="No", message="why"),
    Claimed(3, 1_706_659_200_000),
    RateChange(1, "1", "eu-west-1", 2.0, "throttled"),
    StateChanged({"mirror": {"at": "s3://b/r/", "generation": 1, "commit": 7, "tokens": ["a"]}}),
]


def test_events_are_read_back_unchanged() -> None:
    delta = Delta(VERSION, [Commit(7, EVENTS), Commit(8, [])])
    assert Delta.unpacked(delta.packed(), "uri") == delta


def changed(**table: object) -> bytes:
    """Return a delta of one commit with these keys changed."""
    known = {"version": VERSION, "commits": [{"number": 1, "events": [{"row": 1}]}]}
    return gzip.compress(json.dumps(known | table).encode())


def commit_of(*events: object) -> list[dict[str, object]]:
    return [{"number": 1, "events": list(events)}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        changed()[:-9],
        gzip.compress(b"{"),
        *(changed(commits=it) for it in (None, [1], commit_of({}), commit_of({"row": "x"}))),
        *(changed(commits=commit_of(it)) for it in ({"row": 1, "status": "lost"}, {"row": 1, "word": 2}, 1, None)),
    ],
    ids=["empty", "cut", "no JSON", *(f"commits {number}" for number in range(4)), *(f"event {it}" for it in range(4))],
)
def test_damaged_delta_is_refused(body: bytes) -> None:
    with pytest.raises(RunDirError, match="uri is damaged"):
        Delta.unpacked(body, "uri")


def test_delta_of_another_version_is_refused() -> None:
    assert Delta.unpacked(changed(), "uri").commits == [Commit(1, [Claimed(1)])]
    with pytest.raises(RunDirError, match="uri has version 4"):
        Delta.unpacked(changed(version=4), "uri")
