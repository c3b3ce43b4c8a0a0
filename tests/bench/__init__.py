"""Benchmarks: figures that the README quotes, measured by `make bench`; nothing here asserts a time."""
