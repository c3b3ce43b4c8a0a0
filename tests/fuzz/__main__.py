"""Run fuzz targets one after the other, guided by coverage: `python -m tests.fuzz [TARGET …] [--seconds N]`.

New inputs are stored in .fuzz/TARGET, crashes in .fuzz/crashes. After its fix, a crash is added to the corpus.
"""

import argparse
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.replay import CORPUS, TARGETS, TOKENS

FOUND = Path(".fuzz")
SLOW = 25  # seconds that one input may take
MEMORY = 2048  # MB


def main() -> int:
    """Run each target in a new process; return how many failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.guided:
        guided(asked.targets[0], asked.seconds)
    failed = [target for target in asked.targets or TARGETS if not _ran(target, asked.seconds)]
    sys.stdout.write(
        f"{len(failed)} targets found something: {', '.join(failed)}\n" if failed else "Nothing was found.\n"
    )
    return len(failed)


def _ran(target: str, seconds: int) -> bool:
    sys.stdout.write(f"== {target}\n")
    sys.stdout.flush()
    command = [sys.executable, "-m", "tests.fuzz", "--guided", target, "--seconds", str(seconds)]
    memory = "/dev/shm"  # noqa: S108  (a folder of its own is made in it)
    # libFuzzer ends its process without cleaning up: this block deletes its files.
    with TemporaryDirectory(prefix="bulkreset-fuzz-", dir=memory if Path(memory).is_dir() else None) as folder:
        return subprocess.run(command, check=False, env=os.environ | {"TMPDIR": folder}).returncode == 0


def guided(target: str, seconds: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris  # noqa: PLC0415  (an extra)

    with atheris.instrument_imports(include=["bulkreset", "tomllib"], enable_loader_override=False):
        module = import_module(f"tests.fuzz.{target}")
    found, crashes, words = FOUND / target, FOUND / "crashes", FOUND / f"{target}.dict"
    for path in (found, crashes):
        path.mkdir(parents=True, exist_ok=True)
    words.write_text("".join(map(_quoted, (*TOKENS, *getattr(module, "WORDS", ())))), encoding="ascii")
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={crashes}/{target}-",
        f"-timeout={SLOW}",
        f"-rss_limit_mb={MEMORY}",
        "-max_len=4096",
        "-print_final_stats=1",
        f"-dict={words}",
    ]
    atheris.Setup([sys.argv[0], *options, str(found), str(CORPUS / target)], module.one)
    atheris.Fuzz()


def _quoted(word: bytes) -> str:
    """Return a line of a dictionary in libFuzzer's format."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


if __name__ == "__main__":
    sys.exit(main())
