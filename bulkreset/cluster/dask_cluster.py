"""The cluster: Dask's scheduler and workers as the fleet needs them; the only module of the coordinator that knows Dask."""

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
ANSWER_SECONDS: Final = 30.0  # for what is asked of the scheduler, or of a worker before it has a lane
START_SECONDS: Final = 60.0  # for processes of our own
SKEW_SECONDS: Final = 1.0  # how far a worker's clock may be from ours: leases end by it
_CLOSING_SECONDS: Final = 5.0
_LIBRARIES: Final = frozenset({"distributed", "dask", "tornado", "asyncio"})
# No pages and no figures of ours over HTTP, no profiles; the scheduler is given no task, so it has none to run again.
_LOCAL: Final = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.allowed-failures": 0,
}
T = TypeVar("T")


class WorkerLost(Exception):
    """Nobody answers. `dead`: and nobody can be there who sends on."""

    def __init__(self, *, dead: bool = False) -> None:
        super().__init__()
        self.dead = dead


class WorkerRejected(Exception):
    """A worker that may have no lane, and why."""


def clock_differs(asked: float, told: float, answered: float) -> str:
    """What is wrong with a clock that told its Unix time between two moments on ours; "" where nothing is."""
    skew = max(asked - told, told - answered)
    return f"its clock is {skew:.1f} s from this one, and {SKEW_SECONDS:g} s are allowed" if skew > SKEW_SECONDS else ""


class ClusterProtocol(Protocol):
    """What the fleet needs of a cluster. All of it runs on the fleet's own event loop."""

    name: str

    async def connect(self) -> None:
        """Reach the scheduler. Raises FleetError where that is not possible."""

    async def workers(self) -> Sequence[str]:
        """The addresses of the workers. Raises Lost where the scheduler is gone."""

    async def handshake(self, worker: str, session: str) -> None:
        """Make an outpost on a worker. Raises Unfit where it may have none, Lost where it is gone."""

    async def exchange(
        self, worker: str, session: str, turn: int, lease: float, parcel: SecretEnvelope
    ) -> WorkerReport:
        """One turn with an outpost. Raises OSError where there was no answer, Lost where the outpost is gone."""

    def is_dead(self, worker: str) -> bool:
        """Whether the worker's process is known to have ended."""

    async def close(self) -> None:
        """Let it go."""


class DaskCluster:
    """A scheduler that somebody runs, or one of our own with local processes."""

    def __init__(self, wanted: ClusterConfig) -> None:
        """Raises JobError where the extra is not installed."""
        if not find_spec("distributed"):
            raise JobError(
                "Dask is not installed.", "Install bulkreset with its extra: pip install 'bulkreset[fleet]'."
            )
        self.name = wanted.scheduler or f"{wanted.local} local processes"
        self._wanted = wanted
        self._client: Any = None
        self._local: Any = None
        self._pids: dict[str, int] = {}

    async def connect(self) -> None:
        """Reach the scheduler, or start one. Raises FleetError where that is not possible."""
        import dask  # noqa: PLC0415  (an extra)
        from distributed import Client  # noqa: PLC0415  (an extra)

        _quiet_dask_logging()
        try:
            with warnings.catch_warnings(action="ignore"):  # Dask's on versions; ours are compared one by one
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
                await self._client  # held before: one that does not come up is closed, too
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise ClusterError(
                f"The fleet ({self.name}) could not be reached: {type(error).__name__}: {error}".rstrip(".") + ".",
                'In a script, what runs jobs belongs below if __name__ == "__main__":'
                if self._wanted.local
                else "Check the scheduler's address, that it runs, and the certificates.",
            ) from None

    async def workers(self) -> Sequence[str]:
        """The workers that the scheduler has."""
        if self._client.status != "running":
            raise WorkerLost
        try:
            known = await asyncio.wait_for(self._client.scheduler.ncores(), ANSWER_SECONDS)
        except (OSError, TimeoutError):
            raise WorkerLost from None
        return sorted(known)

    async def handshake(self, worker: str, session: str) -> None:
        """Compare versions, then clocks; then settle in."""
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
        """Straight to the worker: the scheduler never has a row.

        No actor and no task does this: the future of an actor's method waits for ever when its worker dies, and may make
        the call once more; a handler of the worker is called once for each message, or the connection is lost.
        """
        from distributed.protocol import to_serialize  # noqa: PLC0415  (an extra)

        call = getattr(self._client.rpc(worker), worker_agent.HANDLER)
        answer = await call(session=session, turn=turn, lease=lease, parcel=to_serialize(parcel))
        report: WorkerReport | None = answer["report"]
        if report is None:  # another process is at the address now
            raise WorkerLost(dead=True)
        return report

    def is_dead(self, worker: str) -> bool:
        """Known of our own processes only."""
        try:
            os.kill(self._pids[worker], 0)
        except ProcessLookupError:
            return True
        except (KeyError, OSError):
            return False
        return False

    async def close(self) -> None:
        """Leave the scheduler, or end it with its workers."""
        for what in (self._client, self._local):
            if what is not None:
                try:
                    await asyncio.wait_for(what.close(), _CLOSING_SECONDS)
                except (OSError, TimeoutError, RuntimeError):
                    continue

    async def _start(self) -> Any:  # noqa: ANN401  (a class of Dask's, which is an extra)
        """Scheduler and workers on loopback, which nobody else can join: who can give Dask an order can do all that we can."""
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
        """The job's certificates, or those of Dask's own configuration."""
        from distributed import Security  # noqa: PLC0415  (an extra)

        wanted = self._wanted
        given = {
            "tls_ca_file": wanted.tls_ca_file,
            "tls_client_cert": wanted.tls_cert,
            "tls_client_key": wanted.tls_key,
        }
        for name, path in given.items():
            if path is not None and not os.access(path, os.R_OK):
                raise ClusterError(f"fleet.{name.replace('_client', '')}: {path} cannot be read.", "Name a PEM file.")
        encrypted = (wanted.scheduler or "").startswith("tls://")
        named = {name: str(path) for name, path in given.items() if path is not None}
        security = Security(require_encryption=encrypted, **named)
        if encrypted and security.get_connection_args("client").get("ssl_context") is None:
            raise ClusterError(
                f"The fleet ({self.name}) needs certificates, and neither [fleet] nor Dask's own configuration names all of them.",
                "Set fleet.tls_ca_file, fleet.tls_cert and fleet.tls_key.",
            )
        return security

    async def _run(self, worker: str, function: Any, *args: Any, **keywords: Any) -> Any:  # noqa: ANN401  (what it returns)
        """Have a function run on a worker, outside of its tasks."""
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
    """Dask opens handlers on standard error when it is imported: what it has to say there is said by what is raised."""
    for name in ("asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in _LIBRARIES:
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.CRITICAL)
