"""Traces and metrics of an execution for an OpenTelemetry collector. No username and no password is in them."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

from bulkreset.errors import BulkresetError
from bulkreset.job import Job
from bulkreset.models import LaneSummary
from bulkreset.notify.metrics import RunMetrics
from bulkreset.version import __version__

if TYPE_CHECKING:  # optional dependency
    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import SpanProcessor
    from prometheus_client import Metric

EVERY_MS: Final = 15_000  # between two exports of the metrics
TIMEOUT: Final = 5  # seconds of an export; a collector that does not answer must not delay the end of a run
KEPT_SECONDS: Final = 5.0  # all metrics of one export show one point in time
CLAIM_SECONDS: Final = 1.0  # between two claims that get a span

Value = str | int | float | bool


class Telemetry:
    """Makes spans of the parts of an execution. This class sends nothing."""

    def span(self, _name: str, /, **_attributes: Value) -> AbstractContextManager[None]:
        """Return a context manager that makes the block a span below the current one."""
        return nullcontext()

    def claim(self, _rows: int, /) -> AbstractContextManager[None]:
        """Return a context manager for the commit of a claim; one in CLAIM_SECONDS becomes a span."""
        return nullcontext()


class OtelTelemetry(Telemetry):
    """Spans and metrics by the SDK of OpenTelemetry. `figures` returns the current metrics."""

    def __init__(
        self,
        job: str,
        run_id: str,
        processor: "SpanProcessor",
        reader: "MetricReader",
        figures: Callable[[], RunMetrics],
    ) -> None:
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415  (optional dependency)
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

        attributes = {"service.name": "bulkreset", "service.version": __version__, "bulkreset.job": job}
        resource = Resource.create(attributes | {"bulkreset.run_id": run_id})
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracers.add_span_processor(processor)
        self._tracer = self._tracers.get_tracer("bulkreset", __version__)
        self._figures = figures
        self._known: Mapping[str, Iterable[tuple[Mapping[str, str], float]]] = {}
        self._known_at = float("-inf")
        self._claimed_at = float("-inf")
        self._meters = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
        meter = self._meters.get_meter("bulkreset", __version__)
        for name, what in _names().items():
            meter.create_observable_gauge(name, [self._observer(name)], description=what)

    @contextmanager
    def span(self, name: str, /, **attributes: Value) -> Iterator[None]:
        """Make the block a span below the current one. For an error, record only its class."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def claim(self, rows: int, /) -> AbstractContextManager[None]:
        """Make the block a span, unless another claim became one shortly before."""
        now = time.monotonic()
        if now < self._claimed_at + CLAIM_SECONDS:
            return nullcontext()
        self._claimed_at = now
        return self.span("claim", rows=rows)

    def close(self) -> None:
        """Send the rest. A failure changes nothing."""
        self._known_at = float("-inf")
        for provider in (self._tracers, self._meters):
            with suppress(Exception):
                provider.shutdown()

    def _observer(self, name: str) -> "Callable[[CallbackOptions], Iterable[Observation]]":
        from opentelemetry.metrics import Observation  # noqa: PLC0415

        def observe(_options: "CallbackOptions") -> "Iterable[Observation]":
            for labels, value in self._current().get(name, ()):
                yield Observation(value, dict(labels))

        return observe

    def _current(self) -> Mapping[str, Iterable[tuple[Mapping[str, str], float]]]:
        if time.monotonic() >= self._known_at + KEPT_SECONDS:
            self._known_at = time.monotonic()
            with suppress(BulkresetError, OSError):  # the previous figures stay
                self._known = samples(self._figures())
        return self._known


def samples(figures: RunMetrics) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Return the metrics of the textfile by name, as (labels, value)."""
    return {it.name: [(sample.labels, sample.value) for sample in it.samples] for it in _families(figures)}


def _names() -> dict[str, str]:
    lane = LaneSummary("", "", 1.0, 1.0, 1.0, counts={"set": 0})
    every = [RunMetrics("", 0.0, {"set": 0}, exit_code=code, lanes=(lane,)) for code in (None, 0)]
    return {it.name: it.documentation for figures in every for it in _families(figures)}


def _families(figures: RunMetrics) -> "Iterable[Metric]":
    from bulkreset.notify.textfile import registry_of  # noqa: PLC0415  (optional dependency)

    return registry_of(figures).collect()


@contextmanager
def open_telemetry(job: Job, run_id: str, figures: Callable[[], RunMetrics], *, counts: bool) -> Iterator[Telemetry]:
    """Yield the telemetry of an execution, and send the rest after the block. It sends nothing if not `counts`."""
    if job.metrics.otlp is None or not counts:
        yield Telemetry()
        return
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    base = job.metrics.otlp.rstrip("/")
    given: dict[str, Any] = {"timeout": TIMEOUT}
    processor = BatchSpanProcessor(OTLPSpanExporter(f"{base}/v1/traces", **given))
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(f"{base}/v1/metrics", **given), export_interval_millis=EVERY_MS
    )
    telemetry = OtelTelemetry(job.name, run_id, processor, reader, figures)
    try:
        yield telemetry
    finally:
        telemetry.close()
