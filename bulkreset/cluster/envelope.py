"""The parcel: rows with their passwords, packed for the way to a worker; the one place that serialises a Secret."""

import io
import pickle
from typing import Any, Self

from bulkreset.models import Secret


class _Packer(pickle.Pickler):
    """A pickler that knows Secrets, which refuse every other one."""

    def reducer_override(self, value: object) -> Any:  # noqa: ANN401  (as pickle has it)
        return (Secret, (value.reveal(),)) if isinstance(value, Secret) else NotImplemented


class SecretEnvelope:
    """Something on its way to a worker. It shows itself to nobody, and arrives as what it was.

    Dask logs and shows what it carries by its repr; what is in here is bytes to it, and stars to who looks.
    """

    __slots__ = ("_packed",)

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    @classmethod
    def pack(cls, content: object) -> Self:
        """Pack it."""
        buffer = io.BytesIO()
        _Packer(buffer, pickle.HIGHEST_PROTOCOL).dump(content)
        return cls(buffer.getvalue())

    def unpack(self) -> Any:  # noqa: ANN401  (whatever was packed)
        """What is in it. To be asked only of a parcel that came over a connection to one's own coordinator."""
        return pickle.loads(self._packed)  # noqa: S301  (as everything that Dask carries)

    def __repr__(self) -> str:
        return "SecretEnvelope(********)"

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (self._packed,)
