"""The validation: each code, their order, and no password in a message."""

import csv
import re
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkreset.input import validation
from bulkreset.input.batch import FIELDS, RowBatch
from bulkreset.input.reader import open_rows
from bulkreset.input.suspect_password import _FORMS, MISREAD, NUMBER, PLACEHOLDER
from bulkreset.input.validation import RowValidator, ValidatedRow
from bulkreset.job import Job, PasswordPolicy
from bulkreset.journal.journal import Journal
from tests.journal.journals import run_state

SAMPLES = Path(__file__).parents[2] / "samples"
POOL = "eu-west-1_Here00001"
OTHER = "us-east-1_There0001"
GOOD = "Sunny-Harbour.42"
STRICT = {
    "minimum_length": 8,
    "require_uppercase": True,
    "require_lowercase": True,
    "require_numbers": True,
    "require_symbols": True,
}


def job(pools: tuple[str, ...] = (POOL,), path: Path = Path("users.csv"), **keys: Any) -> Job:  # noqa: ANN401  (job keys)
    """Return a job with the strict policy."""
    tables = {
        "name": "test",
        "input": {"path": path},
        "targets": [{"user_pool_id": pool} for pool in pools],
        "password": {"policy": STRICT},
    }
    return Job.model_validate(tables | keys)


def chunk(*rows: tuple[str, ...], first: int = 1, malformed: dict[int, str] | None = None) -> RowBatch:
    """Return a chunk of (username, password, permanent, pool); missing fields are empty."""
    cells = [(*row, *("",) * (len(FIELDS) - len(row))) for row in rows]
    return RowBatch(first, {name: [row[place] for row in cells] for place, name in enumerate(FIELDS)}, malformed)


def validate_one(*row: str, **keys: Any) -> ValidatedRow:  # noqa: ANN401  (job keys)
    """Return the result of one row, by itself and as a part of a column."""
    return judge(job(**keys), row)


def judge(asked: Job, row: tuple[str, ...]) -> ValidatedRow:
    (found,) = RowValidator(asked).validate(chunk(row))
    with mock.patch.object(validation, "ROWS_FOR_A_FRAME", 0):
        (of_column,) = RowValidator(asked).validate(chunk(row))
    assert of_column == found
    return found


# In the order of the checks: the first fault decides the code.
FAULTS = [
    ("missing_username", {"username": ""}),
    ("missing_password", {"password": ""}),
    ("too_long", {"username": "x" * 129}),
    ("too_long", {"password": GOOD + "x" * 241}),
    ("bad_value", {"username": "anna lena"}),
    ("bad_value", {"password": "Sunny\x00Harbour.42"}),
    ("bad_value", {"permanent": "maybe"}),
    ("unknown_pool", {"user_pool_id": OTHER}),
    ("password_whitespace", {"password": f" {GOOD}"}),
    ("password_policy", {"password": "sunny"}),
]


def with_faults(*faults: dict[str, str]) -> ValidatedRow:
    """Return the result of a good row with these faults."""
    row = {"username": "ann", "password": GOOD, "permanent": "true", "user_pool_id": ""}
    for fault in reversed(faults):
        row |= fault
    return validate_one(*row.values())


def test_good_row_is_ready() -> None:
    assert with_faults() == (1, POOL, "ann", True, "ready", "", "")


@pytest.mark.parametrize(("code", "fault"), FAULTS)
def test_each_fault_has_its_code(code: str, fault: dict[str, str]) -> None:
    found = with_faults(fault)
    assert (found.status, found.code) == ("rejected", code)
    assert found.message


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_the_first_fault_in_order_names_the_row(first: int) -> None:
    alone = with_faults(FAULTS[first][1])
    for code, fault in FAULTS[first + 1 :]:
        both = with_faults(FAULTS[first][1], fault)
        assert (both.code, both.message) == (alone.code, alone.message), code


def test_malformed_line_comes_before_everything_and_keeps_its_reason() -> None:
    rows = RowValidator(job()).validate(
        chunk(("", ""), ("bob", GOOD), first=7, malformed={0: "line 9: broken quoting"})
    )
    assert list(rows) == [
        (7, POOL, "", False, "rejected", "bad_value", "line 9: broken quoting"),
        (8, POOL, "bob", False, "ready", "", ""),
    ]


@pytest.mark.parametrize(("kind", "longest"), [("username", 128), ("password", 256)])
@pytest.mark.parametrize("character", ["a", "ж", "🚀"])
def test_length_is_counted_in_characters(kind: str, longest: int, character: str) -> None:
    row = {"username": "ann", "password": GOOD}
    fits = (row[kind] + character * longest)[:longest]
    assert validate_one(*(row | {kind: fits}).values()).status == "ready"
    assert validate_one(*(row | {kind: fits + character}).values()).code == "too_long"


SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"


@pytest.mark.parametrize("character", [*SPACES, "\x00", "\x07", "\x1b", "\x7f", "\x80", "\x9f"])
def test_username_has_no_space_and_no_control_character(character: str) -> None:
    for name in (f"{character}ann", f"an{character}n", f"ann{character}", character):
        assert validate_one(name, GOOD).code == "bad_value"


@pytest.mark.parametrize(
    "name", ["ann@example.com", "+447700900123", "王小明", "=1+1", "007", "NA", "e\u0301", "🚀", "'"]
)
def test_odd_username_is_ready(name: str) -> None:
    assert validate_one(name, GOOD)[2:6] == (name, False, "ready", "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ann\xa0", "NO-BREAK SPACE (U+00A0) at position 4 of 4"),
        ("\u200bann", "ZERO WIDTH SPACE (U+200B) at position 1 of 4"),
        ("an n", "SPACE (U+0020) at position 3 of 4"),
        ("é\tn", "CHARACTER TABULATION (U+0009) at position 2 of 3"),
        ("\x01", "CONTROL CHARACTER (U+0001) at position 1 of 1"),
        ("a\u00adn", "SOFT HYPHEN (U+00AD) at position 2 of 3"),
        ("a\ue000", "PRIVATE USE CHARACTER (U+E000) at position 2 of 2"),
        ("a\u0378", "UNASSIGNED CHARACTER (U+0378) at position 2 of 2"),
        ("a\u202e", "RIGHT-TO-LEFT OVERRIDE (U+202E) at position 2 of 2"),
    ],
)
def test_refused_character_is_named_with_its_position(name: str, said: str) -> None:
    assert validate_one(name, GOOD)[4:] == ("rejected", "bad_value", f"the username has {said}")


ALTERED = {
    f'="{GOOD}"': 'wrapped as a spreadsheet formula, ="…"',
    f"“{GOOD}”": "curly quotes, as office programs and mails make them",
    f"\u2018{GOOD}\u2019": "curly quotes, as office programs and mails make them",
    f"'{GOOD}'": "wrapped in quotes",
    f'"{GOOD}"': "wrapped in quotes",
    f"{GOOD}\xa0": "an invisible character at the beginning or the end",
    f"\u200b{GOOD}": "an invisible character at the beginning or the end",
    f"\ufeff{GOOD}": "an invisible character at the beginning or the end",
    f"{GOOD}&amp;x": "an HTML escape such as &amp;",
    f"{GOOD}&#39;": "an HTML escape such as &amp;",
    f"{GOOD}\u2026": "a dash or an ellipsis, as office programs make them",
    f"Vt9#\u200b{GOOD}": "an invisible character within it",
    "Vt9%23mKq2%21xLp": "escaped as in a URL, such as %40 for @",
    f"{GOOD}\\u00fc": "a JSON escape such as \\u00fc",
    "GrÃ¶ÃŸe9#mKq!": MISREAD,  # read as cp1252
    "Größe9#mKq!".encode().decode("latin-1"): MISREAD,
    "Gr\ufffd\ufffde9#mKq!": "the sign for a character that was lost (U+FFFD)",
    **dict.fromkeys(("NULL", "\\N", "nan", "#NAME?", "********", "\u2022" * 8), PLACEHOLDER),
    **dict.fromkeys(("4.91512E+11", "1,2E5", "12345678.0"), NUMBER),
    "b'Vt9#mKq2!'": "written as bytes by Python, b'…'",
}
HASHES = [
    "$wp$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "{SHA512-CRYPT}$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4X",
    "{PKCS5S2}DQIXJU038u4P7FdsuFTY/+35bm41kfjZa57UrdxHp2Mu3qF2uy+ooD+jF5t1tb8J",
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
    "AQAAAAEAACcQAAAAEJ2x9Yt9W0X0qv0lq1qv0k0c3x4v5b6n7m8k9j0h1g2f3d4s5a6p7o8i9u0y1t2r3e==",
    "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==",
    "S:" + "8F2D65FB55" * 6,
    "md5" + "0123456789abcdef" * 2,
    "0x0200" + "0123456789ABCDEF" * 8,
    "aad3b435b51404eeaad3b435b51404ee:8846f7eaee8fb117ad06bdd830b7586c",
    "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "$argon2id$v=19$m=65536;t=3;p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaJObG",
    "pbkdf2_sha256$600000$sAlTsAlTsAlT$Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE=",
    "{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    "{bcrypt}$2a$10$N9qo8uLOickgx2ZMRZoMye",
    "scrypt:32768:8:1$Wq8mPzLk$deadbeefdeadbeef",
    "$6$rounds=5000$usesomesillystring$D4IrlXatmP7rx3P3InaxBeoomnAihCKRVQAr",
    "0123456789abcdef" * 2,
    "0123456789ABCDEF" * 4,
    "0123456789abcdef0123456789abcdef01234567",
]
NO_POLICY: dict[str, Any] = {"password": {}}


def suspect_job(mode: str) -> dict[str, Any]:
    """Job keys that set the action for a suspect password, and no policy."""
    return NO_POLICY | {"input": {"path": "users.csv", "on_suspect_password": mode}}


@pytest.mark.parametrize(("password", "why"), [*ALTERED.items(), *((it, "looks like a hash") for it in HASHES)])
def test_altered_password_is_sent_with_a_warning_rejected_or_not_looked_at(password: str, why: str) -> None:
    said = f"check the password: {why}"
    assert validate_one("ann", password, **NO_POLICY)[4:] == ("ready", "", said)
    assert validate_one("ann", password, **suspect_job("warn"))[4:] == ("ready", "", said)
    assert validate_one("ann", password, **suspect_job("reject"))[4:] == ("rejected", "suspect_password", said)
    assert validate_one("ann", password, **suspect_job("send"))[4:] == ("ready", "", "")


@pytest.mark.parametrize(
    "password",
    [
        GOOD,
        "100%-Cotton",
        "Vt9#%41b",
        "Nulled#1",
        "xxx",
        "Größe-1",
        "Ã-1",
        "12345678",
        "b'a\"",
        "AQAAAA",
        "S:12",
        "1E5x",
        "a'b",
        "'a",
        "=1+1",
        "$money$",
        "R&D;x",
        "R&amp",
        "{}",
        "é",
        "👩\u200d💻x",
        "0123456789abcdef" + "g" * 16,
        "it's",
    ],
)
def test_ordinary_password_is_not_suspect(password: str) -> None:
    assert validate_one("ann", password, **NO_POLICY)[4:] == ("ready", "", "")


def test_hashes_are_counted_in_all_rows_that_have_a_password() -> None:
    screen = RowValidator(job())
    rows = [("ann", HASHES[0]), ("", HASHES[0]), ("bob", "0123456789abcdef" * 2), ("cyd", ""), ("", "")]
    assert len([*screen.validate(chunk(*rows, malformed={4: "line 6: broken quoting"}))]) == len(rows)
    assert (screen.hashes, screen.passwords) == (3, 3)


def test_passwords_are_counted_over_all_chunks_unless_none_is_looked_at() -> None:
    for on_suspect, number in (("warn", 3), ("send", 0)):
        screen = RowValidator(job(input={"path": "users.csv", "on_suspect_password": on_suspect}))
        for rows in ([("ann", GOOD), ("bob", GOOD)], [("cyd", GOOD), ("dan", "")]):
            assert len([*screen.validate(chunk(*rows))]) == 2
        assert screen.passwords == number


GENERATED: dict[str, Any] = {"source": "generate", "policy": STRICT}


@pytest.mark.parametrize(
    ("password", "permanent"),
    [
        ({"policy": STRICT}, "true"),
        ({"policy": STRICT}, "false"),
        (GENERATED, "true"),
        (GENERATED | {"recipients": ("age1key",)}, "false"),
    ],
)
def test_ordinary_rows_of_a_column_are_not_looked_at_one_by_one(password: dict[str, Any], permanent: str) -> None:
    longest = (GOOD + "Quiet-Meadow.17" * 20)[: validation.LONGEST_PASSWORD]
    rows = chunk(("x" * validation.LONGEST_USERNAME, GOOD, permanent), ("ann", longest, permanent))
    screen = RowValidator(job(password=password, permanent=True))
    with (
        mock.patch.object(validation, "ROWS_FOR_A_FRAME", 2),
        mock.patch.object(screen, "_checks", side_effect=AssertionError),
    ):
        assert [row.status for row in screen.validate(rows)] == ["ready", "ready"]


def test_username_without_a_refused_character_has_no_offset_of_one() -> None:
    assert [validation.refused_character(name) for name in ("ann", "Zoë", "an n", "Zo ë")] == [-1, -1, 2, 2]


def test_rejected_and_protected_rows_have_no_warning() -> None:
    assert validate_one("", HASHES[0], **NO_POLICY)[4:] == ("rejected", "missing_username", "the row has no username")
    found = validate_one("ann", HASHES[0], guards={"protected": {"usernames": ["ann"]}}, **NO_POLICY)
    assert found[4:] == ("skipped", "protected", "the job protects this user")


@pytest.mark.parametrize("space", " \t\n\x0b\x0c\r")
def test_password_does_not_begin_or_end_with_white_space(space: str) -> None:
    assert validate_one("ann", space + GOOD).code == "password_whitespace"
    assert validate_one("ann", GOOD + space).code == "password_whitespace"


@pytest.mark.parametrize("line_break", "\n\r\x85\u2028\u2029")
def test_password_has_no_line_break(line_break: str) -> None:
    assert validate_one("ann", f"Sunny{line_break}Harbour.42").code == "password_whitespace"


@pytest.mark.parametrize("space", " \t\x0b\x0c\u00a0\u3000")
def test_password_may_have_white_space_inside(space: str) -> None:
    assert validate_one("ann", f"Sunny{space}Harbour.42").status == "ready"


@pytest.mark.parametrize("space", "\u00a0\u3000\u200b\ufeff")
def test_password_may_begin_and_end_with_other_space_characters(space: str) -> None:
    assert validate_one("ann", f"{space}{GOOD}{space}").status == "ready"


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("TRUE", True), ("Yes", True), ("1", True), ("false", False), ("No", False), ("0", False)],
)
def test_permanent_is_read_in_any_case(text: str, *, value: bool) -> None:
    assert validate_one("ann", GOOD, text, permanent=not value).permanent is value


@pytest.mark.parametrize("text", ["maybe", "2", "t", " true", "true ", "None", "nan", "\x00", "1.0"])
def test_permanent_is_never_guessed(text: str) -> None:
    found = validate_one("ann", GOOD, text)
    assert (found.permanent, found.code) == (None, "bad_value")


@pytest.mark.parametrize("default", [True, False])
def test_empty_permanent_is_the_jobs(*, default: bool) -> None:
    assert validate_one("ann", GOOD, "", permanent=default).permanent is default


def test_empty_pool_is_the_only_target() -> None:
    assert validate_one("ann", GOOD).pool == POOL
    assert validate_one("ann", GOOD, "", POOL).status == "ready"


def test_with_several_targets_a_row_names_its_own() -> None:
    both = (POOL, OTHER)
    assert [validate_one("ann", GOOD, "", pool, pools=both).status for pool in both] == ["ready", "ready"]
    without = validate_one("ann", GOOD, pools=both)
    assert (without.pool, without.code) == ("", "unknown_pool")
    assert without.message == "this user pool is not in the job; with several pools, each row must name one"


@pytest.mark.parametrize("pool", ["1", " ", POOL.lower(), f"{POOL} ", OTHER])
def test_pool_that_is_not_a_target_is_not_kept(pool: str) -> None:
    """It may be the password of a row with shifted cells."""
    found = validate_one("ann", GOOD, "", pool)
    assert (found.pool, *found[4:]) == ("", "rejected", "unknown_pool", "this user pool is not in the job")


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


# All messages: none contains a password.
SAID = re.compile(
    r"|the row has no username|the row has no password|the (username|password) has more than (128|256) characters"
    r"|the username has [-0-9A-Z ()+]+ \(U\+[0-9A-F]{4,6}\) at position \d+ of \d+|the password has a NUL character: is the encoding right\?"
    r"|permanent must be true, false, 1, 0, yes or no|the password begins or ends with white space or has a line break"
    r"|the password needs (at least 8 characters|an upper-case letter \(A-Z\)|a lower-case letter \(a-z\)"
    r"|a digit \(0-9\)|a symbol|, )+"
    r"|check the password: (looks like a hash|wrapped as a spreadsheet formula, =\"…\"|wrapped in quotes"
    r"|curly quotes, as office programs and mails make them|an invisible character at the beginning or the end"
    r"|an HTML escape such as &amp;|"
    + "|".join(map(re.escape, _FORMS))
    + f"|{re.escape(PLACEHOLDER)}|{re.escape(NUMBER)})"
)


@given(username=TEXT, password=TEXT, permanent=st.sampled_from(["", "true", "maybe"]))
def test_message_has_no_part_of_the_password(username: str, password: str, permanent: str) -> None:
    found = validate_one(username, password, permanent)
    assert SAID.fullmatch(found.message)
    assert found[:3] == (1, POOL, username)


@pytest.mark.parametrize("examples", [20, pytest.param(500, marks=pytest.mark.soak)])
def test_rows_are_validated_independently(examples: int) -> None:
    screen = RowValidator(job())

    @settings(max_examples=examples)
    @given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), min_size=1, max_size=4))
    def holds(rows: list[tuple[str, ...]]) -> None:
        together = [found[1:] for found in screen.validate(chunk(*rows))]
        assert together == [found[1:] for row in rows for found in screen.validate(chunk(row))]

    holds()


@pytest.mark.parametrize("keep", ["refuse", "first", "last"])
def test_bad_sample_has_the_expected_result(tmp_path: Path, keep: str) -> None:
    bad = job(path=SAMPLES / "bad.csv", permanent=True)
    journal = Journal.create(tmp_path / "journal.sqlite", [POOL], run_state())
    for part in open_rows(bad.input).batches():
        journal.write.add_rows(RowValidator(bad).validate(part))
    journal.write.reject_duplicates(keep)
    found = [(str(row[0]), *row[2:5]) for row in journal.read.report_rows(dry_run=True)]
    journal.close()
    with (SAMPLES / "bad.expected.csv").open(encoding="utf-8", newline="") as file:
        expected = [tuple(row) for row in csv.reader(file)][1:]
    twins = [row[0] for row in expected if row[3] == "duplicate_username"]
    kept = {"refuse": None, "first": twins[0], "last": twins[-1]}[keep]
    assert len(expected) == 50
    assert found == [(*row[:2], "ready", "") if row[0] == kept else row for row in expected]


def test_good_samples_are_all_ready() -> None:
    screen = RowValidator(job())
    for part in open_rows(job(path=SAMPLES / "users.csv").input).batches():
        assert {found.status for found in screen.validate(part)} == {"ready"}
    free = RowValidator(job(password={}))
    for part in open_rows(job(path=SAMPLES / "tricky.csv").input).batches():
        assert {found.code for found in free.validate(part)} == {""}


LONG = PasswordPolicy(minimum_length=20)


def test_pools_policy_applies_with_the_jobs() -> None:
    screen = RowValidator(job(), (), {POOL: LONG})
    short, lax, good = screen.validate(chunk(("ann", GOOD), ("bob", "sunny" * 5), ("cat", GOOD * 2)))
    assert (short.code, short.message) == ("password_policy", "the password needs at least 20 characters")
    assert lax.message == "the password needs an upper-case letter (A-Z), a digit (0-9), a symbol"
    assert good.status == "ready"


def test_each_pools_rows_meet_its_own_policy() -> None:
    screen = RowValidator(job((POOL, OTHER)), (), {POOL: LONG, OTHER: None})
    found = screen.validate(chunk(("ann", GOOD, "", POOL), ("ann", GOOD, "", OTHER), ("bob", "sunny", "", OTHER)))
    assert [(row.pool, row.code) for row in found] == [
        (POOL, "password_policy"),
        (OTHER, ""),
        (OTHER, "password_policy"),
    ]


def test_unknown_policy_leaves_the_jobs() -> None:
    (found,) = RowValidator(job(), (), {POOL: None}).validate(chunk(("ann", "sunny")))
    assert found.code == "password_policy"
    (found,) = RowValidator(job(password={}), (), {}).validate(chunk(("ann", "x")))
    assert found.status == "ready"


def validate_generated(*row: str, recipients: tuple[str, ...] = (), **keys: Any) -> ValidatedRow:  # noqa: ANN401  (job keys)
    """Return the result of one row with a generated password."""
    suspect_job: dict[str, Any] = {
        "permanent": True,
        "password": {"source": "generate", "policy": STRICT, "recipients": recipients},
    }
    return judge(job(**suspect_job | keys), row)


@pytest.mark.parametrize("password", ["", "weak", " x", "a\x00b", "x" * 300])
def test_generated_password_is_not_validated(password: str) -> None:
    assert validate_generated("ann", password) == (1, POOL, "ann", True, "ready", "", "")


@pytest.mark.parametrize(
    ("code", "row"),
    [
        ("missing_username", ("",)),
        ("too_long", ("x" * 129,)),
        ("bad_value", ("anna lena",)),
        ("bad_value", ("ann", "", "maybe")),
        ("unknown_pool", ("ann", "", "", OTHER)),
    ],
)
def test_all_other_values_are_validated_if_passwords_are_generated(code: str, row: tuple[str, ...]) -> None:
    assert validate_generated(*row).code == code
    assert validate_generated(*row, recipients=("age1key",)).code == code


def test_generated_temporary_password_without_a_recipient_is_rejected() -> None:
    found = validate_generated("ann", "", "false")
    assert (found.status, found.code) == ("rejected", "bad_value")
    assert found.message == "a generated temporary password needs password.recipients"
    assert validate_generated("ann", "", "true").status == "ready"
    assert validate_generated("ann", "", "").status == "ready"


@pytest.mark.parametrize("permanent", ["true", "false", ""])
def test_row_may_be_permanent_or_temporary_if_there_are_recipients(permanent: str) -> None:
    found = validate_generated("ann", "", permanent, recipients=("age1key",), permanent=False)
    assert (found.status, found.permanent) == ("ready", permanent == "true")


def test_protected_user_is_skipped_if_passwords_are_generated() -> None:
    found = validate_generated("ann", guards={"protected": {"usernames": ["ANN"]}})
    assert found[4:] == ("skipped", "protected", "the job protects this user")
