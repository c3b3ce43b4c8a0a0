"""Other programs that set passwords: how to install each one, and its command line for the same rows."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

AT_ONCE: Final = 16
SDK: Final = "@aws-sdk/client-cognito-identity-provider@3.1169.0"
CLI: Final = "awscli==1.46.3"
GO_PATH: Final = Path("/usr/share/gocode")  # the SDK as Debian packages it
HERE: Final = Path(__file__).parent

Command = list[object]


class Missing(Exception):
    """The program cannot be installed here; the message says why."""


def threads(_folder: Path, source: Path, pool: str, url: str) -> Command:
    """A thread pool over boto3 with its default settings."""
    return [sys.executable, "-m", "tests.bench.plain_pool", source, pool, url, AT_ONCE]


def adaptive(folder: Path, source: Path, pool: str, url: str) -> Command:
    """The same with botocore's adaptive retries."""
    return [*threads(folder, source, pool, url), "adaptive"]


def sdk(folder: Path, source: Path, pool: str, url: str) -> Command:
    """The SDK for JavaScript, with so many concurrent calls in one process."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        raise Missing("there is no node")
    _got([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, SDK])
    return [node, HERE / "sdk.mjs", folder, source, pool, url, AT_ONCE]


def go(folder: Path, source: Path, pool: str, url: str) -> Command:
    """The SDK for Go, with so many concurrent calls in one process."""
    if not shutil.which("go"):
        raise Missing("there is no go")
    if not GO_PATH.joinpath("src", "github.com", "aws", "aws-sdk-go-v2").is_dir():
        raise Missing("Debian's golang-github-aws-aws-sdk-go-v2-dev is not installed")
    program = folder / "sdk-go"
    _got(["env", "GO111MODULE=off", f"GOPATH={GO_PATH}", "go", "build", "-o", program, HERE / "sdk.go"])
    return [program, source, pool, url, AT_ONCE]


def aws_cli(folder: Path, source: Path, pool: str, url: str) -> Command:
    """A process of the AWS CLI for each row, with the password among its arguments."""
    python = folder / "cli" / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    _got([uv, "venv", "--quiet", "--python", sys.executable, folder / "cli"])
    _got([uv, "pip", "install", "--quiet", "--python", python, CLI])
    call = (
        f'{python.with_name("aws")} cognito-idp admin-set-user-password --user-pool-id "{pool}" --endpoint-url "{url}"'
        ' --username "$0" --password "$1" --permanent'
    )
    return ["sh", "-c", f"tail -n +2 '{source}' | tr ',\\r' '  ' | xargs -L 1 sh -c '{call}'"]


def _got(command: Command) -> None:
    try:
        subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"it could not be installed ({type(error).__name__})") from None


# A name, the number of rows that is enough for it, and its command line.
CALLERS: Final[tuple[tuple[str, int, Callable[[Path, Path, str, str], Command]], ...]] = (
    ("plain boto3, 16 threads", 20_000, threads),
    ("botocore adaptive", 20_000, adaptive),
    ("SDK for JavaScript", 20_000, sdk),
    ("SDK for Go", 20_000, go),
    ("aws-cli, one at a time", 20, aws_cli),
)
