"""Access to Dask's scheduler and workers with plain data: their answers are never unpickled."""

import asyncio
import logging
import os
import pickle
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Final

from bulkreset.cluster import worker_agent
from bulkreset.cluster.comm_without_pickle import PlainComm
from bulkreset.cluster.protocol import INFO, PROTOCOL, REPORT, InvalidMessage, WorkerReport, unpack
from bulkreset.cluster.secret_envelope import SecretEnvelope
from bulkreset.errors import ClusterError, missing_extra
from bulkreset.job import ClusterConfig, is_loopback
from bulkreset.version import __version__

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 30.0  # for requests to the scheduler, or to a worker before it has a lane
START_SECONDS: Final = 60.0  # for starting our own processes
SKEW_SECONDS: Final = 1.0  # allowed difference between a worker's clock and ours: leases depend on it
_CLOSING_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 0.2  # before connecting again to a scheduler that does not answer yet
_VERSION_LENGTH: Final = 64
_LIBRARIES: Final = frozenset({"distributed", "dask", "tornado", "asyncio"})
# Serve no pages or metrics over HTTP and take no profiles. The scheduler gets no tasks, so it has none to retry.
_LOCAL: Final = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.allowed-failures": 0,
}


class WorkerLost(Exception):
    """A worker or the scheduler does not answer. `dead`: the worker's process has ended and sends no more."""

    def __init__(self, *, dead: bool = False) -> None:
        super().__init__()
        self.dead = dead


class WorkerRejected(Exception):
    """A worker that must not get lanes. The message says why."""


def clock_differs(asked: float, theirs: float, answered: float) -> str:
    """Return what is wrong with a worker's clock, "" if nothing.

    The clock said `theirs` between `asked` and `answered` on ours; all are Unix times in seconds.
    """
    skew = max(asked - theirs, theirs - answered)
    return f"its clock is {skew:.1f} s from this one, and {SKEW_SECONDS:g} s are allowed" if skew > SKEW_SECONDS else ""


class DaskCluster:
    """A connection to an existing scheduler, or to our own with local worker processes.

    All methods run on the cluster runner's event loop.
    """

    def __init__(self, wanted: ClusterConfig) -> None:
        """Raise JobError if the extra is not installed."""
        if not find_spec("distributed"):
            raise missing_extra("Dask", "cluster")
        self.name = wanted.scheduler or f"{wanted.local} local processes"
        self._wanted = wanted
        self._local: Any = None
        self._scheduler = wanted.scheduler or ""
        self._arguments: dict[str, Any] = {}
        self._comms: dict[str, PlainComm] = {}
        self._pids: dict[str, int] = {}

    async def connect(self) -> None:
        """Connect to the scheduler, or start one. Raises ClusterError if that fails."""
        import dask  # noqa: PLC0415  (an extra)
        import distributed  # noqa: F401, PLC0415  (its defaults must be loaded before some are replaced for a while)

        _quiet_dask_logging()
        try:
            with warnings.catch_warnings(action="ignore"):  # Dask's version warnings; we check each worker
                if self._wanted.local:
                    with dask.config.set(_LOCAL):
                        self._local = await asyncio.wait_for(self._start(), START_SECONDS)
                    self._scheduler = self._local.scheduler_address
                security = self._local.security if self._local else self._security()
                self._arguments = security.get_connection_args("client")
                await asyncio.wait_for(self._find_scheduler(), CONNECT_SECONDS)
        except TimeoutError:
            raise self._unreachable(f"no answer within {CONNECT_SECONDS:g} s") from None
        except (OSError, ValueError, TypeError, RuntimeError, InvalidMessage) as error:
            raise self._unreachable(f"{type(error).__name__}: {error}".removesuffix(": ")) from None

    def _unreachable(self, why: str) -> ClusterError:
        return ClusterError(
            f"The cluster ({self.name}) could not be reached: {why}".rstrip(".") + ".",
            'In a script, the code that runs jobs must be below if __name__ == "__main__":'
            if self._wanted.local
            else "Check the scheduler's address, that it runs, and the certificates.",
        )

    async def _find_scheduler(self) -> None:
        """Wait until the scheduler answers. Raises OSError if its certificate is not accepted."""
        from distributed.comm.core import FatalCommClosedError  # noqa: PLC0415  (an extra)

        while True:
            try:
                await self._ask(self._scheduler, "ncores")
            except FatalCommClosedError:
                raise
            except OSError:
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return

    async def workers(self) -> Sequence[str]:
        """Return the sorted addresses of the workers. Raises WorkerLost if the scheduler does not answer."""
        try:
            known = await asyncio.wait_for(self._ask(self._scheduler, "ncores"), ANSWER_SECONDS)
        except (OSError, TimeoutError, InvalidMessage):
            raise WorkerLost from None
        if not isinstance(known, dict) or not all(isinstance(worker, str) for worker in known):
            raise WorkerLost
        for gone in self._comms.keys() - known.keys() - {self._scheduler}:
            self._comms.pop(gone).close()
        return sorted(known)

    async def handshake(self, worker: str, session: str) -> None:
        """Compare versions; start the worker agent; then compare clocks. Raises WorkerRejected, WorkerLost.

        An agent that is not used ends by itself.
        """
        if not worker.startswith("tls://") and not is_loopback(worker):
            raise WorkerRejected("passwords would go to it unencrypted over the network")
        try:
            await asyncio.wait_for(self._start_agent(worker, session), ANSWER_SECONDS)
        except (OSError, TimeoutError):
            raise WorkerLost from None
        except (InvalidMessage, KeyError, TypeError) as error:
            raise WorkerRejected(f"its answer cannot be used ({type(error).__name__})") from None

    async def _start_agent(self, worker: str, session: str) -> None:
        found = (await self._ask(worker, "versions", packages=["bulkreset"]))["packages"]["bulkreset"]
        if found != __version__:
            named = f"bulkreset {found}" if isinstance(found, str) and len(found) < _VERSION_LENGTH else "no bulkreset"
            raise WorkerRejected(f"it has {named}, and this is bulkreset {__version__}")
        # Dask's format for a function to run. Only its name is in it: the worker imports its own.
        keywords = {"ours": self._local is not None}
        started = await self._ask(
            worker,
            "run",
            function=pickle.dumps(worker_agent.start_agent),
            args=pickle.dumps((session,)),
            kwargs=pickle.dumps(keywords),
            wait=True,
        )
        if started["status"] != "OK":
            raise WorkerRejected(f"bulkreset {__version__} cannot be used there")
        began = time.time()
        (info,) = unpack(INFO, (await self._ask(worker, worker_agent.INFO_HANDLER))["info"])
        if info.protocol != PROTOCOL:
            raise WorkerRejected(f"it speaks version {info.protocol} of the protocol, and this is version {PROTOCOL}")
        if wrong := clock_differs(began, info.unix, time.time()):
            raise WorkerRejected(wrong)
        if self._local is not None:
            self._pids[worker] = info.pid

    async def exchange(
        self, worker: str, session: str, turn: int, lease: float, envelope: SecretEnvelope
    ) -> WorkerReport:
        """Run one exchange directly with the worker: the scheduler never sees a row.

        Raises OSError without an answer, InvalidMessage for a useless one, WorkerLost if the agent is gone.

        This is not a Dask actor or task: the future of an actor's method waits forever if its worker dies, and may
        repeat the call. A worker's handler is called once for each message, or the connection is lost.
        """
        from distributed.protocol import to_serialize  # noqa: PLC0415  (an extra)

        answer = await self._ask(
            worker, worker_agent.HANDLER, session=session, turn=turn, lease=lease, envelope=to_serialize(envelope)
        )
        if not isinstance(answer, dict) or "report" not in answer:
            raise InvalidMessage("no report")
        if answer["report"] is None:  # another process is at the address now
            raise WorkerLost(dead=True)
        return unpack(REPORT, answer["report"])[0]

    async def _ask(self, address: str, op: str, **fields: object) -> Any:  # noqa: ANN401  (any plain data)
        """Ask the process at an address, on the connection that is open to it. Raises OSError, InvalidMessage."""
        comm = self._comms.get(address)
        if comm is None:
            comm = self._comms[address] = await PlainComm.connect(address, self._arguments)
        try:
            return await comm.ask(op, **fields)
        except BaseException:
            self._comms.pop(address, None)
            raise

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
        while self._comms:
            self._comms.popitem()[1].close()
        if self._local is not None:
            with suppress(OSError, TimeoutError, RuntimeError):
                await asyncio.wait_for(self._local.close(), _CLOSING_SECONDS)

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


def _quiet_dask_logging() -> None:
    """Remove the stderr log handlers that Dask adds on import: our exceptions report the same problems."""
    for name in ("asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in _LIBRARIES:
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.CRITICAL)
