"""Announces a run, by an object in S3, to other runs with the same mirror prefix that send in the same lane."""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from bulkreset.s3 import Bucket, BucketError
from bulkreset.send.sharing import Neighbours, lane_folder, new_name

SECONDS: Final = 60.0  # how long a run counts after its last renewal
SOON: Final = 2.0  # seconds between two renewals while this run waits until another one splits the quota with it
FORGOTTEN: Final = 3600.0  # seconds after which the object of a dead run is deleted
_MAX_BYTES: Final = 4096


class S3Presence:
    """An object that this process renews. Its knowledge of other runs is as old as the last renewal.

    `mirror` is the address of the run's mirror, which no other run has: an object with it is from a dead process of
    this run. A failed renewal changes nothing: the run counts for others until SECONDS have passed. `warn` gets the
    first problem.
    """

    def __init__(
        self,
        bucket: Bucket,
        prefix: str,
        lane: str,
        mirror: str,
        run_dir: str,
        warn: Callable[[str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._bucket = bucket
        self._at = f"{prefix}lanes/{lane_folder(lane)}/"
        self._name = f"{new_name()}.json"
        self._mirror = mirror
        self._run_dir = run_dir
        self._warn = warn
        self._now = now
        self._found = Neighbours()
        self._split_by = 1
        self._warned = False
        self._over = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, name="lane", daemon=True)

    def start(self) -> "S3Presence":
        """Enter the lane, read once, and renew from now on."""
        self.renew()
        self._thread.start()
        return self

    def neighbours(self) -> Neighbours:
        """Return the other live runs, as of the last renewal."""
        return self._found

    def publish(self, split_by: int) -> None:
        """Announce soon by how many runs this one splits the quota."""
        if split_by != self._split_by:
            self._split_by = split_by
            self._wake.set()

    def renew(self) -> None:
        """Write the object again, and read those of other runs."""
        try:
            run = {"mirror": self._mirror, "run_dir": self._run_dir, "host": socket.gethostname()}
            body = {"until": self._now() + SECONDS, **run, "split_by": self._split_by}
            self._bucket.put(self._at + self._name, json.dumps(body).encode())
            self._found = self._look()
        except BucketError as error:
            if not self._warned:
                self._warned = True
                self._warn(f"{self._at}: {error.action} failed with {error.code}")

    def close(self) -> None:
        """Leave the lane."""
        self._over = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(BucketError):  # the object expires by itself
            self._bucket.delete([self._at + self._name])

    def _look(self) -> Neighbours:
        live: dict[str, tuple[str, int]] = {}
        for found in self._bucket.objects(self._at):
            name = found.uri.rpartition("/")[2]
            if name == self._name or not name.endswith(".json"):
                continue
            until, holder, split_by = self._read(found.uri)
            if until > self._now():
                live[name] = holder, split_by
            elif until < self._now() - FORGOTTEN:
                self._bucket.delete([found.uri])
        return Neighbours.of(self._name, live)

    def _read(self, uri: str) -> tuple[float, str, int]:
        """Return until when a run counts, its name, and by how many it splits.

        An object that is not ours, is missing, or is of a dead process of this run does not count.
        """
        try:
            content: Any = json.loads(self._bucket.get(uri, _MAX_BYTES)[0])
            until = 0.0 if content.get("mirror") == self._mirror else float(content["until"])
            return until, f"{content['run_dir']} on {content['host']}", int(content.get("split_by", 0))
        except (BucketError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, BucketError) and not error.is_missing:
                raise
            return self._now(), "", 0

    def _keep_renewing(self) -> None:
        while True:
            waits = self._split_by > 1 and self._found.split_by <= self._found.others
            self._wake.wait(SOON if waits else SECONDS / 4)
            self._wake.clear()
            if self._over:
                return
            self.renew()
