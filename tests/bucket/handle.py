"""Start, fill, configure, read and stop an S3 process from a test."""

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import boto3

from bulkreset.s3 import Bucket

_ROOT: Final = Path(__file__).resolve().parents[2]
_PATIENCE: Final = 90.0
BUCKET: Final = "nightly"
_MAKE: Final = Bucket.__dict__["client"].func
_CLIENTS: Final[dict[object, Any]] = {}


def shared_client(bucket: Bucket) -> Any:  # noqa: ANN401  (a client of S3)
    """Return a client shared by all equal buckets. It replaces `Bucket.client`."""
    like = (bucket.profile, bucket.region, bucket.tries, os.environ.get("AWS_ENDPOINT_URL_S3"))
    if like not in _CLIENTS:
        _CLIENTS[like] = _MAKE(bucket)
    return _CLIENTS[like]


class Storage:
    """A running S3 with one bucket. A context manager that stops it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bucket"], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["url"]
        self._http = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=_PATIENCE)
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="AKIDSIMULATED",
            aws_secret_access_key="simulated",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self.client.close()
        self._process.terminate()
        self._process.wait(timeout=_PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def reset(self) -> None:
        """Empty the bucket and remove faults and counts."""
        self.configure(latency=0.0, faults=[], ignored=[], reset=True)
        self.client.create_bucket(Bucket=BUCKET)

    def configure(self, **config: Any) -> list[list[str]]:  # noqa: ANN401  (JSON)
        """Merge settings and return the requests so far.

        `latency` is seconds. `faults` are [pattern over "METHOD path?query", status, code, times], applied in order;
        status 0
        cuts the answer's body in the middle. `ignored` are request headers that it does not know.
        """
        self._http.request("POST", "/_bucket", json.dumps(config))
        found: list[list[str]] = json.loads(self._http.getresponse().read())
        return found

    def requests(self, method: str = "") -> list[str]:
        """Return the requests that arrived, of one method or all: "METHOD path?query"."""
        return [f"{how} {what}" for how, what in self.configure() if method in {"", how}]

    def put(self, key: str, body: bytes | Path) -> str:
        """Write an object and return its address."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=body if isinstance(body, bytes) else body.read_bytes())
        return f"s3://{BUCKET}/{key}"

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def environment(self) -> dict[str, str]:
        """Return the environment variable that points the command's S3 here."""
        return {"AWS_ENDPOINT_URL_S3": self.url, "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required"}
