"""Tests of the terminal: input, output and questions."""
