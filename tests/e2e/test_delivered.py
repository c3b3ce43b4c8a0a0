"""Usernames and passwords as people deliver them: what an export has spoiled is said before anything is sent."""

from pathlib import Path

from tests.e2e.command import POOL, Command, Ran, people, seed, write_csv, write_job
from tests.sim import Simulator

GOOD = "Vt9#mKq2!xLp"
HASHES = [
    "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "$argon2id$v=19$m=65536;t=3;p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaJObG",
    "pbkdf2_sha256$600000$sAlTsAlTsAlT$Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE=",
]


def text_of(ran: Ran) -> str:
    """What the program said."""
    return ran.stdout + ran.stderr


def named(passwords: list[str]) -> list[tuple[str, str]]:
    """Rows with these passwords."""
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
