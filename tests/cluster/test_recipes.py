"""The recipes of jobs/cluster: they are valid as far as tools can check, and use only existing names."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import dask.config
import distributed
import pytest
import yaml
from distributed.cli.dask_scheduler import main as scheduler
from distributed.cli.dask_worker import main as worker
from typer.main import get_command

from bulkreset.cli.main import app
from bulkreset.job.file import load
from bulkreset.version import __version__

FOLDER = Path(__file__).resolve().parents[2] / "jobs" / "cluster"
MANIFESTS = ("tls.yaml", "cluster.yaml", "coordinator.yaml")


class _Template(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation."""


_Template.add_multi_constructor("!", lambda _loader, tag, node: f"{tag}:{node.value}")


def command_lines() -> Iterator[list[str]]:
    """Return every command that a manifest or the template starts, or that a page names."""
    for name in MANIFESTS:
        for document in yaml.safe_load_all((FOLDER / name).read_text()):
            yield from _commands(document)
    page = (FOLDER.parents[1] / "docs" / "operations.md").read_text(encoding="utf-8").replace("\\\n", " ")
    yield from (line.split() for line in re.findall(r"^dask .+$", page, re.MULTILINE))
    yield from _commands(yaml.load((FOLDER / "ecs.yaml").read_text(), _Template))  # noqa: S506  (a safe loader)


def _commands(found: object) -> Iterator[list[str]]:
    if isinstance(found, dict):
        for key, value in found.items():
            if key in {"args", "Command"} and isinstance(value, list):
                yield value
            else:
                yield from _commands(value)
    elif isinstance(found, list):
        for value in found:
            yield from _commands(value)


@cache
def flags_of(*words: str) -> frozenset[str]:
    """Return the flags of a command of ours or of Dask's."""
    ours: Any = get_command(app)
    found: click.Command = {"scheduler": scheduler, "worker": worker}.get(words[1]) or ours.commands[words[1]]
    return frozenset(flag for parameter in found.params for flag in (*parameter.opts, *parameter.secondary_opts))


def test_every_flag_exists() -> None:
    seen = set()
    for line in command_lines():
        if line[0] in {"dask", "bulkreset"}:
            seen.add(tuple(line[:2]))
            assert {word for word in line if re.match(r"--?[a-z]", word)} <= flags_of(*line[:2]), line
    assert seen == {("dask", "scheduler"), ("dask", "worker"), ("bulkreset", "run")}


def test_every_key_of_dask_s_configuration_exists() -> None:
    known = yaml.safe_load(Path(distributed.__file__).with_name("distributed.yaml").read_text())

    def paths(table: dict[str, Any], at: str = "") -> Iterator[str]:
        for key, value in table.items():
            if isinstance(value, dict) and value:
                yield from paths(value, f"{at}{key}.")
            else:
                yield f"{at}{key}"

    ours = set(paths(yaml.safe_load((FOLDER / "dask.yaml").read_text())))
    assert ours <= set(paths(known))
    assert "distributed.comm.require-encryption" in ours
    assert dask.config.canonical_name("distributed.comm.require_encryption", known)


def test_manifests_are_yaml_of_one_image_and_one_secret() -> None:
    documents = [document for name in MANIFESTS for document in yaml.safe_load_all((FOLDER / name).read_text())]
    assert {document["kind"] for document in documents} == {
        *("Issuer", "Certificate", "DaskCluster", "PersistentVolumeClaim", "Job")
    }
    text = json.dumps(documents)
    assert set(re.findall(r'"image": "([^"]+)"', text)) == {f"bulkreset-cluster:{__version__}"}
    secrets = set(re.findall(r'"secretName": "(bulkreset-cluster[^"]*)"', text))
    assert secrets == {"bulkreset-cluster-tls"}
    (job,) = (document for document in documents if document["kind"] == "Job")
    assert job["spec"]["backoffLimit"] == 0, "what stopped is resumed by a person"


def test_job_is_valid_and_goes_over_tls() -> None:
    job = load(FOLDER / "job.toml", {})
    assert (job.cluster.scheduler or "").startswith("tls://bulkreset-scheduler")
    assert all(target.role_arn for target in job.targets)


def test_dockerfile_copies_existing_files() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
        if line.startswith("--from="):  # from the image's first stage
            continue
        for source in line.split()[:-1]:
            assert (FOLDER.parents[1] / source).exists(), source
    assert "--require-hashes" in text
    first, last = text.split("\nFROM ")[1:]
    assert [stage.split()[0].endswith("-slim") for stage in (first, last)] == [True, True]
    assert "pip" not in last, "what builds it stays in the first stage: the image is small"
    (extras,) = re.findall(r'^ARG EXTRAS="(.+)"$', text, re.MULTILINE)
    known = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split()) <= known.keys() - {"dev", "fuzz", "emulator"}
    assert "\nUSER 10001\n" in text


def test_every_container_has_a_read_only_root_and_no_rights() -> None:
    seen = 0
    for name in MANIFESTS:
        for found in re.findall(
            r"^ +- name: (?:worker|scheduler|coordinator)\n.*?volumeMounts:",
            (FOLDER / name).read_text(),
            re.MULTILINE | re.DOTALL,
        ):
            seen += 1
            for said in (
                "readOnlyRootFilesystem: true",
                "allowPrivilegeEscalation: false",
                "capabilities: {drop: [ALL]}",
            ):
                assert said in found
    assert seen == 3


@pytest.mark.soak
def test_template_is_clean_for_cfn_lint() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), FOLDER / "ecs.yaml"], capture_output=True, text=True, check=False
    )
    assert (linted.returncode, linted.stdout) == (0, "")
