"""Benchmarks: the figures in docs/, measured by `make bench`. Nothing here asserts a time."""
