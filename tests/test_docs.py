"""Compare README and docs/ with the program: every table, block and link that can be compared."""

import ast
import inspect
import json
import re
import shlex
import sqlite3
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer.testing import CliRunner

import bulkreset
from bulkreset import causes, errors
from bulkreset.cli.main import app
from bulkreset.cognito import http_errors, response, response_parser
from bulkreset.job import COMPRESSED, ENCRYPTED, SUFFIXES, Job
from bulkreset.job.file import load
from bulkreset.journal import schema
from bulkreset.models import REPORT_COLUMNS, LaneSummary, RejectCode, SkipReason, Status, Summary
from bulkreset.notify import emf, textfile
from bulkreset.notify.metrics import metrics_finished
from bulkreset.plan import passkeys
from bulkreset.report import user_state
from bulkreset.steps import CALLS
from tests import house_map
from tests.e2e.command import LAX, POOL, REGION, Command
from tests.journal import statements
from tests.sim import Simulator

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
DOCS = "\n".join(PAGES.values())
RUNBOOK = PAGES[ROOT / "docs" / "runbook.md"]
LINKED = sorted(
    {
        *PAGES,
        *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "samples/README.md")),
        *(ROOT / "jobs").rglob("README.md"),
    }
)
EVERYTHING = [page.read_text(encoding="utf-8") for page in LINKED]
LONGEST = 170  # lines of the front page, which takes five minutes to read
LARGEST = 200_000  # bytes of a picture
COMMANDS = (
    *("run", "resume", "abandon", "status", "control", "watch", "report", "extract", "passwords", "contacts"),
    *("verify", "undo", "init", "demo", "help"),
)
_OF_THE_GROUP = {"--help", "-h", "--version"}


def table(head: str) -> list[dict[str, str]]:
    """Return the rows of the only table whose header begins with these cells."""
    lines = DOCS.splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith(f"| {head} |"))
    names = _cells(lines[start])
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = _cells(line)
        assert len(cells) == len(names), line
        rows.append(dict(zip(names, cells, strict=True)))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def quoted(cell: str) -> list[str]:
    """Return the texts between backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def first(rows: list[dict[str, str]], column: str) -> list[str]:
    """Return the one quoted word of each row's cell."""
    return [quoted(row[column])[0] for row in rows]


def block(language: str) -> str:
    """Return the only fenced block of that language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    return str(found)


# ---- the job


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Return every key of the job with its default; PydanticUndefined if it must be given."""
    for name, info in model.model_fields.items():
        inner = [part for part in (info.annotation, *get_args(info.annotation)) if _is_table(part)]
        if inner:
            is_list = inner[0] is not info.annotation
            yield from keys_of(inner[0], f"{prefix}{name}{'[]' if is_list else ''}.")
        else:
            yield f"{prefix}{info.alias or name}", info.default


def _is_table(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def test_job_keys_and_defaults() -> None:
    documented = {quoted(row["key"])[0]: row["default"] for row in table("key | type")}
    known = dict(keys_of(Job))
    assert set(documented) == set(known)
    for key, default in known.items():
        assert _default(key, documented[key]) == (list(default) if isinstance(default, tuple) else default), key


def _default(key: str, cell: str) -> object:
    """Return a cell of the column `default` as the model has it."""
    words = {
        "required": PydanticUndefined,
        "unset": None,
        "by the file's name": None,
        "the file's name": PydanticUndefined,  # `load` gives the name
    }
    if cell in words:
        return words[cell]
    return tomllib.loads(f"it = {quoted(cell)[0]}")["it"] if quoted(cell) else f"no default documented for {key}"


def test_choices_of_job_keys() -> None:
    """A key that has some texts as its values lists each of them."""
    documented = {quoted(row["key"])[0]: row for row in table("key | type")}
    choices = {key: [*_choices(kind)] for key, kind in kinds_of(Job)}
    assert "csv" in choices["input.format"]
    for key, values in choices.items():
        row = documented[key]
        for value in values:
            assert json.dumps(value) in {*quoted(row["type"]), *quoted(row["meaning"])}, f"{key} = {value!r}"


def kinds_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Return every key of the job with its type."""
    for name, info in model.model_fields.items():
        inner = [part for part in (info.annotation, *get_args(info.annotation)) if _is_table(part)]
        if inner:
            yield from kinds_of(inner[0], f"{prefix}{name}{'[]' if inner[0] is not info.annotation else ''}.")
        else:
            yield f"{prefix}{info.alias or name}", info.annotation


def _choices(kind: object) -> Iterator[str]:
    """Return the texts that a type has as literals, at any depth."""
    for part in get_args(kind):
        if get_origin(kind) is Literal:
            yield from [part] if isinstance(part, str) else []
        else:
            yield from _choices(part)


def test_suffixes_of_inputs() -> None:
    assert {*SUFFIXES} == {value for key, kind in kinds_of(Job) if key == "input.format" for value in _choices(kind)}
    (row,) = (line for line in DOCS.splitlines() if line.startswith("| formats |"))
    named = {suffix for kind, suffixes in SUFFIXES.items() if kind != "csv" for suffix in suffixes}
    assert {*quoted(row)} >= {*named, *COMPRESSED, ENCRYPTED}


def test_example_job_loads(tmp_path: Path) -> None:
    path = tmp_path / "reset.toml"
    path.write_text(block("toml"), encoding="utf-8")
    job = load(path, {})
    assert job.name == "reset"
    assert job.permanent


def test_policy_is_json_and_names_the_calls() -> None:
    policy = json.loads(block("json"))
    pools = (
        *("AdminSetUserPassword", "DescribeUserPool", "ListUsers", "GetUserPoolMfaConfig"),
        *("GetUserPoolSessionConfiguration", "ListUserPoolReplicas"),
    )
    assert [statement["Action"] for statement in policy["Statement"]] == [
        [f"cognito-idp:{call}" for call in (*pools, "ListPointInTimeRecoveries")],
        ["cognito-idp:GetProvisionedLimit", "servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota"],
        "cloudwatch:GetMetricData",
        "cognito-idp:ListUsersInGroup",
        [f"cognito-idp:{call}" for call in CALLS],
        f"cognito-idp:{passkeys.CALL}",
    ]


def test_example_in_python_uses_existing_names() -> None:
    tree = ast.parse(block("python"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert all(hasattr(bulkreset, alias.name) for alias in node.names)
    called = {ast.unparse(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for name in ("dry_run", "apply", "resume"):
        known = inspect.signature(getattr(bulkreset, name)).parameters
        assert {keyword.arg for keyword in called[name].keywords} <= known.keys()


def test_metrics() -> None:
    rows = table("metric | labels beside `job`")
    summary = Summary(
        *("r", "j", "run", False, "finished", 0, False, "", "", 1.0),
        *(1, {"set": 1}, {}, 1, 0, 1.0, 1.0),
        (LaneSummary("1", "r", 1.0, 1.0, 1.0),),
        {},
        (),
    )
    ended, going = metrics_finished(summary, 1.0), replace(metrics_finished(summary, 1.0), exit_code=None)
    known = {
        family.name: sorted(set(family.samples[0].labels) - {"job"})
        for figures in (ended, going)
        for family in textfile.registry_of(figures).collect()
    }
    assert {quoted(row["metric"])[0]: sorted(quoted(row["labels beside `job`"])) for row in rows} == known
    documented = {name for row in rows for name in quoted(row["EMF"])}
    line = json.loads(emf.line(ended, None))
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    given = {metric["Name"] for metric in directive["Metrics"]}
    assert documented <= given
    assert all(name in documented or name.startswith("Rows") for name in given)


def test_exit_codes_that_schedules_retry() -> None:
    rows = re.findall(r"^\| ([\d, and()a-z]+) \| (again|not)", DOCS, re.MULTILINE)
    retried = {int(code) for codes, what in rows if what == "again" for code in re.findall(r"\d+", codes)}
    assert retried == {3, 5, 130, 137, 143}


# ---- the command line


@cache
def flags_of(command: str) -> frozenset[str]:
    """Return the flags that `--help` shows."""
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert shown.exit_code == 0
    found: set[str] = set()
    for line in shown.output.splitlines():
        if line.startswith("  -"):
            found.update(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", re.split(r" {2,}", line.strip())[0]))
    return frozenset(found - {"--help", "-h"})


def test_every_command_is_described() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    commands = re.findall(r"^  ([a-z]+) {2,}", shown.partition("Commands:")[2], re.MULTILINE)
    assert set(commands) == set(COMMANDS)
    assert set(re.findall(r"^bulkreset ([a-z]+) .* {2,}", DOCS, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_flags(command: str) -> None:
    documented = {
        flag
        for row in table("flag | commands")
        if command in re.split(r",\s*", row["commands"])
        for flag in quoted(row["flag"])
    }
    assert documented == flags_of(command)


def test_no_other_flag_is_named() -> None:
    known = _OF_THE_GROUP.union(*map(flags_of, COMMANDS))
    # Commands of other programs, which install ours or run beside it.
    ours = re.sub(r"^(uvx|uv|docker|dask) (.*\\\n)*.*$", "", DOCS, flags=re.MULTILINE)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours)) <= known


def test_flags_set_keys_of_the_job() -> None:
    documented = {key for row in table("flag | commands") for key in quoted(row["sets"])}
    assert documented <= {key for key, _ in keys_of(Job)}


def command_lines() -> list[list[str]]:
    """Return the words of every `bulkreset …` in a block, without comments, descriptions, pipes and brackets."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", "\n".join(EVERYTHING), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines = [re.sub(r"\[.*?\]", "", re.split(r" {3,}| \| ", line.strip())[0]) for line in lines]
    return [shlex.split(line, comments=True) for line in lines if re.match(r"(\S*/)?bulkreset ", line)]


def test_command_lines_are_accepted_by_the_program() -> None:
    given = command_lines()
    assert {name for _, name, *_ in given} == set(COMMANDS)
    commands = typer.main.get_group(app).commands
    for _, name, *rest in given:
        commands[name].make_context(name, rest)


def test_commands_named_in_the_text_have_the_flags_that_they_are_named_with() -> None:
    known = {command: flags_of(command) for command in COMMANDS}
    named = re.findall(r"`bulkreset ([a-z]+)([^`\n]*)`", "\n".join(map(prose, EVERYTHING)))
    assert len(named) > len(COMMANDS)
    for command, rest in named:
        assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)) <= known[command], f"bulkreset {command}{rest}"


# ---- the output of a run


def test_statuses() -> None:
    assert first(table("status | where"), "status") == [status.value for status in Status]


def test_codes_of_the_plan() -> None:
    documented = {quoted(row["code"])[0]: row["status"] for row in table("code | status")}
    assert {code for code, status in documented.items() if status == "rejected"} == {code.value for code in RejectCode}
    assert {code for code, status in documented.items() if status == "skipped"} == {kind.value for kind in SkipReason}


def test_codes_of_the_service() -> None:
    rows = [set(quoted(row["codes"])) for row in table("codes | what happens")]
    throttled, unsent, doubtful, refused, expired, paused, fatal = rows
    signed_out = {kind.__name__ for kind in response_parser.NO_CREDENTIALS}
    assert throttled == {*causes.THROTTLED}
    assert unsent == {kind.__name__ for kind in http_errors.UNSENT}
    assert doubtful >= set(causes.DOUBTFUL)
    assert refused >= response.PASSWORD_REFUSALS
    assert expired == response._EXPIRED | signed_out
    assert paused == response._PAUSED
    assert fatal == causes.FATAL.keys() - response._EXPIRED - response._PAUSED - signed_out
    for code in refused:
        assert response.classify(code, 400) is response.Disposition.REFUSED


def test_every_code_is_in_the_runbook() -> None:
    documented = {code for line in RUNBOOK.splitlines() if line.startswith("|") for code in quoted(_cells(line)[0])}
    of_rows = (
        {code.value for code in RejectCode}
        | {kind.value for kind in SkipReason}
        | causes.PLAN.keys()
        | causes.FAILED.keys()
        | causes.IN_DOUBT.keys()
        | causes.FATAL.keys()
    )
    of_the_service = (
        {*causes.THROTTLED}
        | set(causes.DOUBTFUL)
        | response.PASSWORD_REFUSALS
        | response._EXPIRED
        | causes.FATAL.keys()
    )
    kinds = {kind.__name__ for kind in (*response_parser.NO_CREDENTIALS, *http_errors.UNSENT)}
    known = {quoted(cell)[0] for row in table("codes | what happens") for cell in re.findall(r"`\w+`", row["codes"])}
    assert of_rows | of_the_service | kinds | known <= documented


def test_every_exit_code_is_in_the_runbook() -> None:
    documented = {
        int(code) for row in table("exit code | what to do") for code in re.findall(r"\b\d+\b", row["exit code"])
    }
    assert documented == {int(row["code"]) for row in table("code | meaning | resumable")} | {134, 137}


def test_exit_codes() -> None:
    known = {errors.EXIT_OK, errors.EXIT_ROWS, errors.EXIT_BUG}
    for kind in _below(errors.BulkresetError):
        known |= {2 + 128, 15 + 128} if kind is errors.Interrupted else {kind.exit_code}
    assert [int(row["code"]) for row in table("code | meaning | resumable")] == sorted(known)
    for at in re.findall(r"\bexit(?: code)?s? (\d+)", DOCS, re.IGNORECASE):
        assert int(at) in known


def _below(kind: type[errors.BulkresetError]) -> Iterator[type[errors.BulkresetError]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from _below(inner)


def test_report_columns() -> None:
    assert tuple(first(table("column | meaning"), "column")) == REPORT_COLUMNS


def test_summary_keys() -> None:
    rows = {quoted(row["key"])[0]: row["meaning"] for row in table("key | meaning")}
    assert list(rows) == [field.name for field in fields(Summary)]
    assert set(quoted(rows["lanes"])) == {field.name for field in fields(LaneSummary)}


def test_states_of_the_follow_through() -> None:
    documented = {quoted(row["state"])[0]: row["left"] for row in table("state | passwords")}
    assert list(documented) == [state.value for state in user_state.UserState]
    assert {state for state, left in documented.items() if not left} == user_state.DONE


def test_columns_of_the_follow_through() -> None:
    (sentence,) = re.findall(r"Each set row is a line of `verify.csv`.*?: (`row`.*?);", DOCS, re.DOTALL)
    assert tuple(quoted(sentence)) == user_state.COLUMNS


def test_log_events() -> None:
    emitted: dict[str, str] = {}
    for path in Path(inspect.getfile(bulkreset)).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if not _MAY_WRITE_AN_EVENT(text):  # most modules, and parsing all of them takes long
            continue
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and call.args and _writes_an_event(call.func):
                event = call.args[0]
                assert isinstance(event, ast.Constant), f"{path.name}:{call.lineno} has no fixed name"
                emitted[str(event.value)] = path.name
    assert set(emitted) == set(first(table("event | level"), "event"))


# Matches everything that `_writes_an_event` finds.
_MAY_WRITE_AN_EVENT = re.compile(r"\b(?:_?event|debug|info|warning|error|critical|exception|write)\(").search


def _writes_an_event(called: ast.expr) -> bool:
    if isinstance(called, ast.Attribute):
        return called.attr in {"event", "_event"} or (  # the cluster's name for the function
            called.attr in {"debug", "info", "warning", "error", "critical", "exception"}
            and "log" in ast.dump(called.value).lower()
        )
    return isinstance(called, ast.Name) and called.id == "write"


# ---- the journal


def test_schema() -> None:
    assert _tables(block("sql")) == _tables(schema.TABLES)
    assert f"schema version {schema.VERSION} (`user_version` {schema.VERSION}," in DOCS
    assert f"`application_id` {schema.APPLICATION_ID:#x}" in DOCS
    assert f"Journal schema {schema.VERSION}." in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def _tables(statements: str) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(statements)
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {name: db.execute(f"PRAGMA table_xinfo({name})").fetchall() for name in names}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, running: Simulator) -> Path:
    """A small run's directory: two rows set, one rejected."""
    home = tmp_path_factory.mktemp("readme")
    (home / "in.csv").write_text("username,password\nann,Quiet-Garden.1\nben,Quiet-Garden.2\ncat,\n", encoding="utf-8")
    running.reset()
    running.add_pool(POOL, policy=LAX, auto_users=True)
    where = ("--user-pool-id", POOL, "--region", REGION, "--endpoint-url", running.url, "--no-check-users")
    ran = Command(home, running)("run", "--input", "in.csv", *where, "--yes", "-vv", "--run-dir", home / "run")
    assert ran.code == 1, ran.stderr
    return ran.run_dir


@pytest.mark.process
def test_run_directory(run_dir: Path) -> None:
    rows = table("file | what")
    assert {path.name for path in run_dir.iterdir()} == set(first(rows, "file"))


@pytest.mark.process
def test_keys_of_meta(run_dir: Path) -> None:
    documented = [key for row in table("fact | meaning") for key in quoted(row["fact"]) if "[]" not in key]
    with closing(sqlite3.connect(run_dir / "journal.sqlite")) as db:
        known = {key for (key,) in db.execute("SELECT key FROM meta")}
    assert set(documented) == known
    assert len(documented) == len(known)


@pytest.mark.process
def test_keys_of_targets_and_input(run_dir: Path) -> None:
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    rows = {quoted(row["key"])[0]: row["meaning"] for row in table("key | meaning")}
    assert quoted(rows["input"]) == list(summary["input"])
    assert quoted(rows["targets"]) == list(summary["targets"][0])


@pytest.mark.process
def test_fields_of_events(run_dir: Path) -> None:
    documented = {quoted(row["event"])[0]: row for row in table("event | level")}
    every = {"run_id", "event", "level", "timestamp"}
    for line in (run_dir / "log.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        row = documented[event["event"]]
        assert event.keys() - every == set(quoted(row["fields"])), event["event"]
        assert event["level"] in {row["level"], "debug"}


# ---- the map of the modules


def test_map_of_the_house() -> None:
    page = house_map.PAGE.read_text(encoding="utf-8")
    rows = house_map.map_of_modules(page)
    assert house_map.HEAD + rows + "\n" in page, "python -m tests.house_map writes the map anew"


def test_mutation_tests_name_modules_and_tests_that_exist() -> None:
    mutmut = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    named = [*mutmut["only_mutate"], *mutmut["pytest_add_cli_args_test_selection"], *statements.TESTS]
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_documented_layers_agree_with_the_contract() -> None:
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    rows = [row["what may import what"] for row in table("layer | what may import what")]
    documented = [set(quoted(layer)) for row in rows for layer in row.split("→")]
    assert documented == [set(layer.split(" | ")) for layer in contract["layers"]]


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    said = "\n".join(EVERYTHING)
    blocks = re.findall(r"^```\w*\n(.*?)^```", said, re.MULTILINE | re.DOTALL)
    named = {*re.findall(r"`make ([a-z]+)", said), *re.findall(r"^make ([a-z]+)", "\n".join(blocks), re.MULTILINE)}
    assert {"demo", "test", "soak", "bench", "pictures", "fresh", "lint", "lock"} <= named <= targets


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        assert "://" not in link, link
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """Return the link targets of this page's headings; each heading must be unique."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    found = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(found) == len(set(found)), page
    return set(found)


def prose(text: str) -> str:
    """Return a page without its blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def test_guide_names_what_exists() -> None:
    """Check each path and each name of CONTRIBUTING's "How to add"."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    guide = text.partition("\n## How to add\n")[2].partition("\n## ")[0]
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("bulkreset", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(__file__)
    )
    words = {*re.findall(r"\w+", code)}
    for name in quoted(guide):
        if re.search(r"/|\.(py|md|html|toml|yaml)$", name):
            assert any((ROOT / folder / name).exists() for folder in ("bulkreset", "", "tests/input")), name
        elif " " not in name:
            assert {*re.findall(r"\w+", name)} <= words, name


def test_every_page_and_picture_is_linked_from_the_front() -> None:
    front = PAGES[ROOT / "README.md"]
    assert len(front.splitlines()) <= LONGEST
    pictures = (ROOT / "samples" / "pictures").iterdir()
    wanted = {path for path in PAGES if path.name != "README.md"} | set(pictures)
    linked = {(ROOT / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)\)", front)}
    assert {path for path in wanted - linked if not _is_a_variant(path, linked)} == set()


def _is_a_variant(path: Path, linked: set[Path]) -> bool:
    """Return whether it is a shown picture in another width or theme."""
    name = path.name.partition("-")[0]
    return path.suffix == ".png" and any(one.name.startswith(f"{name}-") for one in linked)


def test_pictures_are_small_and_do_not_show_their_machine() -> None:
    for path in (ROOT / "samples" / "pictures").iterdir():
        assert path.stat().st_size <= LARGEST, path
        if path.suffix == ".svg":
            drawn = path.read_text(encoding="utf-8")
            assert set(re.findall(r"url\((.)", drawn)) <= {"#"}  # a picture in a page may load nothing
            assert not re.search(r"/(tmp|root|home)/|@import|<image", drawn)


def test_no_two_classes_have_one_name() -> None:
    names = Counter(
        name.lstrip("_")
        for path in (ROOT / "bulkreset").rglob("*.py")
        for name in re.findall(r"^ *class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert len(names) > 100
    assert [name for name, times in names.items() if times > 1] == []
