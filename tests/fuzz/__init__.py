"""Fuzzing: each target is a module with a function `one(data)` that asserts what must hold whatever the bytes are."""
