"""Text: sizes and lists, and every invisible character."""

import json
import unicodedata
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkreset.text import (
    end_sentence,
    format_count,
    format_estimate,
    format_iso,
    format_local_time,
    format_short_duration,
    format_size,
    join_words,
    json_safe,
    printable_cell,
    show_invisible,
    terminal_safe,
)


@pytest.mark.parametrize(
    ("timespec", "text"),
    [
        ("seconds", "2026-11-21T12:00:00Z"),
        ("milliseconds", "2026-11-21T12:00:00.250Z"),
        ("microseconds", "2026-11-21T12:00:00.250000Z"),
    ],
)
def test_times_in_files_are_utc(timespec: str, text: str) -> None:
    assert format_iso(1_795_262_400_250, timespec) == text


def test_local_times_have_their_zone_and_their_day_if_it_is_another() -> None:
    now = datetime(2026, 11, 21, 22, 30, tzinfo=timezone(timedelta(hours=1), "CET"))
    assert format_local_time(now + timedelta(hours=1), now) == "23:30 CET"
    assert format_local_time(now + timedelta(hours=2), now) == "2026-11-22 00:30 CET"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (12.3, "12 s"), (59.9, "60 s"), (61, "1 min"), (4000, "1 h 7 min")]
)
def test_estimates_have_no_parts_of_a_second(seconds: float, text: str) -> None:
    assert format_estimate(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3599, "1 h 00"), (5460, "1 h 31")]
)
def test_durations_in_tables_are_short(seconds: float, words: str) -> None:
    assert format_short_duration(seconds) == words


@given(st.text())
@settings(max_examples=50)
def test_no_invisible_character_remains(text: str) -> None:
    seen = show_invisible(text)
    kinds = {unicodedata.category(letter) for letter in seen if letter != "\u200d"}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    assert not any(
        unicodedata.bidirectional(letter) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        for letter in seen
    )


def test_signs_for_invisible_characters() -> None:
    assert show_invisible("a\x1b[31m\x00\n\x7f") == "a␛[31m␀␊␡"
    assert show_invisible("x\u202ey\u200bz\x85") == "x[U+202E]y[U+200B]z[U+0085]"
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert show_invisible(f"{family} äöü عربى") == f"{family} äöü عربى"


@given(st.text())
@settings(max_examples=50)
def test_json_has_the_same_values(text: str) -> None:
    spelt = json_safe(json.dumps({"is": text}, ensure_ascii=False))
    assert json.loads(spelt) == {"is": text}
    assert show_invisible(spelt) == spelt


def test_lines_and_tabs_stay_where_they_are_layout() -> None:
    assert terminal_safe("a\tb\n\x1b\u202e\r") == "a\tb\n␛[U+202E]␍"
    assert printable_cell("a\tb\n\x1b\u202e\r") == "a\tb\n␛\u202e␍"


def test_numbers_in_words() -> None:
    assert [format_size(it) for it in (0, 1023, 1024, 5 * 1024**2, 3 * 1024**4)] == [
        "0 bytes",
        "1,023 bytes",
        "1.0 KiB",
        "5.0 MiB",
        "3,072.0 GiB",
    ]
    assert [format_count(it, "row") for it in (0, 1, 1000)] == ["0 rows", "1 row", "1,000 rows"]
    assert [join_words(it) for it in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_question_gets_no_full_stop() -> None:
    assert [end_sentence(text) for text in ("rate is too high", "did you mean [input]?")] == [
        "rate is too high.",
        "did you mean [input]?",
    ]
