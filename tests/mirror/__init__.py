"""Tests of a run kept in S3 and made anew from there."""
