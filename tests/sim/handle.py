"""Start, configure, read and stop a simulator process from a test."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

from tests.sim.record import Call, Stats
from tests.sim.wire import JsonValue

_ROOT: Final = Path(__file__).resolve().parents[2]
_PATIENCE: Final = 90.0  # seconds; ends a hanging process, and decides no result
ACCESS_KEY: Final = "AKIDSIMULATED"
SIGNING_KEY: Final = "simulated"


class SimulatorError(Exception):
    """The simulator did not start, or rejected a control request."""


class Simulator:
    """A simulator in its own process. A context manager that stops it."""

    def __init__(self, **config: JsonValue) -> None:
        """Start the process and configure it with `config`, see `configure`."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.sim"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            message = "the simulator ended before it said where it listens"
            raise SimulatorError(message)
        self.url: str = json.loads(line)["url"]
        netloc = urlsplit(self.url).netloc
        self._http = http.client.HTTPConnection(netloc, timeout=_PATIENCE)
        if config:
            self.configure(**config)

    def __enter__(self) -> Self:
        """Return the running simulator."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self.close()

    def close(self) -> None:
        """End the process and wait for it; a second call does nothing."""
        process = self._process
        if hasattr(self, "_http"):
            self._http.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def pid(self) -> int:
        """Return the process id of the simulator."""
        return self._process.pid

    def environment(self, access_key: str = ACCESS_KEY) -> dict[str, str]:
        """Return the AWS variables that point a command at this simulator only."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": SIGNING_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def configure(self, **config: JsonValue) -> None:
        """Merge settings in: pools, users, quota, latency, jitter, faults and so on."""
        self._ask("POST", "configure", config)

    def add_pool(
        self,
        pool_id: str,
        usernames: Iterable[str | Mapping[str, Any]] = (),
        policy: Mapping[str, Any] | None = None,
        history: int | None = None,
        *,
        auto_users: bool = False,
        **options: JsonValue,
    ) -> None:
        """Create a pool; `policy` in the API's names, users as names or as fields.

        `options` are its other settings, see `configure`; `generate` makes up to millions of users.
        """
        spec = {
            "users": list(usernames),
            "policy": policy,
            "history": history,
            "auto_users": auto_users,
            **options,
        }
        self.configure(pools={pool_id: spec})

    def calls(self, operation: str | None = None, since: int = 0) -> list[Call]:
        """Return the calls that arrived, of one operation or all, in order of arrival."""
        calls = [Call(**raw) for raw in self._ask("GET", f"calls?since={since}")]
        return [call for call in calls if operation in {None, call.operation}]

    def stats(self) -> Stats:
        """Return the counts since the start or the last reset."""
        return Stats(**self._ask("GET", "stats"))

    def model_faults(self) -> list[str]:
        """Return where requests, answers and errors violate botocore's model; needs check_model."""
        faults: list[str] = self._ask("GET", "model_faults")
        return faults

    def users(self, pool_id: str) -> dict[str, dict[str, Any]]:
        """Return each user's password, status, enabled, applied and sign_outs.

        Generated users are included only if they were changed.
        """
        path = f"users?pool={quote(pool_id)}"
        users: dict[str, dict[str, Any]] = self._ask("GET", path)
        return users

    def passwords(self, pool_id: str) -> dict[str, str | None]:
        """Return each user's current password."""
        return {name: user["password"] for name, user in self.users(pool_id).items()}

    def reset(self) -> None:
        """Remove everything: pools, settings, faults and calls."""
        self._ask("POST", "reset", {})

    def _ask(self, method: str, path: str, body: object = None) -> JsonValue:
        data = None if body is None else json.dumps(body).encode()
        self._http.request(method, f"/_sim/{path}", data)
        response = self._http.getresponse()
        answer = json.loads(response.read())
        if response.status != http.client.OK:
            raise SimulatorError(answer["error"])
        return answer
