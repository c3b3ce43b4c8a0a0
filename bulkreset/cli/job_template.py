"""The questions for a new job file, and the shipped job files that it is built from. The file is kept only if it loads."""

import glob
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bulkreset.age_encryption import parse_recipients
from bulkreset.cli.options import JobKind
from bulkreset.errors import BulkresetError, JobError
from bulkreset.files import atomic_writer
from bulkreset.job import S3, Job
from bulkreset.job.file import load
from bulkreset.text import join_words, quoted

Answers = Mapping[str, str]

# The purpose of each kind, and the shipped job that it is made from.
KINDS = {
    JobKind.FILE: ("set the passwords that are in a file", "file"),
    JobKind.SCHEDULED: (
        "set the passwords of a file or folder again and again, each input once (cron, systemd)",
        "nightly-migration",
    ),
    JobKind.TEMPORARY: ("generate temporary passwords, encrypted for your help desk", "forced-reset"),
    JobKind.SCRAMBLE: ("set passwords that nobody knows, for the users in a file", "scramble"),
    JobKind.FROM_POOL: (
        "set passwords that nobody knows, for all users of the pool (no input file)",
        "from-pool",
    ),
}
_PACKAGE = Path(__file__).parents[1]
# In a wheel, or in a checkout.
JOBS = (_PACKAGE / "_shipped" if (_PACKAGE / "_shipped").is_dir() else _PACKAGE.parent) / "jobs"


@dataclass(frozen=True, slots=True)
class Question:
    """One question for a new job file.

    `default` derives the default from the answers so far; None means no default. `shown` returns how the question shows
    the default, "" for its own text. `wrong` returns the error in an answer, or "" if it is valid. `applies_to` returns
    True if the question applies to the answers so far.
    """

    key: str
    flag: str
    text: str
    default: Callable[[Answers], str | None] = lambda _: None
    wrong: Callable[[str], str] = lambda _: ""
    shown: Callable[[Answers], str] = lambda _: ""
    applies_to: Callable[[Answers], bool] = lambda _: True

    def is_due(self, known: Answers, given: Answers) -> bool:
        """Return True if the question must be answered. Raises JobError if a flag answers it but it does not apply."""
        if self.applies_to(known):
            return True
        if self.key in given and "kind" in given:
            raise JobError(f"{self.flag} does not go with --kind {known['kind']}.", "Leave one of the two out.")
        return False


def _unless(pattern: str, wrong: str) -> Callable[[str], str]:
    """Return a function that says `wrong` of an answer which does not match the whole pattern."""
    return lambda answer: "" if re.fullmatch(pattern, answer) else wrong


_wrong_name = _unless(
    r"[A-Za-z0-9][\w.-]{0,63}",
    'A name has up to 64 letters, digits, "_", "." or "-". It starts with a letter or a digit.',
)
_wrong_pool = _unless(r"[A-Za-z0-9_-]+_[0-9a-zA-Z]+", "That is not a user pool ID. It looks like eu-west-1_Example01.")
_wrong_kind = _unless("|".join(JobKind), f"Please answer {join_words([*JobKind], 'or')}.")
_wrong_truth = _unless("yes|no", "Please answer yes or no.")


def _wrong_rate(answer: str) -> str:
    if answer == "auto":
        return ""
    with suppress(ValueError):
        if float(answer) > 0:
            return ""
    return 'Please answer a number of calls per second, or "auto".'


def _wrong_recipient(answer: str) -> str:
    try:
        parse_recipients([answer])
    except JobError as error:
        return str(error)
    return ""


def _auto_share(answers: Answers) -> str:
    """Return the calls per second that the rate "auto" means in a job of this kind."""
    share = tomllib.loads(template_of(answers["kind"]).read_text(encoding="utf-8"))["pace"]["share"]
    return f"auto = {share:.0%} of the AWS quota"


QUESTIONS = (
    Question("kind", "--kind", "Which kind of job?", lambda _: JobKind.FILE.value, _wrong_kind),
    Question("name", "--name", "Job name", lambda known: known["kind"], _wrong_name),
    Question(
        "input",
        "--input",
        "Input file",
        lambda _: "users.csv",
        applies_to=lambda known: known["kind"] != JobKind.FROM_POOL,
    ),
    Question("user_pool_id", "--user-pool-id", "User pool ID (like eu-west-1_Example01)", wrong=_wrong_pool),
    Question("region", "--region", "AWS Region", lambda known: known["user_pool_id"].partition("_")[0] or None),
    Question("profile", "--profile", "AWS profile", lambda _: "", shown=lambda _: "default credential chain"),
    Question(
        "permanent",
        "--permanent",
        "Permanent passwords? (yes or no)",
        lambda _: "yes",
        _wrong_truth,
        applies_to=lambda known: known["kind"] in {JobKind.FILE, JobKind.SCHEDULED},
    ),
    Question(
        "recipient",
        "--recipient",
        "age public key of the person who will hand them out (starts with age1)",
        wrong=_wrong_recipient,
        applies_to=lambda known: known["kind"] == JobKind.TEMPORARY,
    ),
    Question("rate", "--rate", "Calls per second", lambda _: "auto", _wrong_rate, _auto_share),
)
# At a terminal a person can check the defaults of these; without a terminal they must be given as flags.
_MUST_BE_SAID = frozenset({"kind", "input", "user_pool_id", "recipient"})


def fill_defaults(given: Answers) -> dict[str, str]:
    """Return the answers, with defaults for those not given.

    Raises JobError if an answer is wrong, or with the names of all required flags that are missing.
    """
    known: dict[str, str] = {}
    missing = []
    for question in QUESTIONS:
        if question.key in given and (wrong := question.wrong(given[question.key])):
            value = "" if question.key == "recipient" else f" {given[question.key]!r}"  # may be a private key
            raise JobError(f"{question.flag}{value} is not valid.", wrong)
        if question.key == "kind" and "kind" not in given:
            missing.append(question.flag)
            known["kind"] = JobKind.FILE
        elif not question.is_due(known, given):
            continue
        elif question.key in given:
            known[question.key] = given[question.key]
        elif question.key in _MUST_BE_SAID:
            missing.append(question.flag)
            known[question.key] = ""
        else:
            known[question.key] = question.default(known) or ""
    if missing:
        raise JobError(
            f"There is no terminal to ask, and {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.",
            "Pass them, or answer at a terminal.",
        )
    return known


def missing_input(answers: Answers) -> str:
    """Return the input if no such file exists, else "". S3 is not asked."""
    found = answers.get("input", "")
    expanded = os.path.expanduser(found)  # noqa: PTH111  (Path's own raises for an unknown user)
    there = not found or found.startswith(S3) or os.path.exists(expanded) or glob.glob(expanded, recursive=True)  # noqa: PTH110, PTH207
    return "" if there else found


def write_job(answers: Answers, path: Path) -> Job:
    """Write a new job file if it loads, and return the job.

    Raises JobError if the file exists or does not load, RecordError if it cannot be written.
    """
    if os.path.lexists(path):
        raise JobError(f"{path} already exists.", "Choose another name with -o.")
    with atomic_writer(path, "Name another file with -o.", new=True) as file:
        file.write(render_job(answers, path))
        file.flush()
        try:
            return load(Path(file.name), {})
        except BulkresetError as error:
            raise JobError(error.message.replace(file.name, "This"), error.advice or "Fix the answer.") from None


def render_job(answers: Answers, path: Path) -> str:
    """Return the text of the job file: the shipped job of this kind with the answers in it.

    A line marked CHANGE that has no answer is commented out.
    """
    template = template_of(answers["kind"])
    values = _values(answers, path)
    command = f"run {quoted(path.name)}"
    lines = []
    for line in template.read_text(encoding="utf-8").split("\n"):
        found = _SETTING.match(line)
        if found and found["key"] in values:
            lines.append(values.pop(found["key"]))
        elif found and _CHANGE in line and not line.startswith("#"):
            lines.append(f"# {_uncalled(line)}")
        else:
            lines.append(_uncalled(line).replace(f"run jobs/{template.name}", command))
    return "\n".join(lines)


_CHANGE = "# CHANGE"
_COPY = re.compile(r"Copy this file, then change what is marked CHANGE\. ?")
_SETTING = re.compile(r"(# )?(?P<key>[a-z_]+) = ")


def _uncalled(line: str) -> str:
    """Return a line of a shipped job without its CHANGE mark."""
    return _COPY.sub("", line).replace(f"{_CHANGE}. ", "# ").removesuffix(_CHANGE).rstrip()


def template_of(kind: str) -> Path:
    """Return the shipped job file that a kind is made from."""
    return JOBS / f"{KINDS[JobKind(kind)][1]}.toml"


def _values(answers: Answers, path: Path) -> dict[str, str]:
    """Return the line of each key that the answers set."""
    values = {"name": f"name = {_toml(answers['name'])}"}
    if "permanent" in answers:
        values["permanent"] = f"permanent = {'true' if answers['permanent'] == 'yes' else 'false'}"
    if "input" in answers:
        found = _from(path, answers["input"])
        absolute = found.startswith((S3, "/"))
        values["path"] = f"path = {_toml(found)}{'' if absolute else ' # relative to this file'}"
    if answers["kind"] == JobKind.SCHEDULED:
        values["state"] = f"state = {_toml(answers['name'] + '.state.json')} # relative to this file"
    values |= {key: f"{key} = {_toml(answers[key])}" for key in ("user_pool_id", "region")}
    if answers["profile"]:
        values["profile"] = f"profile = {_toml(answers['profile'])}"
    if "recipient" in answers:
        values["recipients"] = f"recipients = [{_toml(answers['recipient'])}]"
    if answers["rate"] != "auto":
        values["rate"] = f"rate = {float(answers['rate']):g}"
    return values


def _toml(value: str) -> str:
    """Return the value as a TOML string."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _from(path: Path, input_: str) -> str:
    """Return the input path relative to the job file; it was given relative to the current directory."""
    if input_.startswith(S3):
        return input_
    expanded = os.path.expanduser(input_)  # noqa: PTH111  (Path's own raises for an unknown user)
    if os.path.isabs(expanded):  # noqa: PTH117  (the same kind of function)
        return expanded
    return os.path.relpath(os.path.abspath(expanded), path.absolute().parent)  # noqa: PTH100
