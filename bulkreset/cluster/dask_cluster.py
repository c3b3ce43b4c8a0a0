"""Access to Dask's scheduler and workers. No other module on the coordinator's side uses Dask."""

import asyncio
import logging
import os
import time
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final, Protocol, TypeVar

from bulkreset.cluster import worker_agent
from bulkreset.cluster.envelope import SecretEnvelope
from bulkreset.cluster.protocol import PROTOCOL, WorkerInfo, WorkerReport
from bulkreset.errors import ClusterError, JobError
from bulkreset.job import ClusterConfig, is_loopback
from bulkreset.version import __version__

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 30.0  # for requests to the scheduler, or to a worker before it has a lane
START_SECONDS: Final = 60.0  # for starting our own processes
SKEW_SECONDS: Final = 1.0  # allowed difference between a worker's clock and ours: leases depend on it
_CLOSING_SECONDS: Final = 5.0
_LIBRARIES: Final = frozenset({"distributed", "dask", "tornado", "asyncio"})
# Serve no pages or metrics over HTTP and take no profiles. The scheduler gets no tasks, so it has none to retry.
_LOCAL: Final = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.allowed-failures": 0,
}
T = TypeVar("T")


class WorkerLost(Exception):
    """A worker or the scheduler does not answer. `dead`: the worker's process has ended and sends no more."""

    def __init__(self, *, dead: bool = False) -> None:
        super().__init__()
        self.dead = dead


class WorkerRejected(Exception):
    """A worker that must not get lanes. The message says why."""


def clock_differs(asked: float, told: float, answered: float) -> str:
    """Return what is wrong with a worker's clock, "" if nothing.

    The clock said `told` between `asked` and `answered` on ours; all are Unix times in seconds.
    """
    skew = max(asked - told, told - answered)
    return f"its clock is {skew:.1f} s from this one, and {SKEW_SECONDS:g} s are allowed" if skew > SKEW_SECONDS else ""


class ClusterProtocol(Protocol):
    """What the cluster runner needs of a cluster. All methods run on the cluster runner's event loop."""

    name: str

    async def connect(self) -> None:
        """Connect to the scheduler. Raises ClusterError if that fails."""

    async def workers(self) -> Sequence[str]:
        """Return the addresses of the workers. Raises WorkerLost if the scheduler is gone."""

    async def handshake(self, worker: str, session: str) -> None:
        """Start an agent on a worker. Raises WorkerRejected if none is allowed there, WorkerLost if it is gone."""

    async def exchange(
        self, worker: str, session: str, turn: int, lease: float, parcel: SecretEnvelope
    ) -> WorkerReport:
        """Run one exchange with a worker agent. Raises OSError if there is no answer, WorkerLost if the agent is gone."""

    def is_dead(self, worker: str) -> bool:
        """Return whether the worker's process is known to have ended."""

    async def close(self) -> None:
        """Disconnect."""


class DaskCluster:
    """A connection to an existing scheduler, or to our own with local worker processes."""

    def __init__(self, wanted: ClusterConfig) -> None:
        """Raise JobError if the extra is not installed."""
        if not find_spec("distributed"):
            raise JobError(
                "Dask is not installed.", "Install bulkreset with its extra: pip install 'bulkreset[cluster]'."
            )
        self.name = wanted.scheduler or f"{wanted.local} local processes"
        self._wanted = wanted
        self._client: Any = None
        self._local: Any = None
        self._pids: dict[str, int] = {}

    async def connect(self) -> None:
        """Connect to the scheduler, or start one. Raises ClusterError if that fails."""
        import dask  # noqa: PLC0415  (an extra)
        from distributed import Client  # noqa: PLC0415  (an extra)

        _quiet_dask_logging()
        try:
            with warnings.catch_warnings(action="ignore"):  # Dask's version warnings; we check each worker
                if self._wanted.local:
                    with dask.config.set(_LOCAL):
                        self._local = await asyncio.wait_for(self._start(), START_SECONDS)
                security = self._local.security if self._local else self._security()
                self._client = Client(
                    self._local or self._wanted.scheduler,
                    security=security,
                    asynchronous=True,
                    direct_to_workers=True,
                    set_as_default=False,
                    timeout=CONNECT_SECONDS,
                )
                await self._client  # already in self._client, so that a client that fails to start is closed, too
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise ClusterError(
                f"The cluster ({self.name}) could not be reached: {type(error).__name__}: {error}".rstrip(".") + ".",
                'In a script, what runs jobs belongs below if __name__ == "__main__":'
                if self._wanted.local
                else "Check the scheduler's address, that it runs, and the certificates.",
            ) from None

    async def workers(self) -> Sequence[str]:
        """Return the sorted addresses of the workers. Raises WorkerLost if the scheduler does not answer."""
        if self._client.status != "running":
            raise WorkerLost
        try:
            known = await asyncio.wait_for(self._client.scheduler.ncores(), ANSWER_SECONDS)
        except (OSError, TimeoutError):
            raise WorkerLost from None
        return sorted(known)

    async def handshake(self, worker: str, session: str) -> None:
        """Compare versions, then clocks; then start the worker agent. Raises WorkerRejected, WorkerLost."""
        if not worker.startswith("tls://") and not is_loopback(worker):
            raise WorkerRejected("passwords would go to it over the network in the open")
        found = await self._run(worker, version, "bulkreset")
        if found != __version__:
            raise WorkerRejected(f"it has bulkreset {found}, and this is bulkreset {__version__}")
        began = time.time()
        greeting: WorkerInfo = await self._run(worker, worker_agent.handshake, ours=self._local is not None)
        if greeting.protocol != PROTOCOL:
            raise WorkerRejected(
                f"it speaks version {greeting.protocol} of the protocol, and this is version {PROTOCOL}"
            )
        if wrong := clock_differs(began, greeting.unix, time.time()):
            raise WorkerRejected(wrong)
        if self._local is not None:
            self._pids[worker] = greeting.pid
        await self._run(worker, worker_agent.start_agent, session)

    async def exchange(
        self, worker: str, session: str, turn: int, lease: float, parcel: SecretEnvelope
    ) -> WorkerReport:
        """Run one exchange directly with the worker: the scheduler never sees a row.

        This is not a Dask actor or task: the future of an actor's method waits forever if its worker dies, and may
        repeat the call. A worker's handler is called once for each message, or the connection is lost.
        """
        from distributed.protocol import to_serialize  # noqa: PLC0415  (an extra)

        call = getattr(self._client.rpc(worker), worker_agent.HANDLER)
        answer = await call(session=session, turn=turn, lease=lease, parcel=to_serialize(parcel))
        report: WorkerReport | None = answer["report"]
        if report is None:  # another process is at the address now
            raise WorkerLost(dead=True)
        return report

    def is_dead(self, worker: str) -> bool:
        """Return whether the worker's process has ended. This is known only of our own processes."""
        try:
            os.kill(self._pids[worker], 0)
        except ProcessLookupError:
            return True
        except (KeyError, OSError):
            return False
        return False

    async def close(self) -> None:
        """Disconnect from the scheduler; end it and its workers if they are ours."""
        for what in (self._client, self._local):
            if what is not None:
                try:
                    await asyncio.wait_for(what.close(), _CLOSING_SECONDS)
                except (OSError, TimeoutError, RuntimeError):
                    continue

    async def _start(self) -> Any:  # noqa: ANN401  (a class of Dask's, which is an extra)
        """Start scheduler and workers on loopback with a temporary certificate.

        Nobody else can join: anyone who can send Dask commands can do everything that we can.
        """
        from distributed import LocalCluster, Security  # noqa: PLC0415  (an extra)

        return await LocalCluster(
            n_workers=self._wanted.local,
            threads_per_worker=1,
            processes=True,
            asynchronous=True,
            host="127.0.0.1",
            protocol="tls://",
            security=Security.temporary(),
            dashboard_address=None,
            worker_dashboard_address=None,
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )

    def _security(self) -> Any:  # noqa: ANN401  (as above)
        """Return the job's certificates, or those of Dask's configuration.

        Raises ClusterError if they are missing or unreadable.
        """
        from distributed import Security  # noqa: PLC0415  (an extra)

        wanted = self._wanted
        given = {
            "tls_ca_file": wanted.tls_ca_file,
            "tls_client_cert": wanted.tls_cert,
            "tls_client_key": wanted.tls_key,
        }
        for name, path in given.items():
            if path is not None and not os.access(path, os.R_OK):
                raise ClusterError(f"cluster.{name.replace('_client', '')}: {path} cannot be read.", "Name a PEM file.")
        encrypted = (wanted.scheduler or "").startswith("tls://")
        named = {name: str(path) for name, path in given.items() if path is not None}
        security = Security(require_encryption=encrypted, **named)
        if encrypted and security.get_connection_args("client").get("ssl_context") is None:
            raise ClusterError(
                f"The cluster ({self.name}) needs certificates, and neither [cluster] nor Dask's own configuration names all of them.",
                "Set cluster.tls_ca_file, cluster.tls_cert and cluster.tls_key.",
            )
        return security

    async def _run(self, worker: str, function: Any, *args: Any, **keywords: Any) -> Any:  # noqa: ANN401  (what it returns)
        """Return the result of a function run on a worker, outside its tasks. Raises WorkerLost, WorkerRejected."""
        asked = self._client.run(function, *args, workers=[worker], on_error="return", **keywords)
        try:
            answer = (await asyncio.wait_for(asked, ANSWER_SECONDS)).get(worker)
        except (OSError, TimeoutError):
            raise WorkerLost from None
        if isinstance(answer, OSError) or (answer is None and function is not worker_agent.start_agent):
            raise WorkerLost
        if isinstance(answer, Exception):
            raise WorkerRejected(f"bulkreset {__version__} cannot be used there ({type(answer).__name__})")
        return answer


def _quiet_dask_logging() -> None:
    """Remove the stderr log handlers that Dask adds on import: our exceptions report the same problems."""
    for name in ("asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in _LIBRARIES:
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.CRITICAL)
