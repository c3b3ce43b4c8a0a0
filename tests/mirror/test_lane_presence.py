"""Runs with the same mirror prefix know of each other by objects that they renew."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from bulkreset.mirror.lane_presence import FORGOTTEN, SECONDS, S3Presence
from bulkreset.s3 import Bucket, BucketError, Object
from bulkreset.send.sharing import Neighbours

PREFIX, LANE = "s3://b/runs/", "1/r"
AT = "s3://b/runs/lanes/1_r/"


class Storage:
    """A bucket in memory, which fails if it is told to."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.now, self.fails, self.told = 1000.0, False, list[str]()

    def put(self, uri: str, body: bytes) -> str:
        """Keep it."""
        if self.fails:
            raise BucketError(uri, "s3:PutObject", "AccessDenied")
        self.kept[uri] = body
        return "etag"

    def get(self, uri: str, _most: int) -> tuple[bytes, str]:
        """Give it."""
        return self.kept[uri], "etag"

    def delete(self, uris: Sequence[str]) -> None:
        """Forget them."""
        for uri in uris:
            self.kept.pop(uri, None)

    def objects(self, uri: str) -> Iterator[Any]:
        """Those below."""
        for name in sorted(self.kept):
            if name.startswith(uri):
                yield type("Found", (), {"uri": name})()

    def presence(self, run_dir: str) -> S3Presence:
        """A run that looks when it is told to."""
        it = S3Presence(cast("Bucket", self), PREFIX, LANE, run_dir, self.told.append, lambda: self.now)
        it.renew()
        return it


def test_runs_see_each_other_until_they_leave_or_are_not_renewed() -> None:
    storage = Storage()
    first, second = storage.presence("one"), storage.presence("two")
    assert second.neighbours().others == second.neighbours().earlier == 1
    assert second.neighbours().example.startswith("one on ")
    first.renew()
    assert (first.neighbours().others, first.neighbours().earlier) == (1, 0)
    assert all(uri.startswith(AT) for uri in storage.kept)
    storage.now += SECONDS + 1
    second.renew()
    assert second.neighbours() == Neighbours()
    assert len(storage.kept) == 2
    storage.now += FORGOTTEN
    second.renew()
    assert len(storage.kept) == 1
    second.close()
    assert storage.kept == {}


def test_other_directories_do_not_count_as_runs() -> None:
    storage = Storage()
    storage.kept = {f"{AT}0.json": b"?", f"{AT}1.json": b"{}", f"{AT}note.txt": b"{}"}
    assert storage.presence("one").neighbours() == Neighbours()


def test_problem_is_reported_once_and_changes_nothing() -> None:
    storage = Storage()
    it = storage.presence("one")
    storage.presence("two")
    it.renew()
    storage.fails = True
    for _ in range(3):
        it.renew()
    assert it.neighbours().others == 1
    assert len(storage.told) == 1
    assert "AccessDenied" in storage.told[0]


def test_objects_have_addresses() -> None:
    assert "uri" in Object.__dataclass_fields__
