"""Runs with the same mirror prefix know of each other by objects that they renew."""

import io
from collections.abc import Iterator, Sequence
from typing import Any, cast

from bulkreset.log import open_log
from bulkreset.mirror.lane_presence import FORGOTTEN, SECONDS, S3Presence
from bulkreset.s3 import Bucket, BucketError, Object
from bulkreset.send.sharing import LOOK_AT_FOLDER_SECONDS, Neighbours, SharedLanes
from tests.bucket import BUCKET
from tests.bucket import Storage as BucketOfTests

PREFIX, LANE = "s3://b/runs/", "1/r"
AT = "s3://b/runs/lanes/1_r/"


class Storage:
    """A bucket in memory that fails if the test says so."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.now, self.fails, self.warnings = 1e9, False, list[str]()

    def put(self, uri: str, body: bytes) -> str:
        """Store an object."""
        if self.fails:
            raise BucketError(uri, "s3:PutObject", "AccessDenied")
        self.kept[uri] = body
        return "etag"

    def get(self, uri: str, _most: int) -> tuple[bytes, str]:
        """Return an object."""
        return self.kept[uri], "etag"

    def delete(self, uris: Sequence[str]) -> None:
        """Delete objects."""
        for uri in uris:
            self.kept.pop(uri, None)

    def objects(self, uri: str) -> Iterator[Any]:
        """List the objects below a prefix."""
        for name in sorted(self.kept):
            if name.startswith(uri):
                yield type("Found", (), {"uri": name})()

    def presence(self, run_dir: str) -> S3Presence:
        """Return a run that checks only when the test says so."""
        mirror = f"{PREFIX}{run_dir}/"
        it = S3Presence(cast("Bucket", self), PREFIX, LANE, mirror, run_dir, self.warnings.append, lambda: self.now)
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
    assert len(storage.warnings) == 1
    assert "AccessDenied" in storage.warnings[0]


def test_runs_know_by_how_many_the_others_split() -> None:
    storage = Storage()
    first, second = storage.presence("one"), storage.presence("two")
    assert second.neighbours().split_by == 1
    first.publish(2)
    assert second.neighbours().split_by == 1  # of the last renewal
    first.renew()
    second.renew()
    assert second.neighbours().split_by == 2
    third = storage.presence("three")
    assert third.neighbours().split_by == 1  # the smallest counts


def test_object_of_a_dead_process_of_the_same_run_counts_for_nobody_and_is_deleted() -> None:
    storage = Storage()
    storage.presence("one")  # it was killed
    assert storage.presence("one").neighbours() == Neighbours()
    assert len(storage.kept) == 1


def test_objects_have_addresses() -> None:
    assert "uri" in Object.__dataclass_fields__


def test_runs_with_one_prefix_in_s3_split_the_quota_and_never_take_more(
    s3: BucketOfTests,
) -> None:
    warnings: list[str] = []
    now = 0.0

    def enter(name: str) -> tuple[S3Presence, SharedLanes]:
        at = f"s3://{BUCKET}/runs/"
        presence = S3Presence(Bucket(region="us-east-1"), at, LANE, f"{at}{name}/", name, warnings.append)
        presence.renew()
        shared = SharedLanes("split", 0.8, open_log(io.StringIO(), "id", None), lambda: now)
        shared.enter(LANE, [presence])
        return presence, shared

    def rates() -> list[float]:
        """Check all runs; return the rate that each may use after it."""
        nonlocal now
        now += LOOK_AT_FOLDER_SECONDS
        return [next((limit.rate or 0.0 for limit in shared.limits(LANE, "", 30.0)), 24.0) for _, shared in runs]

    runs = [enter("one")]
    assert rates() == [24.0]
    runs.append(enter("two"))
    assert rates() == [24.0, 0.0]  # the first one does not know yet
    runs[0][0].renew()
    assert rates() == [12.0, 0.0]
    assert rates() == [12.0, 0.0]  # announced with its next renewal
    runs[0][0].renew()
    assert rates() == [12.0, 0.0]
    runs[1][0].renew()
    assert rates() == [12.0, 12.0]
    runs.pop(0)[1].close()
    runs[0][0].renew()
    assert rates() == [24.0]
    runs[0][1].close()
    assert (s3.keys("runs/lanes/"), warnings) == ([], [])
