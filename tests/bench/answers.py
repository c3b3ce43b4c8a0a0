"""Hostile answers: the result of each transport and of ListUsers, with seconds, megabytes and bytes read."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bulkreset.cognito.session import open_session
from bulkreset.job import Target
from tests.cognito.conftest import POOL
from tests.cognito.hostile_answers import ANSWERS
from tests.cognito.tcp_peers import peer, read_request
from tests.cognito.test_hostile_answers import list_users, set_with_boto3, set_with_crt

DEADLINE = 1.0  # seconds: the read time-out
KINDS = ("boto3", "crt", "list")
NO_KEYS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
KEYS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}


def bench_answers(say: Callable[..., None]) -> None:
    """Measure every hostile answer, each transport in a new process. The memory is the growth of the process."""
    for kind in KINDS:
        command = [sys.executable, "-m", "tests.bench.answers", kind]
        done = subprocess.run(command, env=os.environ | NO_KEYS | KEYS, capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            name, verdict, code, seconds, memory, sent = line.split("\t")
            say(f"{kind}: {name}", verdict=verdict, code=code[:30], seconds=seconds, mb=memory, sent_mb=sent)


def _megabytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def _measure(kind: str) -> None:
    call = {"boto3": set_with_boto3, "crt": set_with_crt, "list": list_users}[kind]
    for answer in ANSWERS:
        sent = [0]

        def serve(_number: int, connection: socket.socket) -> None:
            while read_request(connection) and answer.serve(connection, sent):  # noqa: B023  (ends within the turn)
                pass

        with peer(serve) as there:
            session = open_session(
                Target(user_pool_id=POOL, region="us-east-1", endpoint_url=there.url, read_timeout=DEADLINE)
            )
            before, began = _megabytes(), time.monotonic()
            verdict, code = call(session)
            took, gained = time.monotonic() - began, _megabytes() - before
        sys.stdout.write(f"{answer.name}\t{verdict.name}\t{code}\t{took:.1f}\t{gained}\t{sent[0] >> 20}\n")


if __name__ == "__main__":
    _measure(sys.argv[1])
