"""jobs/schedule/: each file loads, starts a command that exists, and retries only what can be resumed."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bulkreset import errors
from bulkreset.cli.main import app
from bulkreset.job import Target
from bulkreset.notify import textfile
from tests.notify.test_metrics import FIGURES

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "jobs" / "schedule"
# Actions of Cognito that cfn-lint does not know yet.
TOO_NEW = {
    "getuserpoolsessionconfiguration",
    "listpointintimerecoveries",
    "adminlistusersessions",
    "adminrevokeusersession",
}
RETRIED = {3, 5, 130, 143, 137}
LEFT = {1, 2, 4, 70}
# A stop waits for calls in flight: a unit that is killed sooner leaves rows in doubt.
PATIENCE = Target.model_fields["connect_timeout"].default + Target.model_fields["read_timeout"].default


def test_every_exit_code_is_retried_or_not() -> None:
    known = {errors.EXIT_ROWS, errors.EXIT_BUG, 130, 143} | {
        kind.exit_code
        # the others are subclasses of these
        for kind in (errors.Refused, errors.Stopped, errors.Busy, errors.TimeLimit)
    }
    assert known | {137} == RETRIED | LEFT


@pytest.mark.parametrize("path", sorted(HOME.iterdir()), ids=lambda path: path.name)
def test_file_says_which_codes_are_retried_and_that_a_state_is_needed(path: Path) -> None:
    if path.suffix in {".timer", ".yml"}:  # the timer has its service beside it, the other starts nothing
        return
    said = " ".join(line.strip("# ") for line in path.read_text(encoding="utf-8").splitlines() if "#" in line)
    assert {int(code) for code in re.findall(r"\b\d{1,3}\b", said)} >= RETRIED | LEFT
    assert "[schedule] state" in said


# ---- the commands


def commands() -> Iterator[tuple[str, list[str]]]:
    """Return the arguments after `bulkreset` in every file that starts it."""
    service = (HOME / "bulkreset@.service").read_text(encoding="utf-8")
    yield "systemd", shlex.split(re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)[0])[1:]
    script = (HOME / "nightly.sh").read_text(encoding="utf-8")
    yield "shell", shlex.split(re.findall(r'^ +"\$bulkreset" (.*)$', script, re.MULTILINE)[0])
    container = cron_job()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["bulkreset"]
    yield "kubernetes", container["args"]
    (definition,) = stack()["Task"]["Properties"]["ContainerDefinitions"]
    assert definition["EntryPoint"] == ["bulkreset"]
    yield "ecs", definition["Command"]


def cron_job() -> dict[str, Any]:
    """Return the CronJob, after checking the objects beside it."""
    text = (HOME / "cronjob.yaml").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = {one["kind"]: one for one in yaml.safe_load_all(text)}
    assert set(found) == {"ServiceAccount", "PersistentVolumeClaim", "CronJob"}
    return found["CronJob"]


class _Template(yaml.SafeLoader):
    """CloudFormation's short forms, as {"Ref": …} and similar."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.ScalarNode) -> dict[str, Any]:
    return {suffix: loader.construct_scalar(node)}


_Template.add_multi_constructor("!", _short_form)


def stack() -> dict[str, Any]:
    """Return the resources of the template."""
    with (HOME / "ecs.yaml").open(encoding="utf-8") as file:
        resources: dict[str, Any] = yaml.load(file, _Template)["Resources"]  # noqa: S506  (a SafeLoader)
    return resources


def test_commands_exist_and_ask_no_question() -> None:
    command: Any = typer.main.get_command(app)
    for where, (name, *args) in commands():
        params = command.commands[name].make_context(name, args).params
        assert params["yes"], where
        assert params["no_progress"], where
        assert str(params["job"]) == "$1" or str(params["job"]).endswith(".toml"), where


# ---- the exit codes


@pytest.mark.process
def test_script_retries_what_can_be_resumed(tmp_path: Path) -> None:
    job = tmp_path / "nightly.toml"
    job.write_text('[schedule]\nstate = "s.json"\n', encoding="utf-8")
    fake = tmp_path / "bulkreset"
    fake.write_text(
        '#!/bin/sh\necho "$@" >> calls\nset -- $(cat codes)\ncode=$1; shift; echo "$@" > codes; exit "$code"\n',
        encoding="utf-8",
    )
    fake.chmod(0o755)

    def scheduled_run(*codes: int) -> tuple[int, int]:
        """Return the exit code of a scheduled run whose executions end like this, and their number."""
        (tmp_path / "codes").write_text(" ".join(map(str, codes)), encoding="utf-8")
        (tmp_path / "calls").write_text("", encoding="utf-8")
        environment = {"PATH": "/usr/bin:/bin", "BULKRESET": str(fake), "BULKRESET_PAUSE": "0"}
        ran = subprocess.run([HOME / "nightly.sh", job], cwd=tmp_path, env=environment, check=False)
        calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
        assert set(calls) <= {f"run {job} --yes --quiet --no-progress"}
        return ran.returncode, len(calls)

    for code in RETRIED:
        assert scheduled_run(code, 0) == (0, 2)
        assert scheduled_run(*[code] * 9) == (code, 4)
    for code in LEFT | {0}:
        assert scheduled_run(code, 0) == (code, 1)
    assert scheduled_run(5, 143, 2, 0) == (2, 3)
    job.write_text("[input]\n# state\n", encoding="utf-8")
    assert scheduled_run(0) == (2, 0)


def test_crontab_starts_the_script() -> None:
    lines = (HOME / "crontab").read_text(encoding="utf-8").splitlines()
    (entry,) = (line for line in lines if re.match(r"[\d*]", line))
    *when, command = entry.split(None, 5)
    assert all(re.fullmatch(r"[\d*,/-]+", field) for field in when)
    assert "nightly.sh" in command
    assert "%" not in command


@pytest.mark.process
def test_unit_restarts_what_can_be_resumed(tmp_path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read(HOME / "bulkreset@.service", encoding="utf-8")
    service = unit["Service"]
    assert service["Restart"] == "on-failure"
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == LEFT
    assert int(service["TimeoutStopSec"]) > PATIENCE
    assert service["UMask"] == "0077"
    if shutil.which("systemd-analyze") is None:
        return
    for name in ("bulkreset@.service", "bulkreset@.timer"):
        text = (HOME / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(re.sub(r"(?<=ExecStart=)\S+", "/bin/true", text), encoding="utf-8")
        ran = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", name],  # noqa: S607  (wherever it is)
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, "")


def test_cron_job_restarts_what_can_be_resumed() -> None:
    spec = cron_job()["spec"]
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] > PATIENCE
    codes = {
        rule["action"]: rule["onExitCodes"]["values"]
        for rule in job["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule
    }
    assert {action: set(values) for action, values in codes.items()} == {"FailJob": LEFT, "Count": RETRIED}
    assert all(values == sorted(values) for values in codes.values())  # Kubernetes refuses others
    (container,) = pod["containers"]
    names = {rule["onExitCodes"]["containerName"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule}
    assert names == {container["name"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["workingDir"] in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]


def test_stack_restarts_what_can_be_resumed_with_the_rights_of_the_docs() -> None:
    resources = stack()
    (container,) = resources["Task"]["Properties"]["ContainerDefinitions"]
    assert set(container["RestartPolicy"]["IgnoredExitCodes"]) == LEFT | {0}
    assert container["StopTimeout"] > PATIENCE
    ((policy),) = resources["TaskRole"]["Properties"]["Policies"]
    statements = {one["Sid"]: one for one in policy["PolicyDocument"]["Statement"]}
    page = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    (policy,) = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    allowed = {action for one in json.loads(policy)["Statement"] for action in _listed(one["Action"])}
    granted = {action for name in ("SetPasswords", "KnowTheQuota") for action in statements[name]["Action"]}
    assert granted == allowed
    assert [name for name, one in statements.items() if one["Resource"] == "*"] == ["KnowTheQuota"]
    assert not any("*" in action for one in statements.values() for action in _listed(one["Action"]))
    referred = set(re.findall(r"!(?:Ref|GetAtt) (\w+)", (HOME / "ecs.yaml").read_text(encoding="utf-8")))
    assert set(resources) - referred == {"Nightly", "Alarm"}


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_rules_ask_for_figures_that_are_written(tmp_path: Path) -> None:
    path = tmp_path / "b.prom"
    for figures in (FIGURES, FIGURES.__class__("nightly", 1.0, {}, exit_code=0)):
        textfile.write_textfile(path, figures)
    written = {family.name for family in text_string_to_metric_families(path.read_text(encoding="utf-8"))}
    (group,) = yaml.safe_load((HOME / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"])
    asked = set()
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[mh]", rule["for"])
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert set(re.findall(r"\$(\w+)", json.dumps(rule["annotations"]))) <= {"labels", "value"}
        asked |= set(re.findall(r"\bbulkreset_\w+", rule["expr"]))
    assert asked <= written
    assert textfile.SUCCESS in asked


@pytest.mark.soak
def test_template_is_lint_free() -> None:
    ran = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--format", "json", HOME / "ecs.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) in {(0, ""), (4, "")}, "nothing, or warnings only"
    found = {(problem["Rule"]["Id"], problem["Message"].split("'")[1]) for problem in json.loads(ran.stdout)}
    assert found <= {("W3037", action) for action in TOO_NEW}, ran.stdout


@pytest.mark.soak
def test_manifests_fit_the_schemas_of_kubernetes() -> None:
    argv: list[str | Path] = [
        "tool",
        "run",
        "kubernetes-validate@1.37.0",
        "--strict",
        HOME / "cronjob.yaml",
    ]  # its schemas are 100 MB
    ran = subprocess.run([sys.executable, "-m", "uv", *argv], capture_output=True, text=True, check=False)
    if "passed" not in ran.stdout and "No solution found" in ran.stderr + ran.stdout:
        pytest.skip("kubernetes-validate cannot be had here")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (ran.stdout + ran.stderr).count(" passed for resource ") == 3
