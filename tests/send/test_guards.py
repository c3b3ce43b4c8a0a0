"""The guards: which row or time stops sending, and which rows do not count."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import GuardTripped, TimeLimit
from bulkreset.job import GuardsConfig
from bulkreset.models import Outcome, Status
from bulkreset.send.guards import GuardMonitor
from bulkreset.text import format_limit
from tests.send.fakes import FakeClock

EVENING = datetime.fromisoformat("2024-01-31T22:30:15")
LETTERS = {"s": Status.SET, "f": Status.FAILED, "d": Status.IN_DOUBT, "r": Status.READY}


def outcomes(letters: str) -> list[Outcome]:
    """Return outcomes from letters: s set, f failed, d in doubt, r returned."""
    return [Outcome(row, LETTERS[letter], f"Code{row}") for row, letter in enumerate(letters, 1)]


def tripping(watch: GuardMonitor) -> None:
    """Raise if all must stop, or the one lane."""
    watch.check()
    if error := watch.violation():
        raise error


class Bench:
    """A monitor with its clock; the wall clock shows `at` at the start."""

    def __init__(self, at: datetime = EVENING, **guards: object) -> None:
        self.clock = FakeClock()
        self.watch = GuardMonitor(
            GuardsConfig.model_validate({"max_refused_in_a_row": 0} | guards), self.clock, lambda: at
        )

    def stops_at(self, letters: str) -> int | None:
        """Return the row after which nothing more may be sent, None if there is none."""
        for row, outcome in enumerate(outcomes(letters), 1):
            self.watch.add([outcome])
            try:
                tripping(self.watch)
            except GuardTripped:
                return row
        return None

    def seconds_left(self) -> float:
        """Pass the time until nothing more may be sent, and return the seconds."""
        self.watch.check()
        passed = 0
        for step in (60, 1):  # back by the last minute, then second by second
            while self._is_allowed_after(step):
                passed += step
            self.clock.advance(-step)
        self.clock.advance(1)
        return passed + 1

    def _is_allowed_after(self, seconds: int) -> bool:
        self.clock.advance(seconds)
        try:
            self.watch.check()
        except TimeLimit:
            return False
        return True


def test_job_without_guards_ignores_failures() -> None:
    watch = GuardMonitor(GuardsConfig(), FakeClock(), lambda: EVENING)
    for _ in range(50):
        watch.add(outcomes("f" * 99 + "s"))
        tripping(watch)


def test_guards_ignore_a_lane_without_calls() -> None:
    for most in (0, "0%"):
        Bench(max_failures=most, failures_sample=1, max_refused_in_a_row=1, max_duration=1.0).watch.check()


@pytest.mark.parametrize(
    ("most", "letters", "row"),
    [
        (0, "sssss", None),
        (0, "ssfs", 3),
        (2, "fsfsss", None),
        (2, "fsfsssf", 7),
        (2, "ddd", 3),
        (2, "fdsf", 4),
        (2, "frrrrrf", None),
        (2, "frrrrrff", 8),
    ],
)
def test_failures_are_counted(most: int, letters: str, row: int | None) -> None:
    assert Bench(max_failures=most).stops_at(letters) == row


@pytest.mark.parametrize(
    ("most", "sample", "letters", "row"),
    [
        ("20%", 5, "f", None),
        ("20%", 5, "ffff", None),
        ("20%", 5, "fffff", 5),
        ("20%", 5, "fssss", None),
        ("20%", 5, "fssssf", 6),
        ("20%", 5, "fssssssssf", None),
        ("20%", 5, "frrrrrrrr", None),
        ("20%", 5, "frrrrrrrrsdss", 13),
        ("0%", 3, "ff", None),
        ("0%", 3, "ffs", 3),
        ("0%", 3, "ssssf", 5),
        ("2.5%", 1, "s" * 39 + "f", None),
        ("2.5%", 1, "s" * 38 + "f", 39),
    ],
)
def test_percentage_is_of_the_settled_rows_and_needs_a_sample(
    most: str, sample: int, letters: str, row: int | None
) -> None:
    assert Bench(max_failures=most, failures_sample=sample).stops_at(letters) == row


def test_percentage_has_a_sample_unless_the_job_says_otherwise() -> None:
    assert Bench(max_failures="1%").stops_at("f" * 200) == 100


@pytest.mark.parametrize(
    ("most", "letters", "row"),
    [
        (1, "sssf", 4),
        (3, "ff", None),
        (3, "fff", 3),
        (3, "ffsffsff", None),
        (3, "ffsfff", 6),
        (3, "ffdffdff", 3),
        (3, "ffdfff", 3),
        (3, "ddddd", 3),
        (3, "ffrrrr", None),
        (3, "frrfrrf", 7),
        (0, "f" * 500, None),
    ],
)
def test_failures_in_a_row_are_ended_by_a_success_only(most: int, letters: str, row: int | None) -> None:
    assert Bench(max_refused_in_a_row=most).stops_at(letters) == row


def test_hundred_refusals_in_a_row_stop_a_job_that_names_no_guard() -> None:
    watch = GuardMonitor(GuardsConfig(), FakeClock(), lambda: EVENING)
    watch.add(outcomes("f" * 99))
    tripping(watch)
    watch.add(outcomes("f"))
    with pytest.raises(GuardTripped, match="100 rows in a row failed"):
        tripping(watch)


def test_stop_gives_the_number_of_calls_and_the_next_step() -> None:
    bench = Bench(max_failures="5%", failures_sample=10)
    bench.watch.add(outcomes("f" * 1200 + "s" * 100 + "rr"))
    with pytest.raises(GuardTripped) as caught:
        tripping(bench.watch)
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "1,200 of 1,300 rows failed. (Limit: max_failures = 5%.)"
        " Look at the codes in the report and fix the cause, then resume. The count starts again from 0."
    )
    bench = Bench(max_refused_in_a_row=2)
    bench.watch.add(outcomes("sff"))
    with pytest.raises(GuardTripped) as caught:
        tripping(bench.watch)
    assert str(caught.value) == (
        "2 rows in a row failed (Code3). (Limit: max_refused_in_a_row.) The cause is probably the user pool, the kind of"
        " username or the policy. Compare one user by hand. Then resume with --failed, or start a new run of the rows"
        " that are not set."
    )


def test_rows_in_a_row_without_an_answer_are_in_doubt_and_a_plain_resume_sends_them() -> None:
    bench = Bench(max_refused_in_a_row=3)
    bench.watch.add(outcomes("sfdd"))
    with pytest.raises(GuardTripped) as caught:
        tripping(bench.watch)
    assert caught.value.message == "3 rows in a row had no answer (Code4). (Limit: max_refused_in_a_row.)"
    assert caught.value.advice.endswith("then resume.")
    assert "--failed" not in caught.value.advice


def test_rows_in_a_row_that_could_not_be_sent_have_failed() -> None:
    bench = Bench(max_refused_in_a_row=2)
    bench.watch.add([Outcome(row, Status.FAILED, "EndpointConnectionError") for row in (1, 2)])
    with pytest.raises(GuardTripped, match="could not be sent") as caught:
        tripping(bench.watch)
    assert caught.value.advice == "Fix the network or the proxy, then resume with --failed."


def test_rows_in_a_row_that_were_throttled_name_the_quota() -> None:
    bench = Bench(max_refused_in_a_row=2)
    bench.watch.add([Outcome(row, Status.FAILED, "TooManyRequestsException") for row in (1, 2)])
    with pytest.raises(GuardTripped, match="2 rows in a row were throttled") as caught:
        tripping(bench.watch)
    assert caught.value.advice.startswith("The quota is used up")


def test_tripped_guard_stays_without_a_better_result() -> None:
    bench = Bench(max_failures=1)
    assert bench.stops_at("ff") == 2
    with pytest.raises(GuardTripped):
        bench.watch.check()


@pytest.mark.parametrize(("duration", "seconds"), [(1, 1), (90.0, 90), ("90m", 5400), ("8h", 28_800)])
def test_time_begins_with_the_watch(duration: object, seconds: int) -> None:
    bench = Bench(max_duration=duration)
    assert bench.seconds_left() == seconds
    with pytest.raises(TimeLimit, match=rf"max_duration = {format_limit(seconds)}\)") as caught:
        bench.watch.check()
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("stop_at", "seconds"),
    [
        ("22:31", 45),
        ("23:30", 3585),
        ("00:00", 5385),
        ("06:00", 26_985),
        ("22:30", 86_385),  # over since a quarter of a minute: tomorrow's
        ("22:29", 86_325),
    ],
)
def test_time_of_day_is_the_next_one_also_after_midnight(stop_at: str, seconds: int) -> None:
    bench = Bench(stop_at=stop_at)
    assert bench.seconds_left() == seconds
    with pytest.raises(TimeLimit, match=f"stop_at = {stop_at}"):
        bench.watch.check()


def test_time_of_day_is_when_its_minute_begins() -> None:
    bench = Bench(EVENING.replace(microsecond=900_000), stop_at="22:31")
    bench.clock.advance(44)
    bench.watch.check()
    bench.clock.advance(0.2)
    with pytest.raises(TimeLimit) as caught:
        bench.watch.check()
    assert caught.value.advice == "Resume when there is time."


def test_time_of_day_of_this_very_moment_is_tomorrows() -> None:
    assert Bench(EVENING.replace(second=0), stop_at="22:30").seconds_left() == 86_400


@pytest.mark.parametrize("at", [datetime.fromisoformat("2024-02-29T23:59"), EVENING.replace(hour=23, minute=59)])
def test_midnight_may_end_a_month(at: datetime) -> None:
    assert Bench(at.replace(second=0), stop_at="00:01").seconds_left() == 120


@pytest.mark.parametrize(("at", "hours"), [("2026-03-28T23:00", 6), ("2026-10-24T23:00", 8), ("2026-11-21T23:00", 7)])
def test_time_of_day_follows_the_clock_also_when_it_changes(
    at: str, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        assert Bench(datetime.fromisoformat(at), stop_at="06:00").seconds_left() == hours * 3600
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("duration", "stop_at", "seconds", "named"),
    [("1m", "22:31", 45, "stop_at"), ("30s", "22:31", 30, "max_duration"), ("24h", "22:30", 86_385, "stop_at")],
)
def test_time_is_over_with_whichever_comes_first(duration: str, stop_at: str, seconds: int, named: str) -> None:
    bench = Bench(max_duration=duration, stop_at=stop_at)
    assert bench.seconds_left() == seconds
    with pytest.raises(TimeLimit, match=named):
        bench.watch.check()


@pytest.mark.parametrize("limit", [{"max_duration": 45.0}, {"stop_at": "22:31"}])
@pytest.mark.parametrize(
    ("boot", "wall", "left"),
    [(0, 0, 45), (44, 44, 1), (45, 45, 0), (45, 0, 0), (0, 45, 0), (20, -3600, 25), (45, -3600, 0), (0, 3600, -3555)],
    ids=["none", "near", "over", "boot-only", "moved", "set-back", "over-and-set-back", "set-forward"],
)
def test_time_is_over_on_the_first_of_two_clocks(limit: dict[str, object], boot: int, wall: int, left: int) -> None:
    """A sleep moves both; a move to another host may move only the wall clock; setting a clock back delays nothing."""
    clock, shown = FakeClock(), [EVENING]
    watch = GuardMonitor(GuardsConfig.model_validate(limit), clock, lambda: shown[0])
    clock.advance(boot)
    shown[0] += timedelta(seconds=wall)
    assert watch.seconds_left() == left
    if left > 0:
        watch.check()
    else:
        with pytest.raises(TimeLimit):
            watch.check()


def test_run_without_a_time_limit_has_no_end() -> None:
    assert GuardMonitor(GuardsConfig(), FakeClock(), lambda: EVENING).seconds_left() == float("inf")


def test_time_ends_a_run_without_failures_and_beside_other_guards() -> None:
    bench = Bench(max_failures=0, max_refused_in_a_row=1, max_duration=10.0)
    assert bench.stops_at("sssss") is None
    bench.clock.advance(10)
    with pytest.raises(TimeLimit):
        bench.watch.check()


@given(
    lots=st.lists(st.text(st.sampled_from("sfdr"), max_size=6), max_size=12),
    most=st.integers(0, 8),
    in_a_row=st.integers(0, 5),
)
def test_batches_of_outcomes_count_like_single_ones(lots: Sequence[str], most: int, in_a_row: int) -> None:
    bench = Bench(max_failures=most, max_refused_in_a_row=in_a_row)
    for lot in lots:
        bench.watch.add(outcomes(lot))
    settled = "".join(lots).replace("r", "")
    refused = len(settled) - len(settled.rstrip("fd"))
    trips = settled.count("f") + settled.count("d") > most or 0 < in_a_row <= refused
    try:
        tripping(bench.watch)
    except GuardTripped:
        assert trips
    else:
        assert not trips


def test_refusals_that_blame_the_calls_are_counted_by_lane() -> None:
    bench = Bench(max_failures="50%", failures_sample=10, max_refused_in_a_row=5)
    for _ in range(3):
        bench.watch.add(outcomes("sff"), lane=0)
        bench.watch.add(outcomes("sss"), lane=1)
        bench.watch.add(outcomes("ss"), lane=2)
    bench.watch.check()
    assert [bench.watch.violation(lane) for lane in (0, 1, 2, 3)] == [None] * 4
    bench.watch.add(outcomes("ssfff"), lane=0)
    bench.watch.add(outcomes("fffff"), lane=2)
    bench.watch.check()
    share, nothing, in_a_row = (bench.watch.violation(lane) for lane in (0, 1, 2))
    assert "9 of 14 rows failed" in str(share)
    assert nothing is None
    assert "5 rows in a row" in str(in_a_row)


def test_number_of_failures_is_counted_over_all_lanes() -> None:
    bench = Bench(max_failures=3)
    bench.watch.add(outcomes("ff"), lane=0)
    bench.watch.add(outcomes("sf"), lane=1)
    bench.watch.check()
    bench.watch.add(outcomes("f"), lane=2)
    assert [bench.watch.violation(lane) for lane in (0, 1, 2)] == [None] * 3
    with pytest.raises(GuardTripped, match=r"4 of 5 rows failed\. \(Limit: max_failures = 3"):
        bench.watch.check()


@pytest.mark.parametrize("counts", [True, False])
def test_pauses_count_for_the_duration_as_the_job_says(counts: bool) -> None:  # noqa: FBT001
    clock, paused = FakeClock(), False
    guards = GuardsConfig(max_duration=100.0, count_pauses=counts)
    monitor = GuardMonitor(guards, clock, datetime.now, lambda: paused)
    clock.advance(60)
    monitor.check()
    paused = True
    for _ in range(3):
        clock.advance(13)
        monitor.check()
    paused = False
    clock.advance(1)
    if counts:
        with pytest.raises(TimeLimit, match="max_duration"):
            monitor.check()
        return
    clock.advance(38.9)
    monitor.check()
    clock.advance(0.2)
    with pytest.raises(TimeLimit, match="max_duration"):
        monitor.check()


@pytest.mark.parametrize(
    ("most", "letters"),
    [(4, "sddff"), (3, "sddsffd")],
    ids=["half of them are in doubt", "more were in doubt before a success"],
)
def test_rows_in_a_row_of_which_few_are_in_doubt_failed(most: int, letters: str) -> None:
    bench = Bench(max_refused_in_a_row=most)
    bench.watch.add(outcomes(letters))
    with pytest.raises(GuardTripped, match=rf"{most} rows in a row failed \(Code{len(letters)}\)"):
        tripping(bench.watch)


def test_pause_before_the_first_check_does_not_count() -> None:
    clock = FakeClock()
    monitor = GuardMonitor(GuardsConfig(max_duration=100.0, count_pauses=False), clock, datetime.now, lambda: True)
    clock.advance(60)
    monitor.check()
    assert monitor.seconds_left() == pytest.approx(100)
