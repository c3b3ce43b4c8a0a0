"""Tests of the plan: validation, look-up, approval, preflight."""
