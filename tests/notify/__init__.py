"""Tests of who is told of a run, and of what."""
