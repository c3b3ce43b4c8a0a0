"""The questions and the commented template for a new job file. The file is kept only if it loads."""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bulkreset.age import parse_recipients
from bulkreset.errors import BulkresetError, JobError, RecordError
from bulkreset.job import S3, Job
from bulkreset.job.file import load

Answers = Mapping[str, str]


class JobKind(StrEnum):
    """The purpose of a job."""

    NIGHTLY = "nightly"
    TEMPORARY = "temporary"
    SCRAMBLE = "scramble"
    FROM_POOL = "from-pool"


MEANT = {
    JobKind.NIGHTLY: "passwords from a file, as another system exports them",
    JobKind.TEMPORARY: "made temporary passwords, sealed for who hands them out",
    JobKind.SCRAMBLE: "passwords that nobody knows, for the users of a file",
    JobKind.FROM_POOL: "passwords that nobody knows, for all users of the pool: no file",
}


@dataclass(frozen=True, slots=True)
class Question:
    """One question for a new job file.

    `default` derives the default from the answers so far; None means no default. `wrong` returns the error in an
    answer, or "" if it is valid. `applies_to` returns True if the question applies to the answers so far.
    """

    key: str
    flag: str
    text: str
    default: Callable[[Answers], str | None] = lambda _: None
    wrong: Callable[[str], str] = lambda _: ""
    applies_to: Callable[[Answers], bool] = lambda _: True

    def is_due(self, known: Answers, given: Answers) -> bool:
        """Return True if the question must be answered. Raises JobError if a flag answers it but it does not apply."""
        if self.applies_to(known):
            return True
        if self.key in given and "kind" in given:
            raise JobError(f"{self.flag} does not go with --kind {known['kind']}.", "Leave one of the two out.")
        return False


def _wrong_name(answer: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", answer):
        return ""
    return 'A name is up to 64 letters, digits, "_", "." or "-", the first of them a letter or a digit.'


def _wrong_pool(answer: str) -> str:
    return "" if re.fullmatch(r"[A-Za-z0-9_-]+_[0-9a-zA-Z]+", answer) else "A user pool's id is as eu-west-1_Example01."


def _wrong_kind(answer: str) -> str:
    return "" if answer in {*JobKind} else f"Say one of {', '.join(JobKind)}."


def _wrong_truth(answer: str) -> str:
    return "" if answer in {"yes", "no"} else "Say yes or no."


def _wrong_rate(answer: str) -> str:
    if answer == "auto":
        return ""
    with suppress(ValueError):
        if float(answer) > 0:
            return ""
    return 'Say a number of calls per second, or "auto".'


def _wrong_recipient(answer: str) -> str:
    try:
        parse_recipients([answer])
    except JobError as error:
        return str(error)
    return ""


def _region_of(answers: Answers) -> str | None:
    """Return the Region that the pool's id begins with."""
    return answers["user_pool_id"].partition("_")[0] or None


QUESTIONS = (
    Question("kind", "--kind", "What kind of job", lambda _: JobKind.NIGHTLY.value, _wrong_kind),
    Question("name", "--name", "What is it called", lambda known: known["kind"], _wrong_name),
    Question(
        "input",
        "--input",
        "Which file has the users",
        lambda _: "users.csv",
        applies_to=lambda known: known["kind"] != JobKind.FROM_POOL,
    ),
    Question("user_pool_id", "--user-pool-id", "Which user pool (its id)", wrong=_wrong_pool),
    Question("region", "--region", "In which Region", _region_of),
    Question(
        "profile", "--profile", "With which profile of your AWS configuration (none: as boto3 finds)", lambda _: ""
    ),
    Question(
        "permanent",
        "--permanent",
        "Are the passwords permanent (yes or no)",
        lambda _: "yes",
        _wrong_truth,
        applies_to=lambda known: known["kind"] == JobKind.NIGHTLY,
    ),
    Question(
        "recipient",
        "--recipient",
        "To whose key are they sealed (age1…, as age-keygen says)",
        wrong=_wrong_recipient,
        applies_to=lambda known: known["kind"] == JobKind.TEMPORARY,
    ),
    Question("rate", "--rate", 'At how many calls per second ("auto": by the quota)', lambda _: "auto", _wrong_rate),
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
            raise JobError(f"{question.flag} {given[question.key]!r} cannot be.", wrong)
        if question.key == "kind" and "kind" not in given:
            missing.append(question.flag)
            known["kind"] = JobKind.NIGHTLY
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


def write_job(answers: Answers, path: Path) -> Job:
    """Write a new job file if it loads, and return the job.

    Raises JobError if the file exists or does not load, RecordError if it cannot be written.
    """
    if os.path.lexists(path):
        raise JobError(f"{path} already exists.", "Choose another name with -o, or remove the file.")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(render_job(answers, path), encoding="utf-8")
        job = load(partial, {})
        partial.chmod(0o600)
        os.link(partial, path)  # unlike a rename, this never replaces a file
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror}.", "Name another file with -o.") from None
    except BulkresetError as error:
        raise JobError(error.message.replace(str(partial), "This"), error.advice or "Fix the answer.") from None
    finally:
        with suppress(OSError):
            partial.unlink()
    return job


def render_job(answers: Answers, path: Path) -> str:
    """Return the text of the job file."""
    return "\n".join(_lines(answers, path)) + "\n"


def _lines(answers: Answers, path: Path) -> Iterator[str]:
    kind = JobKind(answers["kind"])
    made = kind is not JobKind.NIGHTLY
    permanent = kind in {JobKind.SCRAMBLE, JobKind.FROM_POOL} or answers.get("permanent") == "yes"
    yield f"# {MEANT[kind][0].upper()}{MEANT[kind][1:]}. Every key is described in docs/reference.md."
    yield "#"
    yield "# Look first, then run:"
    yield f"#   bulkreset run {shlex.quote(path.name)} --dry-run"
    yield f"#   bulkreset run {shlex.quote(path.name)}"
    yield f"name = {_toml(answers['name'])}"
    yield ""
    yield f"# {_PERMANENT if permanent else _TEMPORARY}"
    yield f"permanent = {'true' if permanent else 'false'}"
    yield ""
    yield "[input]"
    if kind is JobKind.FROM_POOL:
        yield "from_pool = true # everybody in the pool is a row"
        yield "# [input.select] # who of them; without it, everybody"
        yield '# statuses = ["CONFIRMED"]'
    else:
        beside = "" if answers["input"].startswith(S3) else " # relative to this file"
        yield f"path = {_toml(_from(path, answers['input']))}{beside}"
    yield ""
    yield "[[targets]]"
    yield f"user_pool_id = {_toml(answers['user_pool_id'])}"
    yield f"region = {_toml(answers['region'])}"
    yield (
        f"profile = {_toml(answers['profile'])}"
        if answers["profile"]
        else '# profile = "…" # without it: what boto3 finds'
    )
    if made:
        yield ""
        yield "[password]"
        yield 'source = "generate"'
        yield f"length = {16 if kind is JobKind.TEMPORARY else 32}"
    if kind is JobKind.TEMPORARY:
        yield ""
        yield "[handout]"
        yield "# Who can open the passwords: bulkreset handout RUN_DIR --identity key.txt"
        yield f"recipients = [{_toml(answers['recipient'])}]"
    yield from _rest(kind, answers["rate"])


def _rest(kind: JobKind, rate: str) -> Iterator[str]:
    yield ""
    yield "# Users who are left alone. The plan looks every user up."
    yield "[plan]"
    skipped = ["federated", "disabled", "passwordless"]
    skipped += ["unrecoverable"] * (kind in {JobKind.SCRAMBLE, JobKind.FROM_POOL})
    yield f"skip = {json.dumps(skipped)}"
    yield ""
    yield "# The quota, 30 calls per second by default, is shared with the users' own forgot-password."
    yield "[pace]"
    yield 'rate = "auto" # the quota x share' if rate == "auto" else f"rate = {float(rate):g}"
    yield "share = 0.8" if kind is JobKind.NIGHTLY else "share = 0.5"
    yield ""
    yield "[after]"
    if kind is JobKind.NIGHTLY:
        yield "sign_out = false # sessions live on"
    else:
        yield "sign_out = true # refresh tokens are revoked, on every device"
    yield ""
    yield "[guards]"
    yield "# max_rows = 5000 # more rows than this: nothing is sent"
    yield 'max_failures = "2%" # more failed rows than this: stop'
    yield "max_refused_in_a_row = 50"
    yield ""
    yield "[guards.protected]"
    yield "usernames = [] # never set, whatever the input says"


_PERMANENT = "Permanent: every user who is set becomes CONFIRMED, and signs in with the new password."
_TEMPORARY = "Temporary: users must choose another password at the next sign-in, within the days that the pool gives."


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
