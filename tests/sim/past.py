"""A pool's past for a point-in-time recovery, and the recoveries themselves; no I/O."""

from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final

from tests.sim.errors import ApiError
from tests.sim.users import User

Json = dict[str, Any]
GENERATING: Final = "PREVIEW_GENERATING"
GENERATED: Final = "PREVIEW_GENERATED"
CANCELLED: Final = "PREVIEW_CANCELLED"
FAILED: Final = "PREVIEW_GENERATION_FAILED"
RESTORING: Final = "RESTORING"
COMPLETED: Final = "RESTORE_COMPLETED"
ACTIVE: Final = frozenset({GENERATING, GENERATED, RESTORING})
EARLIEST: Final = 15 * 60
DAY: Final = 86_400
WINDOWS: Final = {"ESSENTIALS": DAY, "PLUS": 14 * DAY}


@dataclass(slots=True)
class Restoration:
    """One recovery. `polls`: how many descriptions a preview and a restore still take."""

    id: str
    point: float
    triggered: float
    status: str = GENERATING
    polls: int = 0
    preview: list[Json] = field(default_factory=list)

    def shown(self, *, whole: bool) -> Json:
        """Return the RestorationType, or the part of it that a list has."""
        found: Json = {"RestoreId": self.id, "RestoreStatus": self.status, "RestoreTimestamp": self.point}
        if whole:
            found["TriggerTimestamp"] = self.triggered
            if self.status != GENERATING:
                found["RestorePreview"] = self.preview
        return found


@dataclass(slots=True)
class Past:
    """Earlier states of users before each change, and the recoveries, the newest first.

    `polls` is how many descriptions a preview and a restore take. `keeps`: users whose password was set since the point
    keep it, whoever set it. The API's documentation does not say.
    """

    polls: int = 1
    keeps: bool = False
    fails: bool = False  # no preview can be generated
    changes: list[tuple[float, str, User | None]] = field(default_factory=list)
    restorations: list[Restoration] = field(default_factory=list)

    @property
    def active(self) -> Restoration | None:
        """Return the recovery that is in progress."""
        return next((one for one in self.restorations if one.status in ACTIVE), None)

    def note(self, now: float, key: str, before: User | None) -> None:
        """Store a user's state before a change; None: the user is created."""
        self.changes.append((now, key, copy(before)))

    def since(self, point: float) -> dict[str, User | None]:
        """Return each user that was changed after the point, in its state at the point."""
        found: dict[str, User | None] = {}
        for at, key, before in self.changes:
            if at > point and key not in found:
                found[key] = before
        return found


def require_writable(past: Past | None) -> None:
    """Refuse a write while a recovery is in progress."""
    if past and past.active:
        raise ApiError("OperationNotEnabledException", "Write operations are paused during a recovery.")
