"""Benchmarks: figures that docs/ quotes, measured by `make bench`; nothing here asserts a time."""
