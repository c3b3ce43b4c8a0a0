"""Tests of what a person types, reads and answers."""
