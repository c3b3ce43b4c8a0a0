"""The figures of the charts: limited in number, and equal to a count row by row."""

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.models import RateChange, Status
from bulkreset.report.charts import axis_labels, edge_labels, time_labels
from bulkreset.report.timeline import (
    BARS,
    BUCKETS,
    _bar_edges,
    bucket_width,
    build_latency_histogram,
    build_timeline,
    round_up,
)
from tests.journal.journals import OTHER
from tests.report.pages import BEGUN, journal_of, lane, ready, sent


@given(st.integers(0, 400 * 86_400_000))
def test_buckets_are_bounded(span: int) -> None:
    width = bucket_width(span)
    assert span // width < BUCKETS
    assert width == 200 or span >= width * BUCKETS / 3


def test_run_without_calls_has_no_timeline(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, ready(3))
    assert build_timeline(journal) is None
    assert build_latency_histogram(journal) is None


def test_course_counts_every_row_and_every_throttled_call_once(tmp_path: Path) -> None:
    luck = random.Random(3)
    outcomes = [
        sent(row, luck.choice([Status.SET, Status.FAILED]), at=luck.randrange(600_000), throttled=luck.randrange(3))
        for row in range(1, 501)
    ]
    course = build_timeline(journal_of(tmp_path, ready(520), outcomes))
    assert course
    seconds = course.width / 1000
    assert sum(step.finished * seconds for step in course.buckets) == pytest.approx(500)
    assert sum(step.throttled * seconds for step in course.buckets) == pytest.approx(
        sum(it.throttled for it in outcomes)
    )
    for step in course.buckets:
        ended = [it for it in outcomes if step.at_ms <= (it.finished_at or 0) < step.at_ms + course.width]
        assert step.finished * seconds == pytest.approx(len(ended))
    assert {later.at_ms - step.at_ms for step, later in zip(course.buckets, course.buckets[1:], strict=False)} == {
        course.width
    }


def test_lane_is_at_its_ceiling_until_its_first_change_and_then_keeps_its_last_rate(tmp_path: Path) -> None:
    changes = [(4, 10.0), (4.2, 14.0), (7, 20.0)]
    rates = [RateChange(BEGUN + int(at * 1000), "111111111111", "eu-west-1", rate, "throttled") for at, rate in changes]
    outcomes = [sent(row, at=(row - 1) * 1000, latency=0) for row in range(1, 11)]
    journal = journal_of(tmp_path, ready(10), outcomes, rates, lanes=[lane(), lane(OTHER, ceiling=5.0)])
    course = build_timeline(journal)
    assert course
    assert course.ceiling == 29.0
    allowed = {(step.at_ms - BEGUN) / 1000: step.allowed for step in course.buckets}
    assert (allowed[0], allowed[3], allowed[4], allowed[5], allowed[7], allowed[9]) == (
        29.0,
        29.0,
        15.0,
        19.0,
        25.0,
        25.0,
    )
    (tmp_path / "unpaced").mkdir()
    lanes = [lane(), lane(OTHER, ceiling=None)]
    unpaced = build_timeline(journal_of(tmp_path / "unpaced", ready(10), outcomes, rates, lanes=lanes))
    assert unpaced
    assert unpaced.ceiling is None
    assert {step.allowed for step in unpaced.buckets} == {None}


def test_latencies_are_those_of_the_rows(tmp_path: Path) -> None:
    luck = random.Random(5)
    took = [int(luck.lognormvariate(4, 0.7)) for _ in range(999)] + [31_234]
    outcomes = [sent(row, latency=ms) for row, ms in enumerate(took, 1)]
    latency = build_latency_histogram(journal_of(tmp_path, ready(1000), outcomes))
    assert latency
    ordered = sorted(took)
    assert latency.shares == {50: ordered[499], 90: ordered[899], 99: ordered[989]}
    assert (latency.rows, latency.longest) == (1000, 31_234)
    assert len(latency.bars) <= BARS
    for bar in latency.bars:
        assert bar.rows == sum(bar.least <= ms < bar.below for ms in took)
    assert sum(bar.rows for bar in latency.bars) == 1000


@pytest.mark.parametrize("took", [[0], [7, 7, 7], [1, 10_000_000], [9_999, 10_050]])
def test_few_latencies(tmp_path: Path, took: list[int]) -> None:
    outcomes = [sent(row, latency=ms) for row, ms in enumerate(took, 1)]
    latency = build_latency_histogram(journal_of(tmp_path, ready(len(took)), outcomes))
    assert latency
    assert latency.longest == max(took)
    assert sum(bar.rows for bar in latency.bars) == len(took)
    assert len(latency.bars) <= BARS


@given(st.integers(0, 9_999), st.integers(0, 10**9))
def test_bars_are_logarithmic_and_few(lowest: int, more: int) -> None:
    edges = _bar_edges(lowest, lowest + more)
    assert edges[0] <= lowest <= lowest + more < edges[-1]
    assert edges == sorted(set(edges))
    assert len(edges) <= BARS + 1
    assert all(below <= 2.6 * least for least, below in pairwise(edges) if least)


@pytest.mark.parametrize(
    ("edges", "most", "labels"),
    [
        ([31, 35, 40, 45], 4, [31, 35, 40, 45]),
        ([16, 18, 20, 25, 50, 63, 100], 4, [20, 50, 100]),
        ([0, 1, 2, 5, 10, 20, 50, 100, 200], 4, [0, 1, 10, 100]),
        ([56, 63, 71, 80, 90, 100], 4, [56, 71, 90]),
    ],
)
def test_labels_of_a_logarithmic_axis_are_round(edges: list[int], most: int, labels: list[int]) -> None:
    assert edge_labels(edges, most) == labels


@given(st.floats(0, 1e9))
def test_axis_reaches_above_the_highest_in_round_steps(highest: float) -> None:
    labels = axis_labels(highest)
    assert labels[0] == 0
    assert labels[-1] >= min(highest, 1e8)
    assert len(labels) <= 7


@given(st.integers(1, 400 * 86_400_000), st.integers(4, 9))
def test_moments_lie_within_and_are_few(span: int, most: int) -> None:
    found = time_labels(BEGUN + 123, BEGUN + 123 + span, most)
    assert len(found) <= most
    assert all(BEGUN + 123 <= at <= BEGUN + 123 + span for at in found)


def test_round_numbers() -> None:
    assert [round_up(least) for least in (0.1, 1, 1.1, 3, 6, 11, 21, 51, 4000)] == [1, 1, 2, 5, 10, 20, 50, 100, 5000]
