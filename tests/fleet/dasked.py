"""Dask's own command lines on loopback: a scheduler and workers over TLS, with certificates made for the test."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import trustme
from distributed import Client, Security

from bulkreset.fleet.parcel import Parcel
from tests.dispatch.fakes import row
from tests.e2e.command import Argument, Command
from tests.sim import Simulator

DASK: Final = Path(sys.executable).with_name("dask")
PATIENCE: Final = 60.0


def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until it holds."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _fail(_parcel: Parcel, parcel: Parcel) -> None:
    """A task that fails: Dask logs its arguments."""
    raise ValueError(parcel)


class Dasked:
    """A cluster. `logs` is where the processes write what they have to say, all of it."""

    def __init__(self, folder: Path, sim: Simulator, workers: int, *, tls: bool = True) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self._folder = folder
        self._sim = sim
        self._tls = self._certificates() if tls else {}
        self.processes: list[subprocess.Popen[bytes]] = []
        self._told = folder / "scheduler.json"
        self._wanted = workers
        host = f"{'tls' if tls else 'tcp'}://127.0.0.1"
        where = ("--host", host, "--port", "0", "--dashboard-address", "127.0.0.1:0")
        self.scheduler = self._start("scheduler", *where, "--scheduler-file", str(self._told))

    def __enter__(self) -> Self:
        try:
            until(lambda: self._told.exists() and self._told.read_text().endswith("}"))
            known = json.loads(self._told.read_text())
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
        """Where Dask's own configuration finds the certificates: what a coordinator in this cluster needs."""
        return dict(self._tls)

    def join(self, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """One more worker, without a nanny that would start it again."""
        worker = ("worker", self.url, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        return self._start(*worker, "--local-directory", str(self._folder), env=env)

    def told(self) -> bytes:
        """Everything that the cluster tells: its logs, its pages, its events, and what it knows of its tasks."""
        found = [path.read_bytes() for path in self.logs.iterdir()]
        for page in ("/json/identity.json", "/json/counts.json", "/metrics", "/info/main/workers.html"):
            with urllib.request.urlopen(self.page + page) as answer:  # noqa: S310  (our own scheduler's)
                found.append(answer.read())
        security = Security(
            tls_ca_file=str(self._folder / "ca.pem"),
            tls_client_cert=str(self._folder / "cert.pem"),
            tls_client_key=str(self._folder / "key.pem"),
            require_encryption=True,
        )
        with Client(self.url, security=security, set_as_default=False) as client:
            future = client.submit(_fail, Parcel.of([row(7)]), parcel=Parcel.of([row(7)]))
            assert isinstance(future.exception(), ValueError)
            known = (client.get_events(), client.get_scheduler_logs(), client.get_worker_logs(), client.story())
            found += [repr(what).encode() for what in (*known, client.scheduler_info(n_workers=-1))]
        return b"\n".join([*found, *(path.read_bytes() for path in self.logs.iterdir())])

    def joined(self, number: int) -> None:
        """Wait until so many workers have registered."""
        until(lambda: sum("Registered to" in path.read_text() for path in self.logs.glob("worker-*")) >= number)

    def _start(self, *args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        path = self.logs / f"{args[0]}-{len(self.processes)}"
        given = Command(self._folder, self._sim).environment | self._tls | dict(env or {})
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


class FleetCommand(Command):
    """The command line, on a fleet wherever it sends."""

    def __init__(self, home: Path, sim: Simulator, fleet: str, env: Mapping[str, str | None] | None = None) -> None:
        super().__init__(home, sim)
        self.fleet = fleet
        self.environment |= {name: value for name, value in (env or {}).items() if value is not None}

    def start(
        self,
        *args: Argument,
        env: Mapping[str, str | None] | None = None,
        terminal: int | None = None,
        out: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start it, on the fleet unless the test says otherwise."""
        if args[0] in {"run", "resume"} and not {"--fleet", "--dry-run"} & set(args):
            args = (*args, "--fleet", self.fleet)
        return super().start(*args, env=env, terminal=terminal, out=out)


def kill(process: subprocess.Popen[bytes]) -> None:
    """As a machine goes."""
    process.send_signal(signal.SIGKILL)
    process.wait()
