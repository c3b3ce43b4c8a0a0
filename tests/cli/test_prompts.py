"""The console: output fits the terminal."""

from bulkreset.cli.prompts import wrap_lines


def test_preflight_is_wrapped_between_words() -> None:
    text = "Policy      12 characters, an upper-case letter, a digit\n            and more\n\nRows        1"
    assert wrap_lines(text, 40).splitlines() == [
        "Policy      12 characters, an upper-case",
        "            letter, a digit",
        "            and more",
        "",
        "Rows        1",
    ]
    assert wrap_lines(text, 200) == text


def test_word_longer_than_the_line_is_still_printed() -> None:
    assert wrap_lines(f"Caller      {'x' * 60}", 40).replace("\n", "").replace(" ", "") == f"Caller{'x' * 60}"
