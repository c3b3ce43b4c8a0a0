"""Tests of a run's copy in S3 and of its restore."""
