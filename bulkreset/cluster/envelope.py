"""Serialization of rows with their passwords for a worker. Only this module serializes a Secret."""

import io
import pickle
from typing import Any, Self

from bulkreset.models import Secret


class _Packer(pickle.Pickler):
    """A pickler that can pickle a Secret; a Secret refuses every other pickler."""

    def reducer_override(self, value: object) -> Any:  # noqa: ANN401  (pickle's signature)
        return (Secret, (value.reveal(),)) if isinstance(value, Secret) else NotImplemented


class SecretEnvelope:
    """Content on its way to a worker. Its repr hides the content.

    Dask logs and displays the repr of what it carries. It sees only bytes here, and the repr shows only stars.
    """

    __slots__ = ("_packed",)

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    @classmethod
    def pack(cls, content: object) -> Self:
        """Pickle `content`, including its Secrets."""
        buffer = io.BytesIO()
        _Packer(buffer, pickle.HIGHEST_PROTOCOL).dump(content)
        return cls(buffer.getvalue())

    def unpack(self) -> Any:  # noqa: ANN401  (any content)
        """Return the content. Call it only on an envelope received over the connection to the own coordinator."""
        return pickle.loads(self._packed)  # noqa: S301  (Dask unpickles all its messages, too)

    def __repr__(self) -> str:
        return "SecretEnvelope(********)"

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (self._packed,)
