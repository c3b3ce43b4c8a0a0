"""Tests of what the lanes take: rows, made passwords, sign-outs."""
