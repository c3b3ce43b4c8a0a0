"""Traces and metrics for OpenTelemetry: their content, without secrets and names."""

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bulkreset.errors import GuardTripped, RecordError
from bulkreset.job.output import MetricsConfig
from bulkreset.models import LaneSummary
from bulkreset.notify.metrics import RunMetrics
from bulkreset.notify.telemetry import OtelTelemetry, Telemetry, samples

LANE = LaneSummary("123456789012", "eu-west-1", 20.0, 30.0, 24.0, counts={"set": 5})


class FakeCollector:
    """What a collector would receive."""

    def __init__(self) -> None:
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.figures = RunMetrics("nightly", 1.0, {"set": 5, "failed": 1}, attempts=7, lanes=(LANE,))
        self.fails = False
        self.it = OtelTelemetry("nightly", "id", SimpleSpanProcessor(self.spans), self.reader, self._now)

    def _now(self) -> RunMetrics:
        if self.fails:
            raise RecordError("no journal")
        return self.figures

    def metrics(self) -> dict[str, list[tuple[dict[str, object], object]]]:
        """Return the metrics by name, as (labels, value)."""
        data = self.reader.get_metrics_data()
        assert data
        return {
            metric.name: [(dict(point.attributes or {}), point.value) for point in metric.data.data_points]  # type: ignore[union-attr]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def test_spans_are_below_each_other_and_have_the_run_in_their_resource() -> None:
    got = FakeCollector()
    with got.it.span("run", mode="run"), got.it.span("apply", rows=6):
        with got.it.span("lane", account="1", region="r", rows=6), got.it.claim(3):
            pass
        with got.it.claim(4):  # too soon after the previous one
            pass
    spans = {span.name: span for span in got.spans.get_finished_spans()}
    assert list(spans) == ["claim", "lane", "apply", "run"]
    for name, above in (("claim", "lane"), ("lane", "apply"), ("apply", "run")):
        parent = spans[name].parent
        assert parent
        assert parent.span_id == spans[above].context.span_id
    assert spans["claim"].attributes == {"rows": 3}
    assert spans["run"].resource.attributes["bulkreset.run_id"] == "id"


def test_error_is_reported_only_by_its_class() -> None:
    got = FakeCollector()
    with pytest.raises(GuardTripped), got.it.span("apply"):
        raise GuardTripped("the user ann@example.com", "Quiet-Garden.1")
    (span,) = got.spans.get_finished_spans()
    assert span.status.description == "GuardTripped"
    assert "ann" not in span.to_json()
    assert "Quiet" not in span.to_json()


def test_metrics_have_the_names_labels_and_values_of_the_textfile() -> None:
    got = FakeCollector()
    found = got.metrics()
    known = samples(got.figures)
    known.pop("bulkreset_updated_timestamp_seconds")
    assert {name: found[name] for name in known} == {
        name: [(dict(labels), value) for labels, value in pairs] for name, pairs in known.items()
    }
    assert found["bulkreset_lane_ceiling"] == [
        ({"job": "nightly", "account": "123456789012", "region": "eu-west-1"}, 24.0)
    ]


def test_figures_that_cannot_be_read_stay_those_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkreset.notify.telemetry.KEPT_SECONDS", 0.0)
    got = FakeCollector()
    before = got.metrics()["bulkreset_attempts"]
    got.fails = True
    assert got.metrics()["bulkreset_attempts"] == before
    got.it.close()


def test_without_a_collector_nothing_is_done() -> None:
    with Telemetry().span("run", mode="run"), Telemetry().claim(1):
        pass


@pytest.mark.parametrize("url", ["localhost:4318", "http://user:secret@host", "ftp://host", "http://host/?key=1"])
def test_invalid_url_or_one_with_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        MetricsConfig.model_validate({"otlp": url})
