"""Usernames and passwords in files from other programs: damage by an export is reported before anything is sent."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pyrage
import pytest

from tests.e2e.command import POOL, Argument, Command, CommandResult, finish, people, seed, write_csv, write_job
from tests.sim import Simulator

GOOD = "Vt9#mKq2!xLp"
HASHES = [
    "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "$argon2id$v=19$m=65536;t=3;p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaJObG",
    "pbkdf2_sha256$600000$sAlTsAlTsAlT$Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE=",
]


def text_of(ran: CommandResult) -> str:
    """Return the program's output."""
    return ran.stdout + ran.stderr


def exit_code_of(bulkreset: Command, *args: Argument) -> int:
    """Return the exit code of a command without a run directory."""
    with bulkreset.start(*args) as process:
        return finish(process, Path()).code


def named(passwords: list[str]) -> list[tuple[str, str]]:
    """Return rows with these passwords."""
    return [(f"user{number}", password) for number, password in enumerate(passwords, 1)]


def test_altered_passwords_are_named_by_row_and_sent_as_they_are(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    altered = [f'="{GOOD}"', f"“{GOOD}”", f"'{GOOD}'", f"{GOOD}\xa0", f"\u200b{GOOD}", "Vt9&amp;mKq2!xLp", HASHES[0]]
    rows = named([*altered, GOOD])
    seed(sim, [name for name, _ in rows])
    ran = bulkreset("run", write_job(tmp_path, sim.url, f'path = "{write_csv(tmp_path / "in.csv", rows)}"'), "--yes")
    assert ran.code == 0
    assert sim.passwords(POOL) == dict(rows)
    said = text_of(ran)
    for line in (
        '1 password to check: wrapped as a spreadsheet formula, ="…" (row 1)',
        "1 password to check: curly quotes, as office programs and mails make them (row 2)",
        "1 password to check: wrapped in quotes (row 3)",
        "2 passwords to check: an invisible character at the beginning or the end (rows 4, 5)",
        "1 password to check: an HTML escape such as &amp; (row 6)",
        "1 password to check: looks like a hash (row 7)",
    ):
        assert line in said
    assert GOOD not in said
    assert HASHES[0] not in said


def test_altered_passwords_are_rejected_if_the_job_says_so(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    rows = named([f"“{GOOD}”", GOOD])
    job = write_job(
        tmp_path, sim.url, f'path = "{write_csv(tmp_path / "in.csv", rows)}"\non_suspect_password = "reject"'
    )
    seed(sim, ["user1", "user2"])
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 1
    assert ran.column("status") == ["rejected", "set"]
    assert ran.column("code") == ["suspect_password", ""]
    assert sim.passwords(POOL).get("user1") != f"“{GOOD}”"


def test_input_with_only_hashes_is_refused_unless_they_are_meant(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    rows = named(HASHES)
    seed(sim, [name for name, _ in rows])
    path = write_csv(tmp_path / "in.csv", rows)
    refused = bulkreset("run", write_job(tmp_path, sim.url, f'path = "{path}"'), "--yes")
    assert refused.code == 2
    assert "All 3 passwords of the input" in refused.stderr
    assert not any(word in text_of(refused) for word in HASHES)
    assert not sim.calls("AdminSetUserPassword")
    meant = bulkreset("run", write_job(tmp_path, sim.url, f'path = "{path}"\non_suspect_password = "send"'), "--yes")
    assert meant.code == 0
    assert sim.passwords(POOL) == dict(rows)


def test_username_that_the_service_refuses_is_found_by_the_dry_run(tmp_path: Path, bulkreset: Command) -> None:
    rows = [("ann\xa0", GOOD), ("b\u200bob", GOOD), *people(1)]
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", rows), "--dry-run")
    assert ran.column("code") == ["bad_value", "bad_value", ""]
    assert ran.column("message")[:2] == [
        "the username has NO-BREAK SPACE (U+00A0) at position 4 of 4",
        "the username has ZERO WIDTH SPACE (U+200B) at position 2 of 4",
    ]


def test_report_comes_back_as_an_input(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    names = ["+491512345678", "+441632960001"]
    seed(sim, names)
    first = bulkreset.reset(write_csv(tmp_path / "in.csv", [(name, GOOD) for name in names]))
    report = first.run_dir / "report.csv"
    assert first.column("username") == [f"'{name}" for name in names]
    refused = bulkreset("run", write_job(tmp_path, sim.url, f'path = "{report}"'), "--yes")
    assert refused.code == 2
    assert "is a report of bulkreset, which has no passwords" in refused.stderr
    again = write_job(tmp_path, sim.url, f'path = "{report}"', '[password]\nsource = "generate"')
    ran = bulkreset("run", again, "--yes", "--permanent")
    assert ran.code == 0, ran.stderr
    assert {*sim.passwords(POOL)} == {*names}
    assert GOOD not in sim.passwords(POOL).values()


def test_report_for_excel_begins_with_a_mark(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    seed(sim, ["renée"])
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", [("renée", GOOD)]))
    assert exit_code_of(bulkreset, "report", ran.run_dir, "--bom") == 0
    plain = (ran.run_dir / "report.csv").read_bytes()
    assert (ran.run_dir / "report-excel.csv").read_bytes() == b"\xef\xbb\xbf" + plain
    assert not plain.startswith(b"\xef")
    assert exit_code_of(bulkreset, "report", ran.run_dir, "--bom", "--format", "jsonl") == 2


def test_cause_of_a_near_miss_is_reported_and_counted(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    names = ["Ada@Example.com", "BOB@example.com", "491512345678", "4.91512E+11", "ada%40example.com", "nobody"]
    seed(sim, ["ada@example.com", "bob@example.com", "+491512345678"])
    path = write_csv(tmp_path / "in.csv", [(name, GOOD) for name in names])
    job = write_job(tmp_path, sim.url, f'path = "{path}"', "[report]\nhtml = true", plan="check_users = true")
    ran = bulkreset("run", job, "--dry-run")
    no_user = "no user with this name in the pool"
    case, plus = "the pool has it in another case, and compares case", "the pool has it with a plus in front"
    rounded = "it looks like a number that a spreadsheet has rounded"
    escaped = "it is escaped as in a URL, such as %40 for @, and the pool has it without"
    wanted = [f"{no_user}: {cause}" for cause in (case, case, plus, rounded, escaped)]
    assert ran.column("message") == [*wanted, no_user]
    assert set(ran.column("code")) == {"user_not_found"}
    page = (ran.run_dir / "report.html").read_text(encoding="utf-8")
    for line in (
        f"2 rows: {case} (rows 1, 2)",
        f"1 row: {plus} (row 3)",
        f"1 row: {rounded} (row 4)",
        f"1 row: {escaped} (row 5)",
        "1 row: no cause is known (row 6)",
    ):
        assert line in text_of(ran)
    assert "Why no user was found" in page
    assert page.index(case) < page.index("no cause is known")


HEADER = ("username", "password", "ticket", "department")


def rows_of(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.reader(file)]


def extracted(bulkreset: Command, *args: Argument) -> tuple[int, str]:
    """Return the exit code of `extract` and its output."""
    with bulkreset.start("extract", *args) as process:
        ran = finish(process, Path())
        return ran.code, text_of(ran)


def run_with_faults(tmp_path: Path, bulkreset: Command, sim: Simulator) -> tuple[Path, CommandResult]:
    """Run an input with two rejected rows, and return the run and its job."""
    rows = [
        ("ann", GOOD, "T-1", "=Sales"),
        ("bob", "", "T-2", "a,b"),
        ("+49123456789", "", "T-3", 'say "hi"'),
        ("dan", GOOD, "T-4", "renée"),
    ]
    seed(sim, [name for name, *_ in rows])
    path = write_csv(tmp_path / "in.csv", rows, HEADER)
    job = write_job(tmp_path, sim.url, f'path = "{path}"')
    ran = bulkreset("run", job, "--yes")
    assert ran.column("status") == ["set", "rejected", "rejected", "set"]
    return job, ran


def test_extract_has_the_rows_with_all_of_their_columns(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    _, ran = run_with_faults(tmp_path, bulkreset, sim)
    out = tmp_path / "again.csv"
    assert extracted(bulkreset, ran.run_dir, "-o", out) == (0, f"2 rows: {out}\n")
    assert rows_of(out) == [
        list(HEADER),
        ["bob", "", "T-2", "a,b"],
        ["+49123456789", "", "T-3", 'say "hi"'],
    ]
    assert out.stat().st_mode & 0o777 == 0o600
    code, said = extracted(bulkreset, ran.run_dir, "-o", out)
    assert code == 2
    assert "already exists" in said
    code, said = extracted(bulkreset, ran.run_dir, "--only", "set", "-o", tmp_path / "set.csv")
    assert code == 2
    assert "would set their passwords again" in said
    code, said = extracted(bulkreset, ran.run_dir, "--only", "failed", "-o", tmp_path / "none.csv")
    assert code == 2
    assert not (tmp_path / "none.csv").exists()


def test_extract_needs_the_unchanged_input(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    _, ran = run_with_faults(tmp_path, bulkreset, sim)
    (tmp_path / "in.csv").write_text("username,password\nbob,x\n", encoding="utf-8")
    code, said = extracted(bulkreset, ran.run_dir, "-o", tmp_path / "again.csv")
    assert code == 2
    assert "has changed" in said
    assert not (tmp_path / "again.csv").exists()


def test_extract_named_age_is_encrypted(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    _, ran = run_with_faults(tmp_path, bulkreset, sim)
    key = pyrage.x25519.Identity.generate()
    out = tmp_path / "again.csv.age"
    assert extracted(bulkreset, ran.run_dir, "-o", out)[0] == 2  # no key to encrypt it to
    assert extracted(bulkreset, ran.run_dir, "-o", out, "--recipient", str(key.to_public()))[0] == 0
    assert out.stat().st_mode & 0o777 == 0o600
    plain = pyrage.decrypt(out.read_bytes(), [key]).decode()
    assert plain.splitlines()[:2] == [",".join(HEADER), 'bob,,T-2,"a,b"']
    assert extracted(bulkreset, ran.run_dir, "-o", tmp_path / "x.csv", "--recipient", str(key.to_public()))[0] == 2


@pytest.mark.parametrize("fixed", [True, False])
def test_new_run_knows_the_origin_of_an_extract(
    *, fixed: bool, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    _, ran = run_with_faults(tmp_path, bulkreset, sim)
    out = tmp_path / "again.csv"
    assert extracted(bulkreset, ran.run_dir, "-o", out)[0] == 0
    if fixed:
        lines = [["bob", GOOD, "T-2", ""], ["+49123456789", GOOD, "T-3", ""], ["ann", "Other-Word.1", "T-1", ""]]
        write_csv(out, lines, HEADER)
    again = write_job(tmp_path, sim.url, f'path = "{out}"')
    dry = bulkreset("run", again, "--dry-run")
    origin = f"Origin      2 rows (rejected, failed, unprocessed) of the run {ran.run_dir}"
    assert (f"{origin}, edited since" if fixed else f"{origin}\n") in text_of(dry)
    warned = "already set, or perhaps set, by that run or another run of this extract"
    assert (f"1 ready row is of a user {warned} (first: row 3)" in text_of(dry)) is fixed
    if fixed:
        assert bulkreset("run", again, "--yes").code == 0
        assert f"3 ready rows are of users {warned} (first: row 1)" in text_of(bulkreset("run", again, "--dry-run"))


def test_input_of_its_own_has_no_origin(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    job, ran = run_with_faults(tmp_path, bulkreset, sim)
    assert extracted(bulkreset, ran.run_dir, "-o", tmp_path / "again.csv")[0] == 0
    assert "Origin" not in text_of(bulkreset("run", job, "--dry-run"))


def test_malformed_rows_are_omitted_from_an_extract_and_named(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"username,password\nann,{GOOD}\nbob\ncat,\n", encoding="utf-8")
    seed(sim, ["ann", "cat"])
    ran = bulkreset("run", write_job(tmp_path, sim.url, f'path = "{path}"'), "--yes")
    code, said = extracted(bulkreset, ran.run_dir, "-o", tmp_path / "again.csv")
    assert code == 0
    assert "1 malformed rows were left out: 2." in said
    assert rows_of(tmp_path / "again.csv") == [["username", "password"], ["cat", ""]]


def test_columns_of_the_input_are_carried_into_the_report(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    rows = [("ann", GOOD, "T-1", "=Sales"), ("bob", GOOD, "T-2", "by bob"), ("cat", "", "", "x")]
    seed(sim, ["ann", "bob", "cat"])
    path = write_csv(tmp_path / "in.csv", rows, HEADER)
    columns = '[report]\nhtml = false\ncolumns = ["department", "ticket"]'
    ran = bulkreset("run", write_job(tmp_path, sim.url, f'path = "{path}"', columns), "--yes")
    assert ran.header[-2:] == ["department", "ticket"]
    assert ran.column("department") == ["'=Sales", "by bob", "x"]
    assert ran.column("ticket") == ["T-1", "T-2", ""]
    assert exit_code_of(bulkreset, "report", ran.run_dir, "--format", "jsonl", "--only", "rejected") == 0
    (line,) = (ran.run_dir / "report-rejected.jsonl").read_text(encoding="utf-8").splitlines()
    assert {name: json.loads(line)[name] for name in HEADER[2:]} == {"department": "x", "ticket": None}
    assert exit_code_of(bulkreset, "report", ran.run_dir, "--format", "parquet") == 0
    assert pq.read_table(ran.run_dir / "report.parquet")["department"].to_pylist() == ["=Sales", "by bob", "x"]
    assert exit_code_of(bulkreset, "report", ran.run_dir, "--redact", "usernames") == 0
    redacted = rows_of(ran.run_dir / "report-redacted.csv")
    assert [row[-2] for row in redacted[1:]] == ["'=Sales", "(withheld: it named the user)", "x"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ('"copy"', "The column 'copy' of report.columns has the password in row 2"),
        ('"password"', "report.columns names the column of the passwords"),
        ('"status"', "names status, which is a column of the report itself"),
        ('"nothing"', "has no column 'nothing', which report.columns names"),
    ],
)
def test_column_that_no_report_may_have_is_refused(
    columns: str, said: str, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    rows = [("ann", "Other-Word.1", "x"), ("bob", GOOD, GOOD)]
    path = write_csv(tmp_path / "in.csv", rows, ("username", "password", "copy"))
    job = write_job(tmp_path, sim.url, f'path = "{path}"', f"[report]\nhtml = false\ncolumns = [{columns}]")
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 2
    assert said in ran.stderr
    assert GOOD not in text_of(ran)
    assert not ran.run_dir.exists()
