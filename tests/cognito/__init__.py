"""Tests of the Cognito adapter, against the simulator."""
