"""Replay the corpus and fixed mutations of it, for runs without a fuzzer."""

import random
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

TARGETS = ("answer", "cells", "csv_input", "envelope", "job_file", "journal", "jsonl_input", "parquet_input", "policy")
CORPUS = Path(__file__).parent / "corpus"
TOKENS = (
    b"\n",
    b"\r",
    b'"',
    b",",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"[",
    b"{}",
    b"=",
    b"\xf0\x9f\x9a\x80",
)

Target = Callable[[bytes], None]


def target(name: str) -> Target:
    """Return the function that takes the bytes."""
    found: Target = import_module(f"tests.fuzz.{name}").one
    return found


def corpus(name: str) -> list[bytes]:
    """Return a target's stored inputs, sorted by name."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def mutations(name: str, number: int) -> Iterator[bytes]:
    """Return so many inputs that are similar to the corpus."""
    chance, kept = random.Random(name), corpus(name)
    for _ in range(number):
        content = bytearray(chance.choice(kept))
        for _ in range(chance.randint(1, 4)):
            _mutate(content, chance, kept)
        yield bytes(content)


def _mutate(content: bytearray, chance: random.Random, kept: list[bytes]) -> None:
    at = chance.randint(0, len(content))
    end = min(len(content), at + chance.randint(1, 16))
    match chance.randrange(6):
        case 0:
            content[at:end] = b""
        case 1:
            content[at : at + 1] = bytes([chance.randrange(256)])
        case 2:
            content[at:at] = chance.choice(TOKENS)
        case 3:
            content[at:at] = content[at:end] * chance.randint(1, 8)
        case 4:
            other = chance.choice(kept)
            begin = chance.randint(0, len(other))
            content[at:end] = other[begin : begin + chance.randint(1, 64)]
        case _:
            content[at:] = b""
