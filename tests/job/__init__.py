"""Tests of the job file and its tables."""
