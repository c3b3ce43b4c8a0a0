"""The rates: the latest change of each lane, at most one a second, and none lost at the end."""

from pathlib import Path

from bulkreset.models import RateChange
from bulkreset.run.recorder import SPACING_MS, RateChanges
from tests.journal.journals import commit, planned


def change(at_ms: int, rate: float, region: str = "r", reason: str = "throttled") -> RateChange:
    return RateChange(at_ms, "1", region, rate, reason)


def test_a_lane_notes_its_latest_change_once_in_a_second() -> None:
    rates = RateChanges()
    assert rates.take_due(0) == ()
    rates.add(change(1, 20))
    rates.add(change(2, 18))
    assert rates.take_due(5) == [change(2, 18)]
    rates.add(change(10, 17))
    assert rates.take_due(SPACING_MS) == []
    rates.add(change(20, 16))
    assert rates.take_due(SPACING_MS + 5) == [change(20, 16)]
    assert rates.take_due(9 * SPACING_MS) == ()


def test_lanes_do_not_wait_for_each_other_and_the_rest_is_kept() -> None:
    rates = RateChanges()
    rates.add(change(1, 20))
    assert len(rates.take_due(5)) == 1
    rates.add(change(6, 19))
    rates.add(change(6, 9, "other"))
    assert rates.take_due(7) == [change(6, 9, "other")]
    assert rates.take_rest() == [change(6, 19)]
    assert rates.take_rest() == []


def test_changes_are_counted_by_lane(tmp_path: Path) -> None:
    journal = planned(tmp_path, "a")
    commit(journal, [], [], rates=[change(1, 20), change(2000, 24, reason="at the ceiling"), change(1, 9, "other")])
    assert journal.read.rate_changes() == {("1", "r"): 2, ("1", "other"): 1}
