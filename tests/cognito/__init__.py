"""Tests of the service's adapter, against the simulator."""
