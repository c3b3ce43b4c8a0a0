"""Tests of the plan: screened, looked up, compared with what was approved, told."""
