"""The mirror: S3 has the commits in order; a gap or damage is refused, and only one process may continue."""

import gzip
import json
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyrage
import pytest

from bulkreset.age_encryption import parse_recipients
from bulkreset.errors import Busy, RecordError, RunDirError
from bulkreset.job import MirrorConfig as Asked
from bulkreset.journal.generated_passwords import PasswordArchive
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir, RunMissing
from bulkreset.journal.run_state import End
from bulkreset.mirror import mirror as module
from bulkreset.mirror.lease import SECONDS, S3Lease
from bulkreset.mirror.mirror import OUTCOME_PUT_SECONDS, JournalMirror
from bulkreset.mirror.objects import list_objects
from bulkreset.mirror.restore import restore
from bulkreset.models import EndState, Outcome, RateChange, Row, Secret, Status, StepOutcome
from bulkreset.report.redaction import Redaction
from bulkreset.s3 import Bucket
from tests.bucket import BUCKET, Storage
from tests.clocks import ForwardClock
from tests.journal.journals import POOL, commit, done, run_state
from tests.mirror.mirrored import end_lease
from tests.waiting import wait_until

AT = f"s3://{BUCKET}/runs/r/"
FACTS: dict[str, Any] = {
    "run_id": "r",
    "job": {"name": "nightly"},
    "mode": "run",
    "state": "applying",
    "rows": 6,
    "mirror": {"at": AT, "generation": 0, "commit": 0},
}


class MirroredRun:
    """A run with a mirror, not started."""

    def __init__(self, path: Path, *, fresh: bool = True, rows: int = 6) -> None:
        def fill(place: Path) -> None:
            with closing(Journal.create(place, [POOL], run_state(**FACTS | {"rows": rows}))) as journal:
                journal.write.add_rows([(row, POOL, f"user{row}", True, "ready", "", "") for row in range(1, rows + 1)])

        self.home = RunDir.create(path, fill) if fresh else RunDir.open(path)
        self.journal = Journal.open(self.home.journal)
        self.finished: list[str] = []
        asked = Asked(to=f"s3://{BUCKET}/runs/")
        self.mirror = JournalMirror(asked, AT, self.home, self.journal, self.finished.append)

    def begin(self) -> JournalMirror:
        self.mirror.acquire()
        self.mirror.start_generation()
        return self.mirror

    def close(self, *, release_lease: bool = True) -> None:
        if release_lease:
            self.mirror.release()
        else:  # as a dead process does
            self.mirror._lease._ended.set()
        self.journal.close()
        self.home.release()


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    with closing(Journal.open(path / "journal.sqlite", read_only=True)) as journal:
        return [found[:16] for found in journal.read.report_rows(dry_run=False)]


def deltas(storage: Storage) -> list[str]:
    return [key for key in storage.keys("runs/r/") if "-delta-" in key]


def claim(mirror: JournalMirror, *claims: int, outcomes: Sequence[Outcome] = ()) -> None:
    """Claim rows as the coordinator does, before it sends them."""
    commit(mirror, claims, outcomes)
    mirror.flush()


def some_commits(mirror: JournalMirror) -> None:
    claim(mirror, 1, 2)
    commit(mirror, [], [done(1, attempts=2, latency_ms=9, request_id="q", started_at=5, finished_at=7)])
    claim(mirror, 3, outcomes=[Outcome(2, Status.FAILED, "Code", "why", 1, 1, in_doubt=True)])
    commit(
        mirror,
        [],
        [done(3)],
        [StepOutcome("sign_out", 1, done=True), StepOutcome("sign_out", 3, done=False, code="No", message="why")],
        [RateChange(1, "a", "r", 2.5, "x")],
    )
    claim(mirror, 4)


def test_every_commit_is_restored_and_only_one_process_continues(tmp_path: Path, s3: Storage) -> None:
    run = MirroredRun(tmp_path / "here")
    Redaction.load(run.home.redaction_key)
    some_commits(run.begin())
    assert len(deltas(s3)) == 3
    with pytest.raises(Busy, match="held by another process"):
        restore(AT, tmp_path / "there")
    run.close()
    restore(AT, tmp_path / "there")
    assert rows_of(tmp_path / "there") == rows_of(tmp_path / "here")
    assert (tmp_path / "there" / "redaction.key").read_bytes() == run.home.redaction_key.read_bytes()
    assert [row[3] for row in rows_of(tmp_path / "there")] == ["set", "failed", "set", "in_doubt", *["unprocessed"] * 2]
    other = MirroredRun(tmp_path / "there", fresh=False)
    claim(other.begin(), 5)
    assert len(deltas(s3)) == 1
    other.close()
    again = MirroredRun(tmp_path / "here", fresh=False)
    with pytest.raises(RunDirError, match="another process has continued it"):
        again.mirror.acquire()
    again.close()
    namesake = MirroredRun(tmp_path / "else" / "here")
    with pytest.raises(RunDirError, match="is the mirror of another run"):
        namesake.mirror.acquire()
    namesake.close()


def test_report_of_an_earlier_execution_does_not_stay_if_there_is_not_a_later_one(tmp_path: Path, s3: Storage) -> None:
    run = MirroredRun(tmp_path / "here")
    some_commits(run.begin())
    for name in ("report.csv", "report.html"):
        (run.home.path / name).write_text("an earlier end")
    run.mirror.finish()
    assert {"runs/r/report.csv", "runs/r/report.html"} <= {*s3.keys("runs/r/")}
    for name in ("report.csv", "report.html"):
        (run.home.path / name).unlink()
    run.journal.write.change(reports_stale=True)
    run.mirror.finish()
    assert not [key for key in s3.keys("runs/r/") if "/report." in key]
    run.close()


@pytest.mark.parametrize("whole", [False, True])
def test_stopped_run_uploads_its_end_and_not_its_whole_journal(tmp_path: Path, s3: Storage, *, whole: bool) -> None:
    run = MirroredRun(tmp_path / "here")
    some_commits(run.begin())
    end = End(state=EndState.INTERRUPTED, exit_code=143, finished_at="2026-11-30T12:00:00Z")
    state = run.journal.state
    run.journal.write.change(seconds=7.5, rows=6, executions=state.replacing_execution(end=end), mirror_pending=True)
    before = len(s3.requests("PUT"))
    run.mirror.finish(whole=whole)
    uploaded = [path for path in s3.requests("PUT")[before:] if "-base-" in path]
    assert len(uploaded) == whole
    run.close()
    restore(AT, tmp_path / "there")
    assert rows_of(tmp_path / "there") == rows_of(tmp_path / "here")
    with (
        closing(Journal.open(tmp_path / "here" / "journal.sqlite", read_only=True)) as here,
        closing(Journal.open(tmp_path / "there" / "journal.sqlite", read_only=True)) as there,
    ):
        own = {"mirror", "mirror_pending"}
        assert there.state.model_dump(exclude=own) == here.state.model_dump(exclude=own)
        assert there.state.end == end
    other = MirroredRun(tmp_path / "there", fresh=False)
    claim(other.begin(), 5)
    other.close()


def test_base_in_the_middle_replaces_earlier_objects(tmp_path: Path, s3: Storage) -> None:
    run = MirroredRun(tmp_path / "here")
    mirror = run.begin()
    claim(mirror, 1)
    commit(mirror, [], [done(1, attempts=1)])
    mirror._upload_base_in_background()  # while an outcome waits
    claim(mirror, 2, outcomes=[done(1, attempts=1)])
    assert [piece.kind for piece in list_objects(mirror._bucket, AT)] == ["base", "begun", "delta"]
    run.close(release_lease=False)
    s3.client.delete_object(Bucket=BUCKET, Key="runs/r/lease.json")
    restore(AT, tmp_path / "there")
    assert rows_of(tmp_path / "there") == rows_of(tmp_path / "here")


@pytest.mark.parametrize("fault", [["^PUT .*base", 503, "SlowDown", 2], ["^POST .*delete", 403, "AccessDenied", 1]])
def test_failed_base_is_reported_and_all_other_objects_are_uploaded(
    tmp_path: Path, s3: Storage, fault: list[object]
) -> None:
    run = MirroredRun(tmp_path / "here")
    mirror = run.begin()
    claim(mirror, 1)
    s3.configure(faults=[fault])
    mirror._upload_base_in_background()
    assert len(run.finished) == 1
    claim(mirror, 2, outcomes=[done(1, attempts=1)])
    claim(mirror, 3, outcomes=[done(2, attempts=1)])
    run.close(release_lease=False)
    s3.client.delete_object(Bucket=BUCKET, Key="runs/r/lease.json")
    restore(AT, tmp_path / "there")
    assert rows_of(tmp_path / "there") == rows_of(tmp_path / "here")
    mirror._upload_base_in_background()  # deletes what the last one could not delete
    assert [piece.kind for piece in list_objects(mirror._bucket, AT)] == ["base", "begun"]


@pytest.mark.parametrize("harm", ["gap", "cut", "other", "base", "none"])
def test_gap_or_damage_is_refused(tmp_path: Path, s3: Storage, harm: str) -> None:
    run = MirroredRun(tmp_path / "here")
    some_commits(run.begin())
    run.close()
    key = deltas(s3)[1]
    body = s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    if harm == "gap":
        s3.client.delete_object(Bucket=BUCKET, Key=key)
    elif harm == "cut":
        s3.put(deltas(s3)[-1], body[:-9])
    elif harm == "other":
        table = json.loads(gzip.decompress(body))
        s3.put(key, gzip.compress(json.dumps(table | {"commits": table["commits"][:1]}).encode()))
    else:
        base = next(found for found in s3.keys("runs/r/") if "-base-" in found)
        s3.put(base, b"\x1f\x8b") if harm == "base" else s3.client.delete_object(Bucket=BUCKET, Key=base)
    with pytest.raises(RunMissing if harm == "none" else RunDirError):
        restore(AT, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_claim_is_not_sent_if_its_upload_fails(tmp_path: Path, s3: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    run = MirroredRun(tmp_path / "here")
    mirror = run.begin()
    s3.configure(faults=[["^PUT .*delta", 500, "InternalError", 99]])
    with pytest.raises(RecordError, match=r"The mirror .* cannot be written: s3:PutObject failed with InternalError"):
        claim(mirror, 1)
    run.close()


def test_lease_has_one_holder_is_renewed_and_changes_hands_when_it_ends(s3: Storage) -> None:
    bucket, uri, clock = Bucket(), f"s3://{BUCKET}/lease", ForwardClock()
    first = S3Lease(bucket, uri, "one", clock=clock).acquire()
    with pytest.raises(Busy, match="held by another process"):
        S3Lease(bucket, uri, "two").acquire()
    ends = first._deadline._ends
    clock.advance(SECONDS / 4)
    wait_until(lambda: first._deadline._ends > ends)
    first._ended.set()
    assert first._thread
    first._thread.join()
    clock.advance(SECONDS * 0.9)
    first.check()
    with S3Lease(bucket, uri, "one") as successor:  # of the same mirror, at the same time
        with pytest.raises(Busy):
            S3Lease(bucket, uri, "two").acquire()
        clock.advance(SECONDS / 4)
        with pytest.raises(Busy, match="could not be renewed for 60 seconds"):
            first.check()
        first._renew_once()
        with pytest.raises(Busy, match="is lost"):
            first.check()
        successor.check()
    assert s3.keys() == []
    with S3Lease(bucket, uri, "one"):
        end_lease(s3, "lease")
        with S3Lease(bucket, uri, "two") as other:
            other.check()


def test_no_upload_after_a_lost_lease(tmp_path: Path, s3: Storage) -> None:
    """So nothing is sent: a claim is in S3 before its rows are sent."""
    run = MirroredRun(tmp_path / "here")
    claim(run.begin(), 1)
    end_lease(s3, "runs/r/lease.json")
    with S3Lease(Bucket(), f"{AT}lease.json", "another"):
        run.mirror._lease._renew_once()  # as its thread does
        with pytest.raises(Busy, match="is lost: another process has taken it"):
            claim(run.mirror, 2)
        assert len(deltas(s3)) == 1
        with pytest.raises(Busy, match="is lost"):
            run.mirror.check()
        with pytest.raises(Busy, match="is lost"):
            run.mirror.finish()
    run.close()


def test_passwords_are_included_and_encrypted_as_requested(tmp_path: Path, s3: Storage) -> None:
    run = MirroredRun(tmp_path / "here")
    asked = Asked(to=f"s3://{BUCKET}/runs/", sse="aws:kms", kms_key_id="alias/mirror")
    run.mirror = JournalMirror(asked, AT, run.home, run.journal, run.finished.append)
    mirror = run.begin()
    to = parse_recipients([str(pyrage.x25519.Identity.generate().to_public())])
    archive = PasswordArchive(run.home.passwords, to, mirror.upload_chunk)
    archive.write([Row(1, "user1", Secret("Hidden-1"), POOL, permanent=False)])
    claim(mirror, 1)
    run.home.summary.write_text("{}", encoding="utf-8")
    mirror.finish()
    for key in s3.keys("runs/r/"):
        found = s3.client.head_object(Bucket=BUCKET, Key=key)
        assert (found["ServerSideEncryption"], "mirror" in found["SSEKMSKeyId"]) == ("aws:kms", True), key
    run.close()
    restore(AT, tmp_path / "there")
    assert (tmp_path / "there" / "passwords" / "00000001.age").read_bytes() == (
        run.home.passwords / "00000001.age"
    ).read_bytes()
    assert "runs/r/summary.json" in s3.keys("runs/r/")


def machine_is_dead(run: MirroredRun, storage: Storage) -> None:
    """End the lease: the process that had the run is dead."""
    run.close(release_lease=False)
    storage.client.delete_object(Bucket=BUCKET, Key="runs/r/lease.json")


def test_failed_starter_does_not_use_the_others_generation(
    tmp_path: Path, s3: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    run = MirroredRun(tmp_path / "here")
    claim(run.begin(), 1)
    commit(run.mirror, [], [done(1, attempts=1)])  # is not in S3 any more
    machine_is_dead(run, s3)
    for _ in range(2):
        again = MirroredRun(tmp_path / "here", fresh=False)
        s3.configure(faults=[["^(PUT|POST) .*base", 403, "AccessDenied", 99]])
        with pytest.raises(RecordError, match="cannot be written"):
            again.begin()
        s3.configure(faults=[])
        again.close()
    restore(AT, tmp_path / "there")
    other = MirroredRun(tmp_path / "there", fresh=False)
    claim(other.begin(), 1)
    other.close()
    late = MirroredRun(tmp_path / "here", fresh=False)
    with pytest.raises(RunDirError, match="another process has continued it"):
        late.mirror.acquire()
    late.close()


@pytest.mark.parametrize("first", [True, False])
def test_base_uploaded_before_a_crash_is_recognised(
    tmp_path: Path, s3: Storage, monkeypatch: pytest.MonkeyPatch, *, first: bool
) -> None:
    run = MirroredRun(tmp_path / "here")
    if not first:
        claim(run.begin(), 1)
        run.close()
        run = MirroredRun(tmp_path / "here", fresh=False)
    run.mirror.acquire()
    monkeypatch.setattr(run.mirror, "_delete_old", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.mirror.start_generation()
    machine_is_dead(run, s3)
    restore(AT, tmp_path / "there")  # its base exists
    again = MirroredRun(tmp_path / "here", fresh=False)
    claim(again.begin(), 2)
    again.close()
    assert [piece.kind for piece in list_objects(again.mirror._bucket, AT)] == ["base", "begun", "delta"]
    other = MirroredRun(tmp_path / "there", fresh=False)
    with pytest.raises(RunDirError, match="another process has continued it"):
        other.mirror.acquire()
    other.close()


class FaultyHistory:
    """One run continued in several directories while S3 fails. Counts the calls of each row at the service."""

    FAULTS = (
        "PUT .*base",
        "PUT .*base",
        "PUT .*base",
        "PUT .*delta",
        "POST .*delete",
        "PUT .*g[0-9]+.json",
        "PUT .*lease",
        "GET .*lease",
    )
    ROWS = 40

    def __init__(self, home: Path, storage: Storage, seed: int) -> None:
        self.home, self.storage = home, storage
        self.chance = random.Random(seed)
        self.sent: set[int] = set()
        self.settled: set[int] = set()  # and stored in S3
        self.places = [home / "0"]
        first = MirroredRun(self.places[0], rows=self.ROWS)
        claim(first.begin())
        machine_is_dead(first, storage)
        self.refused = self.continued = 0

    def step(self) -> None:
        """Run one execution on a known or a new machine, and let it die."""
        if self.chance.random() < 0.4:
            place = self.home / str(len(self.places))
            restore(AT, place)
            self.places.append(place)
        run = MirroredRun(self.chance.choice(self.places[-4:]), fresh=False)
        if self.chance.random() < 0.6:
            fault = self.chance.choice(self.FAULTS)
            self.storage.configure(faults=[[f"^{fault}", 403, "AccessDenied", self.chance.choice([1, 9])]])
        try:
            self.continue_run(run)
        except RunDirError:
            self.refused += 1
        except RecordError:
            pass
        self.storage.configure(faults=[])
        run.close(release_lease=False)
        self.storage.client.delete_object(Bucket=BUCKET, Key="runs/r/lease.json")

    def continue_run(self, run: MirroredRun) -> None:
        run.mirror.acquire()
        run.journal.write.mark_claimed_in_doubt()
        run.mirror.start_generation()
        self.continued += 1
        for _ in range(self.chance.randrange(1, 3)):
            known = {row[0]: row[3] for row in rows_of(run.home.path)}
            rows = [row for row, status in known.items() if status in {"unprocessed", "in_doubt"}][:3]
            claim(run.mirror, *rows)
            assert not self.settled & set(rows), "a row that is settled was sent again"
            assert {known[row] for row in self.sent & set(rows)} <= {"in_doubt"}, (
                "a row was sent twice and not in doubt"
            )
            self.sent |= set(rows)
            finished = rows[: self.chance.randrange(1, 3)]
            for row in finished:
                commit(run.mirror, [], [done(row, attempts=1)])
            if self.chance.random() < 0.5:
                run.mirror.flush()
                self.settled |= set(finished)
            if self.chance.random() < 0.3:
                run.mirror._upload_base_in_background()
        if self.chance.random() < 0.3:
            run.mirror.finish()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8))
def test_next_process_knows_every_sent_row(
    tmp_path: Path, s3: Storage, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    history = FaultyHistory(tmp_path, s3, seed)
    for _ in range(16):
        history.step()
    assert min(history.refused, history.continued, len(history.settled)) > 0


def encrypted(run: MirroredRun, mirror: JournalMirror, row: int) -> Path:
    """Add one row's password to the run's archive, and claim the row; return the last chunk."""
    to = parse_recipients([str(pyrage.x25519.Identity.generate().to_public())])
    archive = PasswordArchive(run.home.passwords, to, mirror.upload_chunk)
    archive.write([Row(row, f"user{row}", Secret("Hidden-1"), POOL, permanent=False)])
    claim(mirror, row)
    return max(run.home.passwords.iterdir())


@pytest.mark.parametrize("what", ["passwords/0+2", "redaction.key"])
def test_interrupted_restore_leaves_nothing_that_could_be_resumed(tmp_path: Path, s3: Storage, what: str) -> None:
    run = MirroredRun(tmp_path / "here")
    Redaction.load(run.home.redaction_key)
    mirror = run.begin()
    chunks = [encrypted(run, mirror, row) for row in (1, 2)]
    run.close()
    s3.configure(faults=[[f"^(GET|HEAD) .*{what}", 403, "AccessDenied", 9]])
    with pytest.raises(RunDirError, match="cannot be read"):
        restore(AT, tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    s3.configure(faults=[])
    restore(AT, tmp_path / "there")
    for chunk in chunks:
        assert (tmp_path / "there" / "passwords" / chunk.name).read_bytes() == chunk.read_bytes()


def test_uploaded_chunk_is_never_overwritten(tmp_path: Path, s3: Storage) -> None:
    run = MirroredRun(tmp_path / "here")
    mirror = run.begin()
    chunk = encrypted(run, mirror, 1)
    mirror.upload_chunk(chunk)  # as after a lost answer
    body = chunk.read_bytes()
    chunk.unlink()
    with pytest.raises(Busy, match=r"passwords/00000001\.age already exists, with other content"):
        encrypted(run, mirror, 2)
    assert s3.client.get_object(Bucket=BUCKET, Key="runs/r/passwords/00000001.age")["Body"].read() == body
    run.close()


def test_run_that_may_not_be_mirrored_says_which_right_is_missing(tmp_path: Path, s3: Storage) -> None:
    run = MirroredRun(tmp_path / "here")
    s3.configure(faults=[["^PUT ", 403, "AccessDenied", 99]])
    with pytest.raises(RecordError, match=r"Allow s3:PutObject on arn:aws:s3:::nightly/runs/r/lease\.json"):
        run.mirror.acquire()
    run.close()


@pytest.mark.usefixtures("s3")
def test_outcomes_of_a_slow_lane_are_uploaded_at_once_and_of_a_fast_one_with_the_next_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    run = MirroredRun(tmp_path / "here")
    mirror = run.begin()
    for row in (1, 2):  # claims a second apart
        claim(mirror, row)
        commit(mirror, [], [done(row)])
        now[0] += 0.05
        mirror.check()
        assert not mirror._waiting
        now[0] += 0.95
    for row in (3, 4):  # claims a quarter of a second apart, from the second one on
        now[0] += 0.25
        claim(mirror, row)
    commit(mirror, [], [done(3)])
    now[0] += OUTCOME_PUT_SECONDS - 0.01
    mirror.check()
    assert len(mirror._waiting) == 1
    now[0] += 0.02
    mirror.check()
    assert not mirror._waiting
    run.close()
