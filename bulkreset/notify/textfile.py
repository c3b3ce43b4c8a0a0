"""The metrics in a text file for the textfile collector of Prometheus's node exporter."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bulkreset.files import atomic_file, read_small_file
from bulkreset.notify.metrics import RunMetrics

FINISHED = "bulkreset_last_finished_timestamp_seconds"
SUCCESS = "bulkreset_last_success_timestamp_seconds"
_LANE = ("job", "account", "region")


def write_textfile(path: Path, figures: RunMetrics) -> None:
    """Replace the metrics in `path`; the times of the last success and the last end are kept. Raises OSError.

    The file gets its name only when it is complete. Everybody can read it, because the exporter runs as another user.
    """
    registry = registry_of(figures, {name: when for name, when in _read_previous(path) if name in {FINISHED, SUCCESS}})
    with atomic_file(path, mode=0o644) as file:
        file.write(generate_latest(registry))


def _read_previous(path: Path) -> Iterator[tuple[str, float]]:
    """Yield (metric name, value) from the current file. Yields nothing if it is missing or cannot be parsed."""
    with contextlib.suppress(OSError, ValueError):
        for family in text_string_to_metric_families(read_small_file(path).decode()):
            yield from ((sample.name, sample.value) for sample in family.samples)


def registry_of(figures: RunMetrics, kept: Mapping[str, float] = MappingProxyType({})) -> CollectorRegistry:
    """Return the metrics. `kept` are the times of earlier executions by name of the metric."""
    registry = CollectorRegistry()

    def put(name: str, what: str, value: float | None) -> None:
        if value is not None:
            Gauge(name, what, ["job"], registry=registry).labels(figures.job).set(value)

    now = time.time()
    rows = Gauge("bulkreset_rows", "Rows of the run by status.", ["job", "status"], registry=registry)
    for status, number in figures.rows.items():
        rows.labels(figures.job, status).set(number)
    put("bulkreset_attempts", "Calls of AdminSetUserPassword in the run.", figures.attempts)
    put("bulkreset_throttled", "How many of them were throttled.", figures.throttled)
    put("bulkreset_rows_per_second", "Rows finished per second, lately or over the run.", figures.rate)
    put("bulkreset_ceiling", "Calls per second that the lanes may send together.", figures.ceiling)
    put("bulkreset_duration_seconds", "Of this execution so far.", figures.seconds)
    put("bulkreset_running", "1 while an execution is running.", figures.exit_code is None)
    put("bulkreset_updated_timestamp_seconds", "Time of these figures.", now)
    put("bulkreset_exit_code", "Of the execution that ended last.", figures.exit_code)
    finished = now if figures.finished else kept.get(FINISHED)
    succeeded = now if figures.succeeded else kept.get(SUCCESS)
    put(FINISHED, "When a run last came to its end: exit code 0 or 1.", finished)
    put(SUCCESS, "When every row was last set or skipped: exit code 0.", succeeded)
    _render_lanes(figures, registry)
    return registry


def _render_lanes(figures: RunMetrics, registry: CollectorRegistry) -> None:
    if not figures.lanes:
        return
    rows = Gauge("bulkreset_lane_rows", "Rows of a lane by status.", [*_LANE, "status"], registry=registry)
    gauges = {
        "rate": Gauge("bulkreset_lane_rate", "Calls per second in the last execution.", _LANE, registry=registry),
        "quota": Gauge("bulkreset_lane_quota", "Calls per second that AWS allows.", _LANE, registry=registry),
        "ceiling": Gauge("bulkreset_lane_ceiling", "Calls per second that are sent at most.", _LANE, registry=registry),
    }
    for lane in figures.lanes:
        labels = (figures.job, lane.account, lane.region)
        for status, number in lane.counts.items():
            rows.labels(*labels, status).inc(number)  # lanes with unknown accounts may share the same labels
        for name, gauge in gauges.items():
            if (value := getattr(lane, name)) is not None:
                gauge.labels(*labels).set(value)
