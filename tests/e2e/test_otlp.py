"""A run that sends traces and metrics to a collector: they arrive, name no user, and may be lost."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.command import Command, people, seed, write_csv, write_job
from tests.sim import Simulator


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A collector on loopback: its URL, and the requests it received as (path, body)."""
    got: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_traces_and_metrics_of_a_run_arrive_without_names(bulkreset: Command, sim: Simulator) -> None:
    users = people(5)
    seed(sim, [name for name, _ in users])
    write_csv(bulkreset.home / "in.csv", users)
    with collector() as (url, got):
        job = write_job(bulkreset.home, sim.url, 'path = "in.csv"', f'[metrics]\notlp = "{url}"')
        ran = bulkreset("run", job, "--yes", env={"OTEL_BSP_SCHEDULE_DELAY": "100"})
    assert ran.code == 0, ran.stderr
    spans = [
        span
        for path, body in got
        if path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {span.name for span in spans} == {"run", "plan", "confirm", "apply", "lane", "claim", "finish"}
    last = [body for path, body in got if path == "/v1/metrics"][-1]
    (resource,) = ExportMetricsServiceRequest.FromString(last).resource_metrics
    names = {metric.name for scope in resource.scope_metrics for metric in scope.metrics}
    assert {"bulkreset_rows", "bulkreset_lane_ceiling", "bulkreset_attempts"} <= names
    for name, password in users:
        assert not any(name.encode() in body or password.encode() in body for _, body in got)


def test_collector_that_is_not_there_changes_nothing(bulkreset: Command, sim: Simulator) -> None:
    users = people(5)
    seed(sim, [name for name, _ in users])
    write_csv(bulkreset.home / "in.csv", users)
    with collector() as (url, _):
        pass
    job = write_job(bulkreset.home, sim.url, 'path = "in.csv"', f'[metrics]\notlp = "{url}"')
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 0
    assert ran.summary["counts"] == {"set": 5}
