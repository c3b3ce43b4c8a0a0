"""Tests of several lanes at once, through the command line."""
