"""Tests of the plan: validation, lookup, approval, preflight."""
