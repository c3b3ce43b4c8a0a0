"""Connections to Dask's scheduler and workers that never unpickle what arrives.

Dask's own client unpickles whatever a worker or a scheduler marks as pickled, the first message included. Here the
first frame of a message is read as msgpack without hooks, and all other frames are ignored.
"""

import struct
from typing import Any, Final

from bulkreset.cluster.protocol import InvalidMessage
from bulkreset.cluster.secret_envelope import FAMILY, register_envelope

MAX_BYTES: Final = 64 * 1024 * 1024  # of one message: a report has at most some thousand rows
_LENGTH: Final = struct.Struct("<Q")


class PlainComm:
    """One connection. After an error it is closed, and cannot be used again."""

    def __init__(self, comm: Any) -> None:  # noqa: ANN401  (a class of Dask's, which is an extra)
        self._comm = comm

    @classmethod
    async def connect(cls, address: str, arguments: dict[str, Any]) -> "PlainComm":
        """Connect to an address such as "tls://10.0.0.7:8786". Raises OSError, InvalidMessage.

        `arguments` come from Dask's Security.
        """
        from distributed.comm import parse_address  # noqa: PLC0415  (an extra)
        from distributed.comm.registry import get_backend  # noqa: PLC0415  (an extra)

        register_envelope()
        scheme, place = parse_address(address)
        connector = get_backend(scheme).get_connector()
        comm = cls(await connector.connect(place, deserialize=False, **arguments))
        # The other side may use other compression than this one. Passwords do not shrink, so send them uncompressed.
        comm._comm.handshake_options = {"compression": None}
        await comm._exchange(comm._comm.handshake_info())
        return comm

    async def ask(self, op: str, **fields: object) -> Any:  # noqa: ANN401  (any plain data)
        """Call a handler of the other side and return its answer as plain data. Raises OSError, InvalidMessage."""
        return await self._exchange({"op": op, "reply": True, **fields})

    def close(self) -> None:
        """Close the connection at once."""
        self._comm.abort()

    async def _exchange(self, message: dict[str, object]) -> Any:  # noqa: ANN401  (any plain data)
        try:
            await self._comm.write(message, serializers=[FAMILY], on_error="raise")
            return await self._read()
        except BaseException:  # a late answer must not be used for the next message
            self.close()
            raise

    async def _read(self) -> Any:  # noqa: ANN401  (any plain data)
        """Read a message in Dask's format: its length, the number of frames, their lengths, and the frames."""
        stream = self._comm.stream
        if stream is None:
            raise ConnectionError
        length = _number(await stream.read_bytes(_LENGTH.size))
        first = await stream.read_bytes(_within(length))
        frames = _number(first[: _LENGTH.size])
        begin = _LENGTH.size * (1 + _within(frames))
        lengths = [_number(first[at : at + _LENGTH.size]) for at in range(_LENGTH.size, begin, _LENGTH.size)]
        rest = begin + sum(lengths) - length  # large frames come after the announced length
        if not lengths or rest < 0:
            raise InvalidMessage("frames of wrong lengths")
        if rest and _within(length + rest):
            first += await stream.read_bytes(rest)
        return _plain(first[begin : begin + lengths[0]])


def _number(text: bytes) -> int:
    if len(text) != _LENGTH.size:
        raise InvalidMessage("an incomplete message")
    return int(_LENGTH.unpack(text)[0])


def _within(length: int) -> int:
    if not 0 < length <= MAX_BYTES:
        raise InvalidMessage(f"a message of {length} bytes")
    return length


def _plain(frame: bytes) -> Any:  # noqa: ANN401  (any plain data)
    """Return the values in a msgpack frame. No object is created and no reference to another frame is followed."""
    import msgpack  # noqa: PLC0415  (an extra)

    try:
        return msgpack.unpackb(frame, raw=False, strict_map_key=False)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise InvalidMessage(type(error).__name__) from None
