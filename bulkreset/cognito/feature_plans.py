"""The feature plans of user pools, and how far back each plan can restore a pool."""

from collections.abc import Mapping

DAY_SECONDS = 86_400
# How old a recovery point may be, by feature plan. The plan LITE has no recovery.
WINDOW_SECONDS: Mapping[str, int] = {"ESSENTIALS": DAY_SECONDS, "PLUS": 14 * DAY_SECONDS}
NO_RECOVERY_TIER = "LITE"
