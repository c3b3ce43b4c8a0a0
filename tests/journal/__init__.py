"""Tests of bulkreset/journal/."""
