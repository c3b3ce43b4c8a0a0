"""The job file: every wrong key is named, no value is shown, and a flag overrides the file."""

import inspect
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bulkreset.cli import run
from bulkreset.cli.options import flags_of
from bulkreset.errors import InputError, JobError
from bulkreset.input.reader import open_rows
from bulkreset.job import InputConfig, Job, PaceConfig, PasswordPolicy, Target
from bulkreset.job.file import _name_from, job_from_journal, load
from bulkreset.report.report_writers import write_csv
from bulkreset.steps import SIGN_OUT

POOL, OTHER = "eu-west-1_Here00001", "us-east-1_There0001"
INPUT = '[input]\npath = "users.csv"\n'
TARGET = f'[[targets]]\nuser_pool_id = "{POOL}"\n'
FEWEST = INPUT + TARGET
TWO = FEWEST + f'[[targets]]\nuser_pool_id = "{OTHER}"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder with the job files."""
    return tmp_path


def job(folder: Path, text: str | bytes, **overrides: Any) -> Job:  # noqa: ANN401  (job keys, __ for a dot)
    """Load a job file with this text."""
    path = folder / "nightly.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path, {key.replace("__", "."): value for key, value in overrides.items()})


def problem(folder: Path, text: str | bytes, **overrides: Any) -> str:  # noqa: ANN401  (job keys)
    """Return the error message for an invalid job file."""
    with pytest.raises(JobError) as caught:
        job(folder, text, **overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_fewest_keys_make_a_job_of_defaults(folder: Path) -> None:
    made = job(folder, FEWEST)
    assert (made.name, made.permanent) == ("nightly", False)
    assert made.input == InputConfig(path=folder / "users.csv")
    assert made.targets == (Target(user_pool_id=POOL),)
    assert made.pace == PaceConfig(rate="auto", share=0.8, max_attempts=10, max_wait=20.0)
    assert made.password.policy == PasswordPolicy()
    assert made.guards.max_rows is None


def test_every_table_is_read(folder: Path) -> None:
    made = job(
        folder,
        f"""
name = "campaign"
permanent = true
[input]
path = "in/users.tsv"
format = "csv"
delimiter = "\\t"
encoding = "cp1252"
on_duplicate = "last"
columns = {{ username = "mail", password = "pw", permanent = "p", user_pool_id = "pool" }}
[[targets]]
user_pool_id = "{POOL}"
region = "eu-west-1"
profile = "admin"
endpoint_url = "https://cognito.example"
ca_bundle = "ca.pem"
verify_ssl = false
connect_timeout = 2
read_timeout = 3.5
[password.policy]
minimum_length = 12
require_symbols = true
[pace]
rate = 24
share = 0.5
workers = 8
max_attempts = 3
max_wait = 5
[guards]
max_rows = 0
[emulator]
quota = 100
""",
    )
    assert (made.name, made.permanent, made.input.columns.password) == ("campaign", True, "pw")
    assert (made.input.delimiter, made.input.encoding, made.input.on_duplicate) == ("\t", "cp1252", "last")
    (target,) = made.targets
    assert (target.verify_ssl, target.connect_timeout, target.read_timeout) == (False, 2, 3.5)
    assert target.ca_bundle == folder / "ca.pem"
    assert made.password.policy == PasswordPolicy(minimum_length=12, require_symbols=True)
    assert (made.pace.rate, made.pace.share, made.pace.workers, made.pace.max_attempts) == (24, 0.5, 8, 3)
    assert (made.guards.max_rows, made.emulator.quota) == (0, 100)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("permenent = true\n" + FEWEST, "permenent is not a known key (did you mean permanent?)"),
        (FEWEST + "[paces]\nrate = 1\n", "[paces] is not a known table; did you mean [pace]?"),
        (FEWEST + "[pace]\nrates = 1\n", "pace.rates is not a known key (did you mean rate?)"),
        (FEWEST + "[pace]\nzzz = 1\n", "pace.zzz is not a known key"),
        (INPUT + 'encodign = "x"\n' + TARGET, "input.encodign is not a known key (did you mean encoding?)"),
        (
            INPUT + '[input.columns]\nuser = "x"\n' + TARGET,
            "input.columns.user is not a known key (did you mean username?)",
        ),
        (FEWEST + 'regoin = "x"\n', "targets.0.regoin is not a known key (did you mean region?)"),
        (TWO + 'regoin = "x"\n', "targets.1.regoin is not a known key (did you mean region?)"),
        (
            FEWEST + "[password.policy]\nrequire_symbol = true\n",
            "password.policy.require_symbol is not a known key (did you mean require_symbols?)",
        ),
        (INPUT + TARGET.replace("user_pool_id", "user_pool"), "targets.0.user_pool_id is missing"),
    ],
)
def test_unknown_key_is_named_and_the_nearest_suggested(folder: Path, text: str, said: str) -> None:
    assert said in problem(folder, text)


def test_unknown_key_like_no_other_gets_no_suggestion(folder: Path) -> None:
    assert "did you mean" not in problem(folder, FEWEST + "[pace]\nzzz = 1\n")


def test_wrong_target_is_one_problem(folder: Path) -> None:
    said = problem(folder, FEWEST + 'regoin = "x"\n')
    assert (
        said
        == f"{folder / 'nightly.toml'} is not a valid job: targets.0.regoin is not a known key (did you mean region?)."
    )


def test_every_wrong_key_is_named_at_once(folder: Path) -> None:
    said = problem(folder, 'permanent = "yes"\n' + FEWEST + "[pace]\nshare = 2\nworkers = 0\n[guards]\nmax_rows = -1\n")
    assert all(key in said for key in ("permanent", "pace.share", "pace.workers", "guards.max_rows"))


WRONG = [
    ('permanent = "true"\n' + FEWEST, "permanent"),
    ("permanent = 1\n" + FEWEST, "permanent"),
    ("name = 5\n" + FEWEST, "name"),
    ('name = "a/b"\n' + FEWEST, "name"),
    ('name = ""\n' + FEWEST, "name"),
    ('name = "-x"\n' + FEWEST, "name"),
    ("[input]\npath = 5\n" + TARGET, "input.path"),
    (INPUT + 'format = "xlsx"\n' + TARGET, "input.format"),
    (INPUT + 'delimiter = ";;"\n' + TARGET, "input.delimiter must be one character"),
    (INPUT + 'delimiter = ""\n' + TARGET, "input.delimiter must be one character"),
    (INPUT + "delimiter = '\"'\n" + TARGET, "input.delimiter must be one character"),
    (INPUT + 'delimiter = "\\n"\n' + TARGET, "input.delimiter must be one character"),
    (INPUT + 'encoding = "utf-9"\n' + TARGET, "input.encoding is not an encoding"),
    *((INPUT + f'encoding = "{name}"\n' + TARGET, "input.encoding") for name in ("base64", "rot13", "hex", "zlib")),
    (INPUT + 'on_duplicate = "both"\n' + TARGET, "input.on_duplicate"),
    (INPUT + 'columns = "x"\n' + TARGET, "input.columns"),
    (INPUT + "[input.columns]\nusername = 5\n" + TARGET, "input.columns.username"),
    (INPUT + '[input.columns]\npassword = "username"\n' + TARGET, "input.columns names one column for two things"),
    (INPUT + '[input.columns]\nusername = "x"\npermanent = "x"\n' + TARGET, "input.columns names one column"),
    (INPUT + '[[targets]]\nuser_pool_id = "nounderscore"\n', "targets.0.user_pool_id"),
    (INPUT + '[[targets]]\nuser_pool_id = "a_b\\n"\n', "targets.0.user_pool_id"),
    (INPUT + f'[[targets]]\nuser_pool_id = "{"a" * 55}_b"\n', "targets.0.user_pool_id"),
    (FEWEST + 'endpoint_url = "ftp://x"\n', "targets.0.endpoint_url"),
    (FEWEST + 'endpoint_url = "https://a b"\n', "targets.0.endpoint_url"),
    (FEWEST + 'endpoint_url = "https://ann:pw@a"\n', "targets.0.endpoint_url must not have a user name"),
    (FEWEST + 'verify_ssl = "no"\n', "targets.0.verify_ssl"),
    (FEWEST + "connect_timeout = 0\n", "targets.0.connect_timeout"),
    (FEWEST + "read_timeout = inf\n", "targets.0.read_timeout"),
    (FEWEST + 'read_timeout = "5"\n', "targets.0.read_timeout"),
    (FEWEST + "[password.policy]\nminimum_length = 5\n", "password.policy.minimum_length"),
    (FEWEST + "[password.policy]\nminimum_length = 100\n", "password.policy.minimum_length"),
    (FEWEST + "[password.policy]\nrequire_symbols = 1\n", "password.policy.require_symbols"),
    (FEWEST + "[pace]\nshare = 0\n", "pace.share"),
    (FEWEST + "[pace]\nshare = 1.01\n", "pace.share"),
    (FEWEST + "[pace]\nworkers = 257\n", "pace.workers"),
    (FEWEST + '[pace]\ntransport = "http"\n', "pace.transport"),
    (FEWEST + "[pace]\nworkers = 1.5\n", "pace.workers"),
    (FEWEST + "[pace]\nmax_attempts = 0\n", "pace.max_attempts"),
    (FEWEST + "[pace]\nmax_wait = -1\n", "pace.max_wait"),
    (FEWEST + "[emulator]\nquota = 0\n", "emulator.quota"),
    (FEWEST + '[guards]\nscope = "all"\n', "guards.scope"),
    (FEWEST + "[after]\nsign_out = 1\n", "after.sign_out"),
    ('after = ["sign_of"]\n' + FEWEST, "after.sign_of is not a known key (did you mean sign_out?)"),
    ("after = [7]\n" + FEWEST, "after"),
    (FEWEST + "[after]\nsignout = true\n", "after.signout is not a known key (did you mean sign_out?)"),
    (FEWEST + 'role_arn = "resetter"\n', "targets.0.role_arn"),
    (FEWEST + 'role_arn = "arn:aws:iam::123:role/x"\n', "targets.0.role_arn"),
    (FEWEST + 'role_session_name = "a b"\n', "targets.0.role_session_name"),
    (FEWEST + 'external_id = "x"\n', "targets.0.external_id"),
    (FEWEST + 'external_id = "xy"\n', "an external_id needs a role_arn"),
    ('[input]\npath = "x"\n[targets]\nuser_pool_id = "a_b"\n', "targets"),
    ('targets = "x"\n' + INPUT, "targets"),
    *(
        (f"input = {value}\n" + TARGET, "input must be a table")
        for value in ('"path"', "5", "true", "1979-05-27", "[]")
    ),
    ("pace = 5\n" + FEWEST, "pace"),
]


@pytest.mark.parametrize(("text", "key"), WRONG)
def test_wrong_value_is_named_by_its_key(folder: Path, text: str, key: str) -> None:
    said = problem(folder, text)
    assert said.startswith(f"{folder / 'nightly.toml'} is not a valid job: ")
    assert key in said


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "true", '"fast"', '"24"', "[]", "1979-05-27"])
def test_rate_is_explained_in_one_sentence(folder: Path, rate: str) -> None:
    said = problem(folder, FEWEST + f"[pace]\nrate = {rate}\n")
    assert said.count("pace.rate") == 1
    assert 'pace.rate must be a number of calls per second above 0 and up to 10000, "auto" or "none"' in said


@pytest.mark.parametrize(("rate", "value"), [("24", 24), ("0.1", 0.1), ('"auto"', "auto"), ('"none"', "none")])
def test_rate_is_a_number_or_a_word(folder: Path, rate: str, value: object) -> None:
    assert job(folder, FEWEST + f"[pace]\nrate = {rate}\n").pace.rate == value


SECRET = "s3cr3t-Value!"
LEAKS = [
    f'password = "{SECRET}"\n' + FEWEST,
    f'name = "{SECRET}"\n' + FEWEST,
    f'permanent = "{SECRET}"\n' + FEWEST,
    f'token = "{SECRET}"\n' + FEWEST,
    f'input = "{SECRET} path"\n' + TARGET,
    INPUT + f'format = "{SECRET}"\ndelimiter = "{SECRET}"\nencoding = "{SECRET}"\non_duplicate = "{SECRET}"\n' + TARGET,
    INPUT + f'[[targets]]\nuser_pool_id = "{SECRET}"\n',
    FEWEST + f'secret_access_key = "{SECRET}"\nendpoint_url = "{SECRET}"\nverify_ssl = "{SECRET}"\n',
    FEWEST + f'connect_timeout = "{SECRET}"\n',
    FEWEST + f'[password]\npolicy = "{SECRET}"\n',
    FEWEST + f'[password]\ndefault = "{SECRET}"\n',
    FEWEST + f'[pace]\nrate = "{SECRET}"\nshare = "{SECRET}"\nworkers = "{SECRET}"\n',
    FEWEST + f'[guards]\nmax_rows = "{SECRET}"\n',
    f'targets = ["{SECRET}"]\n' + INPUT,
]


@pytest.mark.parametrize("text", LEAKS)
def test_job_error_shows_no_value(folder: Path, text: str) -> None:
    said = problem(folder, text)
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    "text",
    [f'x = "{SECRET}\n' + FEWEST, FEWEST + f"password = {SECRET}\n", FEWEST + f"[x\n{SECRET}", f"{SECRET} = = 1"],
)
def test_syntax_error_names_its_line_and_shows_no_value(folder: Path, text: str) -> None:
    said = problem(folder, text)
    assert "is not TOML" in said
    assert re.search(r"line \d+", said)
    assert "s3cr3t" not in said


@pytest.mark.parametrize("name", ["users.csv", "Users.CSV.gz", "users.parquet", "users.csv.age"])
@pytest.mark.parametrize("content", [b"username,password\nann,s3cr3t\n", b"PAR1\xff", b"a,b\n" * (1 << 20) + b"x"])
def test_input_given_as_a_job_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(JobError) as caught:
        load(tmp_path / name, {})
    assert caught.value.advice == f"Pass it as one: --input {tmp_path / name}."
    assert "s3cr3t" not in str(caught.value)


def test_job_with_the_name_of_an_input_is_read_or_named(tmp_path: Path) -> None:
    path = tmp_path / "job.csv"
    with pytest.raises(JobError, match="There is no job file"):
        load(path, {})
    path.write_text(FEWEST)
    assert load(path, {"input.path": "in.csv"}).targets


def test_file_that_is_not_utf8_is_not_toml(folder: Path) -> None:
    assert "is not TOML" in problem(folder, FEWEST.encode() + b"# s3cr3t \xff\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "[" * 100_000, "nested too deeply"),
        ("x = " + "9" * 5_000, "thousands of digits"),
        ('"\\u001b[2J" = 1', r"'\x1b[2J'"),
    ],
    ids=["nested", "digits", "key"],
)
def test_hostile_file_is_refused_in_one_printable_line(folder: Path, text: str, said: str) -> None:
    message = problem(folder, f"{text}\n{FEWEST}")
    assert said in message
    assert message.isprintable()


def test_value_in_a_message_is_printable(folder: Path) -> None:
    message = problem(folder, FEWEST + 'region = "eu-west-1\\u2028\\u001b[2J"\n')
    assert 'region is "eu-west-1' in message
    assert message.isprintable()


def test_file_that_cannot_be_read_is_named(folder: Path) -> None:
    with pytest.raises(JobError, match=r"There is no job file .*none\.toml"):
        load(folder / "none.toml", {})
    with pytest.raises(JobError, match="is a directory, not a job file"):
        load(folder, {})


def test_missing_input_and_pool_are_named_with_their_flags(folder: Path) -> None:
    assert "--input" in problem(folder, TARGET)
    assert "--input" in problem(folder, '[input]\nformat = "csv"\n' + TARGET)
    assert "--user-pool-id" in problem(folder, INPUT)
    assert "--user-pool-id" in problem(folder, "targets = []\n" + INPUT)
    with pytest.raises(JobError, match="--input"):
        load(None, {"targets.user_pool_id": POOL})
    with pytest.raises(JobError, match="--user-pool-id"):
        load(None, {"input.path": Path("users.csv")})
    with pytest.raises(JobError, match="user_pool_id is missing"):
        load(None, {"input.path": Path("users.csv"), "targets.region": "eu-west-1"})


def test_two_targets_with_one_pool_are_refused(folder: Path) -> None:
    assert "two of them name the same user pool" in problem(folder, FEWEST + TARGET)
    assert [target.user_pool_id for target in job(folder, TWO).targets] == [POOL, OTHER]


# Every override: its key, a value, and the place of its value in the job.
OVERRIDES: list[tuple[str, object, str]] = [
    ("input.path", Path("/data/other.csv"), "input.path"),
    ("targets.user_pool_id", OTHER, "targets.0.user_pool_id"),
    ("targets.region", "eu-west-1", "targets.0.region"),
    ("targets.profile", "admin", "targets.0.profile"),
    ("targets.endpoint_url", "https://x.example", "targets.0.endpoint_url"),
    ("targets.ca_bundle", Path("/ca.pem"), "targets.0.ca_bundle"),
    ("targets.verify_ssl", False, "targets.0.verify_ssl"),
    ("targets.connect_timeout", 1.0, "targets.0.connect_timeout"),
    ("targets.read_timeout", 2.0, "targets.0.read_timeout"),
    ("permanent", True, "permanent"),
    ("pace.rate", 12.0, "pace.rate"),
    ("pace.rate", "none", "pace.rate"),
    ("pace.share", 0.25, "pace.share"),
    ("pace.workers", 3, "pace.workers"),
    ("guards.max_rows", 7, "guards.max_rows"),
]


@pytest.mark.parametrize(("key", "value", "place"), OVERRIDES)
@pytest.mark.parametrize("from_file", [True, False])
def test_override_beats_the_file_and_the_default(
    folder: Path, key: str, value: object, place: str, *, from_file: bool
) -> None:
    path = folder / "nightly.toml"
    path.write_text(
        "permanent = false\n"
        + FEWEST
        + 'region = "us-east-1"\nreplica = true\nprofile = "y"\n[pace]\nrate = 1\nshare = 0.9\n[guards]\nmax_rows = 1\n'
    )
    needed = {} if from_file else {"input.path": Path("/data/users.csv"), "targets.user_pool_id": POOL}
    found: Any = load(path if from_file else None, needed | {key: value})
    for part in place.split("."):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    assert found == value


def test_every_override_of_the_command_line_is_a_key_of_the_job() -> None:
    asked = set(
        re.findall(r'"((?:[a-z_]+\.)+[a-z_]+|permanent)":', inspect.getsource(run.run) + inspect.getsource(run._limits))
    )
    assert {key for key, _, _ in OVERRIDES} <= asked
    for key in asked:
        model: Any = Job
        *tables, leaf = key.split(".")
        for table in tables:
            annotation = model.model_fields[table].annotation
            model = annotation if isinstance(annotation, type) else get_args(annotation)[0]
            assert issubclass(model, BaseModel)
        assert leaf in model.model_fields, key


def test_wrong_override_is_named(folder: Path) -> None:
    assert "pace.share" in problem(folder, FEWEST, pace__share=3.0)
    with pytest.raises(
        JobError, match=r"command line is not a valid job.*targets\.0\.user_pool_id must be a user pool ID"
    ):
        load(None, {"input.path": Path("x.csv"), "targets.user_pool_id": "nounderscore"})


FLAGS = [
    ({"pace.rate": "fast"}, '--rate must be a number of calls per second above 0 and up to 10000, "auto" or "none".'),
    ({"pace.share": 3.0}, "--share must be at most 1."),
    ({"guards.max_duration": "soon"}, '--max-duration must be seconds, or a number with s, m, h or d, as in "90m".'),
    ({"targets.user_pool_id": "lab"}, '--user-pool-id must be a user pool ID like "eu-west-1_Example01".'),
    ({"pace.workers": 0, "guards.max_rows": -1}, "--workers must be at least 1; --max-rows must be at least 0."),
]


@pytest.mark.parametrize(("given", "said"), FLAGS)
def test_message_for_a_wrong_value_names_the_flag(folder: Path, given: dict[str, Any], said: str) -> None:
    path = folder / "nightly.toml"
    path.write_text(FEWEST)
    flags = flags_of(given)
    with pytest.raises(JobError) as caught:
        load(path, given, flags)
    assert str(caught.value) == said
    path.write_text(FEWEST + "[emulator]\nquota = 0\n")
    with pytest.raises(JobError) as caught:
        load(path, given, flags)
    both = f"{said.removesuffix('.')}; {path} is not a valid job: emulator.quota must be greater than 0."
    assert str(caught.value) == both


MISTAKES = [
    ("[inputs]\npath = 'x'\n" + TARGET, "[inputs] is not a known table; did you mean [input]?"),
    (INPUT + TARGET.replace("targets", "target"), "[target] is not a known table; did you mean [[targets]]?"),
    (INPUT + TARGET.replace("[[targets]]", "[targets]"), "write [[targets]] with double brackets"),
    (
        INPUT + "permanent = true\n" + TARGET,
        "input.permanent is not a known key; permanent belongs at the top of the file, above all tables",
    ),
    ("rate = 5\n" + FEWEST, "rate is not a known key; rate belongs in [pace]"),
    (INPUT + 'state = "s.json"\n' + TARGET, "input.state is not a known key; state belongs in [schedule]"),
    (FEWEST + "max_rows = 5\n", "targets.0.max_rows is not a known key; max_rows belongs in [guards]"),
    ('permanent = "true"\n' + FEWEST, "permanent must be true or false, without quotes."),
    (FEWEST + '[guards]\nmax_rows = "5"\n', "guards.max_rows must be a whole number, without quotes."),
    (FEWEST + '[guards]\nstop_at = "6:30"\n', 'guards.stop_at must be a time like "06:30".'),
    (FEWEST + '[guards]\nscope = "lanes"\n', 'guards.scope must be "lane" or "run" (did you mean "lane"?).'),
    (FEWEST + "[report]\nformat = 5\n", 'report.format must be "csv", "parquet" or "jsonl".'),
    (FEWEST + '[mirror]\nto = "bucket"\n', 'mirror.to must be an S3 address like "s3://bucket/runs/".'),
    ("pace = 5\n" + FEWEST, "pace must be a table."),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_mistake_is_reported_in_plain_words(folder: Path, text: str, said: str) -> None:
    found = problem(folder, text)
    assert said in found
    assert not re.search(r"\^|\\d|[Ii]nput should|pattern", found)  # internals that the message must not show


def test_no_column_of_the_report_can_be_carried_from_the_input(folder: Path) -> None:
    written = io.BytesIO()
    write_csv([], written)
    header = written.getvalue().decode().strip().split(",")
    assert "recovery" in header
    for name in header:
        found = problem(folder, FEWEST + f'[report]\ncolumns = ["ticket", "{name}"]\n')
        assert f"names {name}, which is a column of the report itself" in found


LINES = [
    ('x = "users.csv\n', "line 1: the closing quote is missing"),
    ("\nx = users.csv\n", "line 2: the value is missing, or is text without quotes"),
    ("[pace\nx = 1\n", 'line 1: the closing "]" of the table is missing'),
    ("x 1\n", 'line 1: there is no "=" after the key'),
    ("x = 1\nx = 2\n", "line 2: this key or table occurs twice"),
    ("x = 1 2\n", "line 1: there is something after the value"),
    ("x = [1\ny = 2\n", 'line 2: the closing "]" of the list is missing'),
    ('x = "C:\\users"\n', 'line 1: a "\\" in text must be doubled'),
]


@pytest.mark.parametrize(("text", "said"), LINES)
def test_syntax_error_names_the_missing_character(folder: Path, text: str, said: str) -> None:
    assert said in problem(folder, text)


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("job.yaml", "name: x\n", "YAML"),
        ("job.toml", "# a job\ninput:\n  path: x\n", "YAML"),
        ("job.json", '{"name": "x"}', "JSON"),
        ("job.toml", '{"name": "x"}', "JSON"),
    ],
)
def test_file_of_another_format_is_named(folder: Path, name: str, text: str, kind: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(JobError) as caught:
        load(folder / name, {})
    assert str(caught.value) == f"{folder / name} looks like {kind}. Job files are TOML. To write one: bulkreset init."


def test_run_directory_given_as_a_job_is_named(folder: Path) -> None:
    (folder / "journal.sqlite").touch()
    with pytest.raises(JobError, match=r"is a run directory, not a job file\. To continue that run: bulkreset resume "):
        load(folder, {})


@pytest.mark.parametrize(("key", "flag"), [("region", "--region"), ("endpoint_url", "--endpoint-url")])
def test_target_override_needs_exactly_one_target(folder: Path, key: str, flag: str) -> None:
    said = problem(folder, TWO, **{f"targets__{key}": "https://x"})
    assert said.startswith(f"{flag} cannot be used: {folder / 'nightly.toml'} does not have exactly one target.")


@pytest.mark.parametrize("text", ['input = "x"\n' + TARGET, "input = 5\n" + TARGET])
def test_override_into_what_is_not_a_table_is_refused(folder: Path, text: str) -> None:
    assert "input must be a table" in problem(folder, text, input__path=Path("x"))


def test_paths_in_the_file_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[input]\npath = "../in/users.csv"\n' + TARGET + 'ca_bundle = "ca.pem"\n'
    made = job(folder, text)
    assert made.input.path == folder / "../in/users.csv"
    assert made.targets[0].ca_bundle == folder / "ca.pem"
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    relative = load(Path("../nightly.toml"), {})
    assert Path(relative.input.file).resolve() == (folder / "../in/users.csv").resolve()


def test_absolute_and_home_paths_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    for written, path in (("/data/users.csv", "/data/users.csv"), ("~/users.csv", "/home/ann/users.csv")):
        assert job(folder, f'[input]\npath = "{written}"\n' + TARGET).input.path == Path(path)


def test_home_of_an_unknown_user_is_a_path_that_does_not_exist(folder: Path) -> None:
    made = job(folder, '[input]\npath = "~nosuchuser/x"\n' + TARGET)
    assert made.input.path == folder / "~nosuchuser" / "x"
    with pytest.raises(InputError, match="There is no input file"):
        open_rows(made.input)


def test_path_on_the_command_line_is_relative_to_the_current_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    made = job(folder, FEWEST, input__path=Path("mine.csv"))
    assert Path(made.input.file).absolute() == folder / "here" / "mine.csv"


@pytest.mark.parametrize(
    ("file", "name"),
    [("nightly.toml", "nightly"), ("a b.c.toml", "a-b"), ("_x_.toml", "x"), ("é.toml", "job"), ("y" * 99, "y" * 64)],
)
def test_name_comes_from_the_file(file: str, name: str) -> None:
    assert _name_from(Path(file)) == name


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\x00"), min_size=1))
def test_name_from_any_file_is_a_name(file: str) -> None:
    made = Job.model_validate(
        {
            "name": _name_from(Path(file)),
            "input": {"path": Path("x")},
            "targets": [{"user_pool_id": POOL}],
        }
    )
    assert made.name


def test_job_does_not_change(folder: Path) -> None:
    made = job(folder, FEWEST)
    with pytest.raises(ValueError, match="frozen"):
        made.permanent = True  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        made.pace.share = 1  # type: ignore[misc]


def test_transport_that_is_not_installed_names_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FEWEST + '[pace]\ntransport = "crt"\n'
    assert job(folder, text).pace.transport == "crt"
    monkeypatch.setattr("bulkreset.job.base.find_spec", lambda _name: None)
    assert "pace.transport needs the extra crt" in problem(folder, text)


KEY = "age1qqqq"
GENERATE = '[password]\nsource = "generate"\n'
RECIPIENTS = f'recipients = ["{KEY}"]\n'


def test_generated_temporary_passwords_need_recipients(folder: Path) -> None:
    said = "password.recipients is missing: a generated temporary password must reach its user"
    assert said in problem(folder, FEWEST + GENERATE)
    assert said in problem(folder, FEWEST + GENERATE, permanent=False)
    assert job(folder, FEWEST + GENERATE + RECIPIENTS).generates
    assert job(folder, FEWEST + GENERATE, permanent=True).generates


def test_recipients_are_refused_if_the_input_has_the_passwords(folder: Path) -> None:
    said = 'password.recipients needs password.source = "generate"'
    assert said in problem(folder, FEWEST + "[password]\n" + RECIPIENTS)
    assert said in problem(folder, FEWEST + '[password]\nsource = "input"\n' + RECIPIENTS)


def test_column_of_passwords_is_not_named_if_they_are_generated(folder: Path) -> None:
    renamed = INPUT + '[input.columns]\npassword = "pw"\n' + TARGET + GENERATE
    said = 'input.columns.password needs password.source = "input"'
    assert said in problem(folder, renamed, permanent=True)


@pytest.mark.parametrize(
    ("after", "flags", "steps"),
    [
        ('after = ["sign_out", "delete_totp"]\n', {}, ["sign_out", "delete_totp"]),
        ('after = ["delete_totp", "sign_out"]\n', {"after.sign_out": False}, ["delete_totp"]),
        ("after = []\n", {"after.sign_out": True}, ["sign_out"]),
        ("", {"after.forget_devices": True}, ["forget_devices"]),
        ("after = { revoke_sessions = true, sign_out = true }\n", {}, ["sign_out", "revoke_sessions"]),
    ],
)
def test_steps_are_in_their_own_order_and_a_flag_changes_one_of_a_list(
    folder: Path, after: str, flags: dict[str, bool], steps: list[str]
) -> None:
    made = job(folder, after + FEWEST, **{key.replace(".", "__"): value for key, value in flags.items()})
    assert [step.name for step in made.steps] == steps


def test_one_step_that_is_not_in_a_list_is_refused_with_the_form_of_the_list(folder: Path) -> None:
    with pytest.raises(JobError, match="after must be a list of steps") as caught:
        job(folder, 'after = "sign_out"\n' + FEWEST)
    assert caught.value.advice == 'For example: after = ["sign_out"].'


@pytest.mark.parametrize(
    ("text", "permanent", "scrambles"),
    [
        (GENERATE, True, True),
        (GENERATE + RECIPIENTS, True, False),
        (GENERATE + RECIPIENTS, False, False),
        ("", True, False),
        ("", False, False),
    ],
)
@pytest.mark.parametrize("after", ["", "[after]\nsign_out = true\n", "[after]\nsign_out = false\n"])
def test_users_are_signed_out_by_default_only_after_a_scramble(
    folder: Path, text: str, after: str, *, permanent: bool, scrambles: bool
) -> None:
    made = job(folder, FEWEST + text + after, permanent=permanent)
    assert made.scrambles is scrambles
    assert (SIGN_OUT in made.steps) is ("true" in after or (not after and scrambles))


@pytest.mark.parametrize(("length", "fits"), [(11, False), (12, True), (98, True), (99, False)])
def test_length_of_generated_passwords_is_limited(folder: Path, length: int, *, fits: bool) -> None:
    text = FEWEST + GENERATE + f"length = {length}\n"
    if fits:
        assert job(folder, text, permanent=True).password.length == length
    else:
        assert "password.length" in problem(folder, text, permanent=True)


@pytest.mark.parametrize("rows", ["0", "-1", "1.5", '"5"'])
def test_row_limit_is_a_number_of_rows(folder: Path, rows: str) -> None:
    assert "guards.limit" in problem(folder, FEWEST + f"[guards]\nlimit = {rows}\n")


def test_folder_of_the_passwords_is_relative_to_the_file(folder: Path) -> None:
    made = job(folder, FEWEST + GENERATE + RECIPIENTS + 'folder = "out"\n')
    assert made.password.folder == folder / "out"
    assert job_from_journal(made.model_dump(mode="json"), {}) == made


FROM_POOL = "[input]\nfrom_pool = true\n" + TARGET
MADE = 'permanent = true\npassword = { source = "generate" }\n'


def test_pool_is_an_input_if_passwords_are_generated(folder: Path) -> None:
    select = '[input.select]\nstatuses = ["CONFIRMED"]\ngroups = ["staff"]\nnot_in = "done.csv"\n'
    made = job(folder, MADE + FROM_POOL + select + "created_before = 2026-01-31\n")
    assert made.input.from_pool
    assert made.input.path is None
    chosen = made.input.select
    assert chosen.statuses == ("CONFIRMED",)
    assert chosen.not_in == folder / "done.csv"
    assert chosen.created_before == datetime(2026, 1, 31, tzinfo=UTC)
    assert job_from_journal(json.loads(made.model_dump_json()), {}) == made


@pytest.mark.parametrize(
    ("said", "when"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ('"2026-01-31"', datetime(2026, 1, 31, tzinfo=UTC)),
    ],
)
def test_moment_is_utc_by_default(folder: Path, said: str, when: datetime) -> None:
    made = job(folder, MADE + FROM_POOL + f"[input.select]\ncreated_before = {said}\n")
    assert made.input.select.created_before == when


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FROM_POOL, 'input.from_pool needs password.source = "generate"'),
        (MADE + FROM_POOL.replace("true", 'true\npath = "users.csv"'), "input has a path, and from_pool"),
        (MADE + FROM_POOL.replace("true", 'true\nidentity = "key.txt"'), "input has an identity, and from_pool"),
        (MADE + FROM_POOL.replace("true", "false"), "input names neither a path nor from_pool"),
        (
            MADE + INPUT + 'select.groups = ["staff"]\n' + TARGET,
            "input has a select, which needs from_pool",
        ),
        (MADE + FROM_POOL + '[input.select]\nstatuses = ["ACTIVE"]\n', "input.select.statuses.0"),
        (MADE + FROM_POOL + "[input.select]\ncreated_before = 5\n", "input.select.created_before must be a date"),
        (MADE + FROM_POOL + '[input.select]\ncreated_before = "May"\n', "input.select.created_before must be a date"),
        (MADE + FROM_POOL + '[input.select]\ngroup = ["x"]\n', "(did you mean groups?)"),
    ],
)
def test_invalid_selection(folder: Path, text: str, said: str) -> None:
    assert said in problem(folder, text)


@pytest.mark.parametrize(
    "text",
    [
        "[pace]\nrate = 1e-12\n",
        "[pace]\nshare = 1e-13\n",
        "[guards]\nmax_duration = inf\n",
        f'[guards]\nmax_duration = "{"9" * 400}d"\n',
    ],
)
def test_figures_beyond_all_reason_are_refused(folder: Path, text: str) -> None:
    key = text.splitlines()[1].split(" ")[0]
    assert key in problem(folder, FEWEST + text)


@pytest.mark.parametrize("key", ["connect_timeout", "read_timeout"])
def test_time_out_of_more_than_a_day_is_refused(folder: Path, key: str) -> None:
    assert key in problem(folder, FEWEST.rstrip() + f"\n{key} = 1e12\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[notify]\nurls_from = "T0ken"', 'notify.urls_from must be "env:NAME" or "file:PATH"'),
        ('[notify]\nurls = "json://T0ken"', "notify.urls must be a list"),
        ("[notify]\nurls = [5]", "notify.urls.0 must be text in quotes"),
        ('[notify]\non = ["T0ken"]', 'notify.on.0 must be "finish", "failure" or "guard"'),
        (
            '[notify]\nsns_topic_arn = "arn:aws:sns:eu-west-1:123456789012:T0ken.fifo"',
            "notify.sns_topic_arn must be the ARN of an SNS topic",
        ),
        ('[notify]\nurl = "json://T0ken"', "notify.url is not a known key (did you mean urls?)"),
        ('[metrics]\ntextfile = "b.txt"', "metrics.textfile must end with .prom"),
        ('[metrics]\nemf = ""', "metrics.emf must not be empty"),
    ],
)
def test_channels_are_checked_and_no_url_is_shown(folder: Path, text: str, said: str) -> None:
    found = problem(folder, FEWEST + text)
    assert said in found
    assert "T0ken" not in found


def test_url_is_only_in_the_job(folder: Path) -> None:
    made = job(folder, FEWEST + '[notify]\nurls = ["json://T0ken"]\n')
    assert made.notify.urls[0].get_secret_value() == "json://T0ken"
    shown = repr(made) + str(made) + made.model_dump_json() + json.dumps(made.model_dump(mode="json"))
    assert "T0ken" not in shown
    assert job_from_journal(made.model_dump(mode="json"), {}).notify.urls[0].get_secret_value().startswith("*")


def test_paths_of_urls_and_metrics_are_relative_to_the_file(folder: Path) -> None:
    text = '[notify]\nurls_from = "file:urls"\n[metrics]\ntextfile = "b.prom"\nemf = "emf.log"\n'
    made = job(folder, FEWEST + text)
    assert made.notify.urls_from == f"file:{folder / 'urls'}"
    assert (made.metrics.textfile, made.metrics.emf) == (folder / "b.prom", str(folder / "emf.log"))
    made = job(folder, FEWEST + '[notify]\nurls_from = "env:URLS"\n[metrics]\nemf = "stdout"\n')
    assert (made.notify.urls_from, made.metrics.emf) == ("env:URLS", "stdout")


@pytest.mark.parametrize(
    ("text", "extra"), [('[notify]\nurls_from = "env:X"', "notify"), ('[metrics]\ntextfile = "b.prom"', "metrics")]
)
def test_channel_names_the_missing_extra(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, extra: str) -> None:
    monkeypatch.setattr("bulkreset.job.base.find_spec", lambda _: None)
    assert f"pip install 'bulkreset[{extra}]'" in problem(folder, FEWEST + text)


def test_places_of_an_input_are_kept_in_order(folder: Path) -> None:
    made = job(folder, '[input]\npath = ["in/*.csv", "s3://bucket/in/", "/data/x.csv"]\n' + TARGET)
    assert made.input.places == (folder / "in/*.csv", "s3://bucket/in/", Path("/data/x.csv"))
    assert job_from_journal(made.model_dump(mode="json"), {}) == made
    night = job(folder, '[input]\npath = "in"\n[schedule]\nstate = "s.json"\ndone = "old"\nexpected = true\n' + TARGET)
    assert (night.schedule.state, night.schedule.done) == (folder / "s.json", folder / "old")
    assert job_from_journal(night.model_dump(mode="json"), {}) == night
    assert (
        job(
            folder, '[input]\npath = "s3://bucket/in/"\n[schedule]\nstate = "s.json"\ndone = "tag"\n' + TARGET
        ).schedule.done
        == "tag"
    )
    other = job(
        folder, '[input]\npath = "in"\n[schedule]\nstate = "s.json"\n' + TARGET, input__path="s3://bucket/other.csv"
    )
    assert (other.input.path, other.schedule.state) == ("s3://bucket/other.csv", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path = 5", "input.path must be a path, or a list of paths"),
        ("path = []", "input.path must be a path, or a list of paths"),
        ('path = "s3://bucket"', "input.path must name an object of S3's as s3://bucket/key"),
        ('path = "in"\n[schedule]\ndone = "old"', "schedule has done, but no state"),
        (
            'path = "in"\n[schedule]\nstate = "s"\ndone = "tag"',
            "schedule.done must be a folder if the inputs are files",
        ),
        (
            'path = "s3://bucket/in/"\n[schedule]\nstate = "s"\ndone = "old"',
            "schedule.done must be a folder if the inputs are files",
        ),
        ('path = "in"\n[mirror]\nto = "bucket/runs"', "mirror.to"),
        ('path = "in"\n[mirror]\nto = "s3://bucket/runs"\nkms_key_id = "k"', 'needs sse = "aws:kms"'),
    ],
)
def test_wrong_path_is_reported(folder: Path, text: str, said: str) -> None:
    assert said in problem(folder, f"[input]\n{text}\n{TARGET}")
