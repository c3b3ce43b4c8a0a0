"""Tests of notifications and metrics."""
