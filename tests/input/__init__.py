"""Tests of what is asked: the reader, the screen, the policy."""
