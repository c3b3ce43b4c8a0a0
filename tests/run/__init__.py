"""Tests of a job that is run again and again."""
