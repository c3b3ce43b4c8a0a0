"""The metrics: one set of figures for the node exporter and CloudWatch; the last success stays after failures."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bulkreset.models import LaneSummary, Summary
from bulkreset.notify import emf, textfile
from bulkreset.notify.metrics import STATUSES, RunMetrics, metrics_finished, metrics_without_rows

LANES = (
    LaneSummary("111122223333", "eu-west-1", 23.5, 30.0, 24.0, ("a",), 10, {"set": 7, "failed": 1}),
    LaneSummary("111122223333", "us-east-1", None, 30.0, 20.0, ("b",), 2, {"set": 2}),
)
SUMMARY = Summary(
    *("id", "nightly", "run", False, "finished", 1, False, "", "", 9.0),
    *(10, {"set": 9, "failed": 1}, {"X": 1}, 12, 2, 4.5, 2.0, LANES, {}, ()),
)
FIGURES = metrics_finished(SUMMARY, 3.5)


def read(path: Path) -> dict[tuple[str, str], float]:
    """Return every figure by its name and its labels. The job label is checked and left out."""
    found = {}
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        for sample in family.samples:
            assert sample.labels.pop("job") == "nightly"
            found[sample.name, ",".join(sample.labels.values())] = sample.value
    return found


def test_textfile_has_all_figures(tmp_path: Path) -> None:
    path = tmp_path / "b.prom"
    textfile.write_textfile(path, FIGURES)
    found = read(path)
    assert {labels: value for (name, labels), value in found.items() if name == "bulkreset_rows"} == {
        status.value: SUMMARY.counts.get(status, 0) for status in STATUSES
    }
    for name, value in {
        "attempts": 12,
        "throttled": 2,
        "rows_per_second": 4.5,
        "ceiling": 44,
        "duration_seconds": 3.5,
        "running": 0,
        "exit_code": 1,
    }.items():
        assert found[f"bulkreset_{name}", ""] == value
    assert found["bulkreset_lane_rows", "111122223333,eu-west-1,set"] == 7
    assert found["bulkreset_lane_rate", "111122223333,eu-west-1"] == 23.5
    assert ("bulkreset_lane_rate", "111122223333,us-east-1") not in found
    assert (path.stat().st_mode & 0o777, [one.name for one in tmp_path.iterdir()]) == (0o644, ["b.prom"])


def test_last_success_outlives_failures_and_runs_under_way(tmp_path: Path) -> None:
    path = tmp_path / "b.prom"
    path.write_text("not { metrics", encoding="utf-8")
    textfile.write_textfile(path, replace(FIGURES, exit_code=0))
    first = read(path)[textfile.SUCCESS, ""]
    textfile.write_textfile(path, replace(FIGURES, exit_code=None))
    under_way = read(path)
    assert (under_way[textfile.SUCCESS, ""], under_way["bulkreset_running", ""]) == (first, 1)
    assert ("bulkreset_exit_code", "") not in under_way
    textfile.write_textfile(path, FIGURES)
    assert read(path)[textfile.SUCCESS, ""] == first < read(path)[textfile.FINISHED, ""]
    textfile.write_textfile(path, metrics_without_rows("nightly", 1.0, 70))
    refused = read(path)
    assert (refused[textfile.SUCCESS, ""], refused["bulkreset_exit_code", ""]) == (first, 70)


def test_ceiling_is_unknown_if_a_lane_is_unpaced() -> None:
    lanes = metrics_finished(replace(SUMMARY, lanes=(replace(LANES[0], ceiling=None), LANES[1])), 1.0)
    assert (lanes.ceiling, FIGURES.ceiling, RunMetrics("x", 1.0, {}).ceiling) == (None, 44.0, None)


def test_emf_line_has_the_format_of_cloudwatch(tmp_path: Path) -> None:
    out = io.StringIO()
    emf.write("stdout", out, FIGURES, Path("/runs/1"))
    emf.write(str(tmp_path / "emf.log"), None, FIGURES, None)
    emf.write(str(tmp_path / "emf.log"), None, FIGURES, None)
    assert len((tmp_path / "emf.log").read_text(encoding="utf-8").splitlines()) == 2
    line = json.loads(out.getvalue())
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"], line["Job"]) == ("bulkreset", [["Job"]], "nightly")
    metrics = {metric["Name"]: line[metric["Name"]] for metric in directive["Metrics"]}
    assert metrics["RowsSet"] == 9
    assert metrics["RowsInDoubt"] == 0
    assert (metrics["ExitCode"], metrics["Success"], metrics["Finished"], metrics["Ceiling"]) == (1, 0, 1, 44.0)
    assert isinstance(line["_aws"]["Timestamp"], int)
    with pytest.raises(OSError, match="standard output is not free"):
        emf.write("stdout", None, FIGURES, None)
