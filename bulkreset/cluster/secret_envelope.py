"""Orders with their rows' passwords on the way to a worker, hidden from everything that Dask logs and shows."""

from collections.abc import Sequence
from typing import Any, Final, Self

from bulkreset.cluster.protocol import ORDERS, WorkerOrder, pack, unpack

FAMILY: Final = "bulkreset"  # the name of the serialization among Dask's


class SecretEnvelope:
    """Orders on their way to a worker. Its repr hides the content.

    Dask logs and displays the repr of what it carries. It sees only bytes here, and the repr shows only stars.
    """

    __slots__ = ("_packed",)

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    @classmethod
    def pack(cls, orders: Sequence[WorkerOrder]) -> Self:
        """Write orders, with the Secrets of their rows."""
        return cls(pack(ORDERS, [*orders]))

    def unpack(self) -> list[WorkerOrder]:
        """Return the orders. Raises InvalidMessage."""
        return unpack(ORDERS, self._packed)

    def __repr__(self) -> str:
        return "SecretEnvelope(********)"


def register_envelope() -> None:
    """Teach Dask to carry an envelope as bytes, in this process. Nothing is pickled."""
    from distributed.protocol import register_serialization_family  # noqa: PLC0415  (an extra)

    register_serialization_family(FAMILY, _to_frames, _from_frames)


def _to_frames(envelope: object) -> tuple[dict[str, str], list[bytes]]:
    if not isinstance(envelope, SecretEnvelope):
        raise NotImplementedError
    return {"serializer": FAMILY}, [envelope._packed]  # noqa: SLF001  (its own module)


def _from_frames(_header: Any, frames: Sequence[bytes]) -> SecretEnvelope:  # noqa: ANN401  (Dask's)
    return SecretEnvelope(b"".join(frames))
