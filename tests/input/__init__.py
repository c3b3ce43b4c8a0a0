"""Tests of the input: reader, validation, policy."""
