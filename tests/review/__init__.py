"""Tests of what is asked of a run that has ended."""
