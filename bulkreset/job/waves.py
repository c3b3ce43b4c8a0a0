"""Settings for a campaign in waves: how many rows a wave has, and when the next one may be sent."""

from typing import Annotated

from pydantic import Field

from bulkreset.job.base import ConfigTable, Duration, matches

Share = Annotated[str, matches(r"(100|[0-9]{1,2}(\.[0-9]+)?)%", 'a share like "60%"')]


class WavesConfig(ConfigTable):
    """A campaign in waves; without `rows` all rows are sent at once.

    The next wave may be sent when the share `recovered` of the last wave has a password of its own again, and `after`
    (seconds, or text such as "24h") has passed since its end. If more than `max_expired` of the last wave have an
    expired temporary password, the campaign stops.
    """

    rows: int | None = Field(default=None, ge=1)
    recovered: Share = "0%"
    after: Duration | None = None
    max_expired: Share | None = None


def share_of(text: str) -> float:
    """Return a share such as "60%" as a number from 0 to 1."""
    return float(text.removesuffix("%")) / 100
