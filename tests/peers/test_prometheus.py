"""Prometheus, its node exporter and promtool: the alert rules find the figures of a run under the right names."""

import json
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.e2e.command import LAX, POOL, ROOT, Command, people, write_csv, write_job
from tests.peers.conftest import Tried
from tests.peers.parts import Argv, debian_program, free_port, run, serving
from tests.sim import Simulator
from tests.waiting import wait_until

RULES: Final = ROOT / "jobs" / "schedule" / "alerts.yml"
# The exporter's figures for each state of the job, minute by minute, and the alerts that Prometheus raises then.
SERIES: Final[dict[str, tuple[dict[str, str], str]]] = {
    "BulkresetNoSuccess": ({"bulkreset_last_success_timestamp_seconds": "0+0x1700"}, "27h"),
    "BulkresetNeverRan": ({}, "27h"),
    "BulkresetFailed": ({"bulkreset_exit_code": "3+0x60"}, "45m"),
    "BulkresetInDoubt": ({'bulkreset_rows{status="in_doubt"}': "2+0x60", "bulkreset_running": "0+0x60"}, "45m"),
    "BulkresetKilled": ({"bulkreset_running": "1+0x60", "bulkreset_updated_timestamp_seconds": "0+0x60"}, "45m"),
    "BulkresetThrottled": ({"bulkreset_running": "1+0x60", "bulkreset_throttled": "0+60x60"}, "45m"),
}


@pytest.fixture(scope="module")
def promtool() -> Path:
    return debian_program("prometheus", "promtool")


def version(program: Path) -> str:
    """Return the first line that the program prints for its version."""
    name, _, found = run("sh", "-c", f'"{program}" --version 2>&1').partition(",")
    return f"{name} {found.split()[1]}"


def with_labels(series: str) -> str:
    name, _, labels = series.partition("{")
    more = f", {labels[:-1]}" if labels else ""
    return f'{name}{{exported_job="nightly", instance="one", job="node"{more}}}'


def raised(alert: str, series: dict[str, str], at: str) -> dict[str, object]:
    """Return promtool's test that an alert fires after such figures for a time."""
    firing = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    return {
        "name": alert,
        "interval": "1m",
        "input_series": [{"series": with_labels(name), "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": firing, "eval_time": at, "exp_samples": [{"labels": "{}", "value": 1}]}],
    }


def test_alerts_are_raised(promtool: Path, tmp_path: Path, tried: Tried) -> None:
    run(promtool, "check", "rules", RULES)
    assert {rule["alert"] for rule in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]} == set(
        SERIES
    )
    tests = [raised(alert, series, at) for alert, (series, at) in SERIES.items()]
    (tmp_path / "tests.json").write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}), encoding="utf-8"
    )
    run(promtool, "test", "rules", tmp_path / "tests.json")
    tried(version(promtool), f"jobs/schedule/alerts.yml is valid, and each of its {len(SERIES)} alerts is raised")


def test_figures_arrive(promtool: Path, bulkreset: Command, running: Simulator, tried: Tried) -> None:
    exporter = debian_program("prometheus-node-exporter", "prometheus-node-exporter")
    prometheus = debian_program("prometheus", "prometheus")
    home, port, own = bulkreset.home, free_port(), free_port()
    (home / "textfiles").mkdir()
    running.add_pool(POOL, [name for name, _ in people(28)], LAX)
    write_csv(home / "in.csv", people(30))
    more = f'[pace]\nrate = 200\n[metrics]\ntextfile = "{home}/textfiles/nightly.prom"\n'
    job = write_job(home, running.url, 'path = "in.csv"', more, plan="check_users = true")
    ran = bulkreset("run", job, "--yes")
    assert (ran.code, ran.summary["counts"]) == (1, {"set": 28, "rejected": 2})
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
    }
    (home / "prometheus.json").write_text(json.dumps(config), encoding="utf-8")
    run(promtool, "check", "config", home / "prometheus.json")
    collect: Argv = [
        exporter,
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={home}/textfiles",
    ]
    scrape: Argv = [prometheus, f"--config.file={home}/prometheus.json", f"--storage.tsdb.path={home}/tsdb"]
    with (
        serving([*collect, f"--web.listen-address=127.0.0.1:{port}"], home / "exporter", port),
        serving([*scrape, f"--web.listen-address=127.0.0.1:{own}"], home / "prometheus", own, "/-/ready") as url,
    ):

        def asked(expression: str) -> list[dict[str, Any]]:
            query = urllib.parse.urlencode({"query": expression, "time": time.time()})
            with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=60) as answer:  # noqa: S310  (loopback)
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

        rows = wait_until(lambda: asked("bulkreset_rows"))
        by_status = {one["metric"]["status"]: float(one["value"][1]) for one in rows}
        assert {status: count for status, count in by_status.items() if count} == {"set": 28, "rejected": 2}
        (failed,) = asked("bulkreset_exit_code > 0")
        assert (failed["metric"]["exported_job"], failed["value"][1]) == ("e2e", "1")
        (error,) = asked("node_textfile_scrape_error")
        assert error["value"][1] == "0"
        pending = wait_until(lambda: asked('ALERTS{alertname="BulkresetFailed"}'))
        assert [one["metric"]["exported_job"] for one in pending] == ["e2e"]
    tried(
        f"{version(prometheus)}, {version(exporter)}",
        "figures of a run of 30 rows are collected and scraped; BulkresetFailed is pending for exit code 1",
    )
