"""Verification: refusals before any call; its counts decide exit code and text."""

import io
import json
import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bulkreset.cancellation import CancelToken
from bulkreset.cli.prompts import TerminalUi, describe_verified
from bulkreset.errors import RecordError, Refused, RunDirError
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.report.user_state import DONE, UserState
from bulkreset.report.verify import VerifyRequest, VerifyResult, _open_outputs, verify
from tests.journal.journals import planned, run_state
from tests.targets import EU, job


def verified(run_dir: Path, wanted: VerifyRequest) -> VerifyResult:
    stop = CancelToken()
    return verify(run_dir, wanted, TerminalUi(stop, show_progress=False), stop)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run that has set nothing."""
    path = tmp_path / "run"
    path.mkdir()
    journal = planned(path, "ann")
    journal.write.change(**dict(run_state("finished", job=job(EU).model_dump(mode="json"))))
    journal.close()
    return path


@pytest.mark.parametrize("within", [-1, 366, math.nan, math.inf])
def test_days_have_bounds(run_dir: Path, within: float) -> None:
    with pytest.raises(Refused, match="from 0 to 365"):
        verified(run_dir, VerifyRequest(within))


@pytest.mark.parametrize("name", ["old.csv", "link.csv", "nowhere/new.csv"])
@pytest.mark.parametrize("key", ["report", "reissue"])
def test_files_must_be_new(run_dir: Path, key: str, name: str) -> None:
    (run_dir / "old.csv").write_text("kept")
    (run_dir / "link.csv").symlink_to("nowhere")
    with pytest.raises(Refused, match=r"already exists|directory .* does not exist"):
        verified(run_dir, VerifyRequest(**{key: run_dir / name}))  # type: ignore[arg-type]
    assert (run_dir / "old.csv").read_text() == "kept"


def test_one_file_cannot_be_both(run_dir: Path) -> None:
    with pytest.raises(Refused, match="Name two files"):
        verified(run_dir, VerifyRequest(report=run_dir / "one.csv", reissue=run_dir / "one.csv"))
    with pytest.raises(Refused, match="Name two files"):
        verified(run_dir, VerifyRequest(reissue=run_dir / "verify.csv"))


def test_failed_file_leaves_no_part_of_the_other(run_dir: Path) -> None:
    wanted = VerifyRequest(reissue=run_dir / ("n" * 250))  # its partial file has an even longer name
    with (
        pytest.raises(RecordError, match="File name too long"),
        _open_outputs(RunDir(run_dir), wanted, with_pools=False),
    ):
        pass
    assert not [path for path in run_dir.iterdir() if path.name.endswith((".csv", ".partial"))]


def test_run_without_set_rows_asks_no_question(run_dir: Path) -> None:
    out = io.StringIO()
    found = verified(run_dir, VerifyRequest(reissue=run_dir / "again.csv", as_json=out))
    assert json.loads(out.getvalue()) == {
        "run_id": "r",
        "checked_at": found.checked_at,
        "counts": {},
        "rows_left": 0,
        "rows": [],
    }
    assert (found.exit_code, found.report) == (0, None)
    assert describe_verified(found) == "This run set no passwords, so there is nothing to verify."
    assert list(run_dir.glob("*.csv")) == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"mode": "dry_run"}, "--approved {run_dir}"),
        ({"emulated": True}, "was emulated: its users no longer exist"),
    ],
)
def test_run_without_real_users_has_none_to_look_up(run_dir: Path, facts: dict[str, object], said: str) -> None:
    with closing(Journal.open(run_dir / "journal.sqlite")) as journal:
        journal.write.change(**facts)
    with pytest.raises(RunDirError) as refused:
        verified(run_dir, VerifyRequest())
    assert said.format(run_dir=run_dir) in str(refused.value)


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirError):
        verified(tmp_path, VerifyRequest())


@pytest.mark.parametrize("state", UserState)
def test_exit_code_is_zero_if_all_are_done(state: UserState) -> None:
    found = verify_result({UserState.CHANGED: 3, state: 2})
    assert found.exit_code == (0 if state in DONE else 1)
    assert found.unfinished == (0 if state in DONE else 2)
    assert ("No action needed." in describe_verified(found)) is (state in DONE)


def test_every_state_has_a_word_and_unfinished_ones_have_advice() -> None:
    words = describe_verified(verify_result(dict.fromkeys(UserState, 1000), alive=True))
    assert words.splitlines() == [
        "Verified: 8,000 rows: "
        + ", ".join(
            f"1,000 {word}"
            for word in ["waiting", "expiring", "expired", "changed", "agree", "untouched", "differ", "gone"]
        )
        + ".",
        "The run is still running: users that it sets from now on are not included.",
        "1,000 temporary passwords not used yet (still valid). Verify again later.",
        "2,000 temporary passwords expired or expiring soon. --reissue FILE writes an input file with these users.",
        "3,000 users have changed since the run in an unexpected way; see verify.csv.",
        "Report: verify.csv",
    ]


@pytest.mark.parametrize(("expired", "told"), [(0, "again.csv has no users"), (2, "again.csv, with 2 users")])
def test_file_without_users_is_not_offered_as_an_input(expired: int, told: str) -> None:
    found = replace(verify_result({UserState.WAITING: 1, UserState.EXPIRED: expired}), reissue=Path("again.csv"))
    assert told in describe_verified(found)
    assert ("the input of a run" in describe_verified(found)) is bool(expired)


def verify_result(counts: Mapping[UserState, int], *, alive: bool = False) -> VerifyResult:
    return VerifyResult("r", "2024-01-31T00:00:00.000Z", alive, counts, Path("verify.csv"))
