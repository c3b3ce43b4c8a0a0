"""The timetable: the limit at a given time, over midnight, on days with clock changes, and for months."""

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.job import PaceConfig
from bulkreset.job.pace import TimetableEntry
from bulkreset.send.pacer import Pacer
from bulkreset.send.rate_ceiling import JOB, Limit, lowest
from bulkreset.send.timetable import Timetable, TimetableLimit, rows_until, seconds_to_send, timetable_of
from tests.send.fakes import FakeClock

BERLIN = ZoneInfo("Europe/Berlin")  # clocks go from 02:00 to 03:00 on 2026-03-29, from 03:00 to 02:00 on 2026-10-25
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # by half an hour: from 02:00 to 02:30 on 2026-10-04
APIA = ZoneInfo("Pacific/Apia")  # has no 2011-12-30
INF = float("inf")


def table(*entries: tuple[str, float | str], zone: ZoneInfo | None = BERLIN) -> Timetable:
    """Return a timetable of (time of day, rate)."""
    return Timetable([TimetableEntry.model_validate({"from": begin, "rate": rate}) for begin, rate in entries], zone)


def at(text: str) -> float:
    """Return a Unix time from a UTC time."""
    return datetime.fromisoformat(f"{text}Z").timestamp()


OFFICE = (("08:00", 5.0), ("20:00", "auto"))
SPRING = (("01:30", 1.0), ("02:00", 2.0), ("02:30", 3.0), ("03:30", 4.0))
AUTUMN = (("01:59", 1.0), ("02:30", 2.0), ("03:00", 3.0))


@pytest.mark.parametrize(
    ("entries", "zone", "moment", "rate", "until"),
    [
        # Over midnight, in winter and in summer.
        (OFFICE, BERLIN, "2026-01-14T06:59:59", None, "2026-01-14T07:00:00"),
        (OFFICE, BERLIN, "2026-01-14T07:00:00", 5.0, "2026-01-14T19:00:00"),
        (OFFICE, BERLIN, "2026-01-14T18:59:59", 5.0, "2026-01-14T19:00:00"),
        (OFFICE, BERLIN, "2026-01-14T19:00:00", None, "2026-01-15T07:00:00"),
        (OFFICE, BERLIN, "2026-07-14T06:00:00", 5.0, "2026-07-14T18:00:00"),
        (OFFICE, BERLIN, "2026-12-31T23:30:00", None, "2027-01-01T07:00:00"),
        ((("22:00", 7.0),), BERLIN, "2026-01-14T05:00:00", 7.0, "2026-01-14T21:00:00"),
        # The order of the entries in the job does not matter.
        (OFFICE[::-1], BERLIN, "2026-01-14T07:00:00", 5.0, "2026-01-14T19:00:00"),
        # Nights of 23 and 25 hours.
        (OFFICE, BERLIN, "2026-03-28T19:00:00", None, "2026-03-29T06:00:00"),
        (OFFICE, BERLIN, "2026-10-24T18:00:00", None, "2026-10-25T07:00:00"),
        # Times that the clock skips begin together at the jump; the last of them is in force.
        (SPRING, BERLIN, "2026-03-29T00:59:59", 1.0, "2026-03-29T01:00:00"),
        (SPRING, BERLIN, "2026-03-29T01:00:00", 3.0, "2026-03-29T01:30:00"),
        (SPRING, BERLIN, "2026-03-29T01:30:00", 4.0, "2026-03-29T23:30:00"),
        ((("02:15", 2.0), ("02:45", 3.0)), LORD_HOWE, "2026-10-03T15:30:00", 2.0, "2026-10-03T15:45:00"),
        # A time that the clock shows twice begins the first time, and stays.
        (AUTUMN, BERLIN, "2026-10-25T00:29:59", 1.0, "2026-10-25T00:30:00"),
        (AUTUMN, BERLIN, "2026-10-25T00:30:00", 2.0, "2026-10-25T02:00:00"),
        (AUTUMN, BERLIN, "2026-10-25T01:15:00", 2.0, "2026-10-25T02:00:00"),
        (AUTUMN, BERLIN, "2026-10-25T02:00:00", 3.0, "2026-10-26T00:59:00"),
        # A day that does not exist.
        (OFFICE, APIA, "2011-12-30T08:00:00", None, "2011-12-30T10:00:00"),
        (OFFICE, APIA, "2011-12-30T10:00:00", None, "2011-12-30T18:00:00"),
        ((), BERLIN, "2026-01-14T07:00:00", None, None),
        ((("00:00", "auto"),), BERLIN, "2026-01-14T07:00:00", None, "2026-01-14T23:00:00"),
    ],
)
def test_entry_in_force(
    entries: Sequence[tuple[str, float | str]], zone: ZoneInfo, moment: str, rate: float | None, until: str | None
) -> None:
    assert table(*entries, zone=zone).at(at(moment)) == (rate, at(until) if until else INF)


def test_without_a_zone_the_times_are_those_of_this_machine() -> None:
    noon = datetime(2026, 1, 14, 12, 0).timestamp()  # noqa: DTZ001  (local time is meant)
    it = table(("12:00", 5.0), ("13:00", 6.0), zone=None)
    assert it.at(noon) == (5.0, noon + 3600)
    assert it.at(noon - 1) == (6.0, noon)


@given(
    day=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001  (UTC is meant)
    begins=st.lists(st.integers(0, 1439), min_size=1, max_size=6, unique=True),
    zone=st.sampled_from([BERLIN, LORD_HOWE, ZoneInfo("America/New_York"), ZoneInfo("UTC")]),
)
def test_pieces_cover_the_time_in_order(day: datetime, begins: list[int], zone: ZoneInfo) -> None:
    entries = [(f"{minute // 60:02}:{minute % 60:02}", float(minute)) for minute in begins]
    it, start = table(*entries, zone=zone), at(day.isoformat(timespec="seconds"))
    pieces = [piece for piece, _ in zip(it.pieces(start), range(20), strict=False)]
    assert pieces[0][0] == start
    for (begin, end, rate), (next_begin, _, _) in pairwise(pieces):
        assert begin < end == next_begin
        assert it.at(begin) == (rate, end)
        assert rate is not None
        # Whatever the clock did: the entry in force is the latest one that the clock has shown, within the changed
        # hour.
        clock = datetime.fromtimestamp(begin, zone)
        still = (
            datetime.fromtimestamp(begin - 7200, zone).utcoffset()
            == datetime.fromtimestamp(begin + 7200, zone).utcoffset()
        )
        if still and begin != start:
            assert clock.hour * 60 + clock.minute == rate


@pytest.mark.parametrize(
    ("rows", "entries", "start", "expected"),
    [
        (24 * 100, (), "2026-01-14T12:00:00", 100.0),
        (5 * 100, OFFICE, "2026-01-14T12:00:00", 100.0),
        # 7 hours at 5, the rest at 24.
        (5 * 7 * 3600 + 2400, OFFICE, "2026-01-14T12:00:00", 7 * 3600 + 100.0),
        # 11 hours of the short night at 24, then at 5.
        (24 * 11 * 3600 + 50, OFFICE, "2026-03-28T19:00:00", 11 * 3600 + 10.0),
        (24 * 13 * 3600 + 50, OFFICE, "2026-10-24T18:00:00", 13 * 3600 + 10.0),
        # Nothing at night.
        (24 * 3600, (("06:00", "auto"), ("07:00", 0)), "2026-01-14T12:00:00", 18 * 3600.0),
        (24 * 3600 + 24, (("06:00", "auto"), ("07:00", 0)), "2026-01-14T05:30:00", 86_401.0),
        (0, (("06:00", "auto"), ("07:00", 0)), "2026-01-14T12:00:00", 0.0),
        # 200 days of one hour each, with a clock change among them.
        (24 * 3600 * 200, (("06:00", "auto"), ("07:00", 0)), "2026-01-14T05:00:00", 199 * 86_400.0),
        (1e12, (("06:00", "auto"), ("07:00", 0)), "2026-01-14T05:00:00", None),
    ],
)
def test_duration(rows: float, entries: Sequence[tuple[str, float | str]], start: str, expected: float | None) -> None:
    found = seconds_to_send(rows, 24.0, table(*entries), at(start))
    assert found == (None if expected is None else pytest.approx(expected))


@given(rows=st.integers(1, 10_000_000), hours=st.integers(0, 5000))
def test_rows_until_the_end_are_the_rows(rows: int, hours: int) -> None:
    it, start = table(*OFFICE), at("2026-01-14T12:00:00") + timedelta(hours=hours).total_seconds()
    seconds = seconds_to_send(rows, 24.0, it, start)
    assert seconds is not None
    assert rows_until(start + seconds, 24.0, it, start) == pytest.approx(
        rows, rel=1e-5
    )  # a time of today has microseconds


def test_limit_follows_the_clock_even_if_it_is_set_back() -> None:
    now = at("2026-01-14T18:59:59")
    source = TimetableLimit(table(*OFFICE), lambda: now)
    assert list(source.limits("", "", 30.0)) == [Limit(5.0, "timetable")]
    now += 1
    assert list(source.limits("", "", 30.0)) == []
    now += 12 * 3600 - 1
    assert list(source.limits("", "", 30.0)) == []
    now += 1
    assert list(source.limits("", "", 30.0)) == [Limit(5.0, "timetable")]
    now -= 3600
    assert list(source.limits("", "", 30.0)) == []


@pytest.mark.parametrize(
    ("start", "half_hours"),
    [
        (
            "2026-03-29T00:00:00",
            [1800, 900, 1800, 1800, 1800, 1800],
        ),  # the clock jumps over the last half hour of the limit
        ("2026-10-24T23:00:00", [1800, 900, 900, 900, 900, 900, 1800]),  # and shows an hour of it twice
    ],
)
def test_calls_of_a_night_in_which_clocks_change(start: str, half_hours: list[int]) -> None:
    begin = at(start)
    clock, stop = FakeClock(begin), threading.Event()
    source = TimetableLimit(table(("01:30", 0.5), ("03:00", "auto")), clock.now)
    pacer, limit, sent = Pacer(1.0, clock), Limit(1.0, JOB), Counter[int]()
    while (now := clock.now()) < begin + 1800 * len(half_hours):
        before, limit = limit, lowest([Limit(1.0, JOB), *source.limits("", "", 30.0)])
        if limit != before:
            pacer.set_ceiling(limit.rate)
        assert pacer.wait(stop)
        sent[int((now - begin) // 1800)] += 1
    assert [sent[number] for number in range(len(half_hours))] == pytest.approx(half_hours, abs=1)


@pytest.mark.parametrize(
    ("pace", "said"),
    [
        ({"timetable": [{"from": "8:00", "rate": 5.0}]}, 'must be a time like "06:30"'),
        ({"timetable": [{"from": "24:00", "rate": 5.0}]}, 'must be a time like "06:30"'),
        ({"timetable": [{"from": "08:00", "rate": -1.0}]}, "greater than or equal to 0"),
        ({"timetable": [{"from": "08:00", "rate": "none"}]}, "auto"),
        ({"timetable": [{"from": "08:00", "rate": 5.0}, {"from": "08:00", "rate": 6.0}]}, "at the same time"),
        ({"timetable": [{"from": "08:00", "rate": 0.0}]}, "nothing would ever be sent"),
        ({"timezone": "Mars/Olympus"}, "no timezone that this machine knows"),
        ({"timezone": "../../etc/passwd"}, "no timezone that this machine knows"),
        ({"timezone": ""}, "no timezone that this machine knows"),
        ({"timezone": "Europe"}, "no timezone that this machine knows"),
    ],
)
def test_wrong_timetable_is_refused(pace: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PaceConfig.model_validate(pace)


def test_timetable_of_a_job_survives_the_journal() -> None:
    pace = PaceConfig.model_validate(
        {"timezone": "Europe/Berlin", "timetable": [{"from": "08:00", "rate": 5}, {"from": "20:00", "rate": "auto"}]}
    )
    again = PaceConfig.model_validate_json(pace.model_dump_json())
    assert again == pace
    assert timetable_of(again).at(at("2026-01-14T07:00:00"))[0] == 5.0
