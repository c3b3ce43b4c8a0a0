"""Tests of doing it: the pace, the worker, the lane, the coordinator; all on a clock that no test waits for."""
