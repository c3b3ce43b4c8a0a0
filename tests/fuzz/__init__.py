"""Fuzzing: each target is a module with a function `one(data)`, which asserts rules for any bytes."""
