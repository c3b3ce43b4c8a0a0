"""Tests of what the lanes take: rows, generated passwords, sign-outs."""
