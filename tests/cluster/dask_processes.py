"""Dask's own command lines on loopback: a scheduler and workers over TLS, with certificates for the test."""

import ctypes
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.error import HTTPError, URLError
from urllib.parse import quote

import dask
import trustme
from distributed import Client, Security

from bulkreset.cluster.protocol import SendRows
from bulkreset.cluster.secret_envelope import SecretEnvelope
from bulkreset.models import Secret
from tests.canary import Canary, Place, files
from tests.e2e.command import Argument, Command
from tests.send.fakes import row
from tests.sim import Simulator

DASK: Final = Path(sys.executable).with_name("dask")
PATIENCE: Final = 60.0
# The most verbose settings of Dask that need no further package.
LOUD: Final = {
    **{f"DASK_LOGGING__{name}": "debug" for name in ("DISTRIBUTED", "TORNADO", "ASYNCIO", "BULKRESET")},
    "DASK_DISTRIBUTED__ADMIN__PDB_ON_ERR": "False",
    "DASK_DISTRIBUTED__WORKER__PROFILE__INTERVAL": "10ms",
    "DASK_DISTRIBUTED__WORKER__PROFILE__LOW_LEVEL": "True",
}


def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _fail(_envelope: SecretEnvelope, envelope: SecretEnvelope) -> None:
    """Fail: Dask logs the arguments of a failed task."""
    raise ValueError(envelope)


def _configuration() -> object:
    """Return Dask's configuration on a worker."""
    return dask.config.config


def _dumps() -> tuple[int, int]:
    """Return whether a worker's process may be dumped, and how large a dump may be."""
    return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0]


class DaskProcesses:
    """A cluster. `logs` is where the processes write all their output."""

    def __init__(self, folder: Path, sim: Simulator, workers: int, *, tls: bool = True) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self._folder = folder
        self._sim = sim
        self._tls = self._certificates() if tls else {}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.hidden = Canary()  # the password of a task that fails: our own tasks have none
        self.dump = folder / "dump.msgpack.gz"
        self._result = folder / "scheduler.json"
        self._wanted = workers
        host = f"{'tls' if tls else 'tcp'}://127.0.0.1"
        where = ("--host", host, "--port", "0", "--dashboard-address", "127.0.0.1:0")
        self.scheduler = self._start("scheduler", *where, "--scheduler-file", str(self._result))

    def __enter__(self) -> Self:
        try:
            until(lambda: self._result.exists() and self._result.read_text().endswith("}"))
            known = json.loads(self._result.read_text())
            self.url = str(known["address"])
            self.page = f"http://127.0.0.1:{known['services']['dashboard']}"
            self.workers = [self.join() for _ in range(self._wanted)]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    @property
    def environment(self) -> Mapping[str, str | None]:
        """Return the variables for the certificates, which a coordinator in this cluster needs."""
        return dict(self._tls)

    def join(self, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start one more worker, without a nanny that would restart it."""
        worker = (
            "worker",
            self.url,
            "--host",
            "127.0.0.1",
            "--nthreads",
            "1",
            "--no-nanny",
            "--dashboard-address",
            "127.0.0.1:0",
        )
        return self._start(*worker, "--local-directory", str(self._folder), env=env)

    def everything_shown(self) -> Iterator[Place]:
        """Return everything that the cluster shows: a failed task, all other tasks, and a dump of its state.

        Then its pages, its logs, and all files that it wrote.
        """
        with Client(self.url, security=self._security(), set_as_default=False) as client:
            envelope = SecretEnvelope.pack([SendRows((0, 0), [replace(row(7), password=Secret(self.hidden.password))])])
            future = client.submit(_fail, envelope, envelope=envelope)
            failed = future.exception()
            assert isinstance(failed, ValueError)
            client.dump_cluster_state(str(self.dump).removesuffix(".msgpack.gz"))
            asked: dict[str, object] = {
                "the failed task": (failed, traceback.format_tb(future.traceback()), future.key),
                "events": client.get_events(),
                "the scheduler's logs": client.get_scheduler_logs(),
                "the workers' logs": client.get_worker_logs(),
                "story": client.story(),
                "scheduler": client.scheduler_info(n_workers=-1),
                "call stacks": client.call_stack(),
                "profiles": (client.profile(), client.profile(server=True)),
                "configuration": client.run(_configuration),
                "dumps": set(client.run(_dumps).values()),
            }
            yield from self.pages(str(future.key))
        yield from ((name, repr(what).encode()) for name, what in asked.items())
        yield from files(self._folder)

    def pages(self, key: str = "none") -> Iterator[Place]:
        """Return every page that the scheduler and its workers list. Of the pages of tasks, return one task's."""
        logs = "".join(path.read_text(encoding="utf-8") for path in self.logs.glob("worker-*"))
        workers = re.findall(r"Start worker at: +(\S+)", logs)
        for place in json.loads(self._page(f"{self.page}/sitemap.json"))["paths"]:
            # Dask's own files, and a socket for its events
            if place.startswith(("/statics", "/eventstream", "/proxy")):
                continue
            of = [key] if "task" in place or "call-stack/" in place else workers if "(" in place else [""]
            for what in of:
                url = self.page + place.replace("(.*)", quote(what, safe=""))
                yield url, self._page(url)
        for server in re.findall(r"dashboard at: +(\S+)", logs):
            for place in ("/metrics", "/health", "/sitemap.json"):
                with suppress(URLError):  # a killed worker
                    yield server + place, self._page(f"http://{server}{place}")

    def _page(self, url: str) -> bytes:
        try:
            with urllib.request.urlopen(url) as answer:  # noqa: S310  (our own cluster's)
                found: bytes = answer.read()
        except HTTPError as refused:  # a failing page of Dask may show something, too
            with refused:
                return refused.read()
        return found

    def _security(self) -> Security:
        return Security(
            tls_ca_file=str(self._folder / "ca.pem"),
            tls_client_cert=str(self._folder / "cert.pem"),
            tls_client_key=str(self._folder / "key.pem"),
            require_encryption=True,
        )

    def joined(self, number: int) -> None:
        """Wait until so many workers have registered."""
        until(lambda: sum("Registered to" in path.read_text() for path in self.logs.glob("worker-*")) >= number)

    def _start(self, *args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        path = self.logs / f"{args[0]}-{len(self.processes)}"
        given = Command(self._folder, self._sim).environment | self._tls | LOUD | dict(env or {})
        given |= {"PYTHONPATH": os.pathsep.join(filter(None, (given.get("PYTHONPATH"),)))}
        with path.open("wb") as log:
            process = subprocess.Popen([DASK, *args], stdout=log, stderr=log, env=given, cwd=self._folder)
        self.processes.append(process)
        return process

    def _certificates(self) -> dict[str, str]:
        authority = trustme.CA()
        mine = authority.issue_cert("127.0.0.1", "localhost")
        authority.cert_pem.write_to_path(self._folder / "ca.pem")
        mine.private_key_pem.write_to_path(self._folder / "key.pem")
        mine.cert_chain_pems[0].write_to_path(self._folder / "cert.pem")
        tls = "DASK_DISTRIBUTED__COMM__TLS__"
        names = {f"{tls}CA_FILE": "ca.pem", "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}
        for role in ("SCHEDULER", "WORKER", "CLIENT"):
            names |= {f"{tls}{role}__CERT": "cert.pem", f"{tls}{role}__KEY": "key.pem"}
        return {name: value if value == "True" else str(self._folder / value) for name, value in names.items()}


class ClusterCommand(Command):
    """The command line, with its lanes on a cluster."""

    def __init__(self, home: Path, sim: Simulator, cluster: str, env: Mapping[str, str | None] | None = None) -> None:
        super().__init__(home, sim)
        self.cluster = cluster
        self.environment |= {name: value for name, value in (env or {}).items() if value is not None}

    def start(self, *args: Argument, **how: Any) -> subprocess.Popen[str]:  # noqa: ANN401  (as the base class takes it)
        """Start it, on the cluster unless the arguments say otherwise."""
        if args[0] in {"run", "resume"} and not {"--cluster", "--dry-run"} & set(args):
            args = (*args, "--cluster", self.cluster)
        return super().start(*args, **how)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group, as a crash of the machine does."""
    process.send_signal(signal.SIGKILL)
    process.wait()
