"""Install each part from its registry into a folder outside the checkout; skip the test if that fails."""

import contextlib
import http.client
import importlib.metadata
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from uv import find_uv_bin

from tests.waiting import wait_until

CACHE: Final = Path(os.environ.get("BULKRESET_PEERS") or Path.home() / ".cache" / "bulkreset-peers")
Argv = Sequence[str | Path]
_PATIENCE: Final = 600.0  # seconds for an installation; ends a hanging one


def run(*argv: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, given: str = "") -> str:
    """Return what a program prints. Raises AssertionError with the end of its output if it fails."""
    done = subprocess.run(
        list(map(str, argv)),
        cwd=cwd,
        env=env,
        input=given,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{argv[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
    return done.stdout


def install(what: str, *argv: str | Path, cwd: Path | None = None) -> None:
    """Run a step of an installation. Skips the test if it fails, with the reason."""
    try:
        run(*argv, cwd=cwd)
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{what} cannot be installed: {' '.join(str(error).split())[:300]}")


def _install(what: str, folder: Path, *steps: Argv) -> None:
    """Run the steps once for a folder; an earlier installation stays until somebody deletes it."""
    done = folder / "installed"
    wanted = repr([list(map(str, step)) for step in steps])
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for step in steps:
        install(what, *step, cwd=folder)
    done.write_text(wanted, encoding="utf-8")


@cache
def python_environment(name: str, *requirements: str, python: str = "3.11") -> Path:
    """Return the folder of commands of a virtual environment with these packages from PyPI."""
    folder, uv = CACHE / name, find_uv_bin()
    _install(
        ", ".join(requirements),
        folder,
        (uv, "venv", "--quiet", "--python", python, "venv"),
        (uv, "pip", "install", "--quiet", "--python", "venv/bin/python", *requirements),
    )
    return folder / "venv" / "bin"


def python_version(commands: Path, package: str) -> str:
    """Return the version of a package in a virtual environment, with its name."""
    (found,) = importlib.metadata.distributions(
        name=package, path=[str(path) for path in commands.parent.glob("lib/python*/site-packages")]
    )
    return f"{package} {found.version}"


@cache
def node_packages(name: str, *packages: str) -> Path:
    """Return a folder with these packages from the npm registry in its node_modules."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = CACHE / name
    (CACHE / "npm").mkdir(parents=True, exist_ok=True)
    _install(
        ", ".join(packages),
        folder,
        (
            "npm",
            "install",
            "--loglevel=error",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
            folder,
            *packages,
        ),
    )
    return folder


def node_version(folder: Path, package: str) -> str:
    """Return the version of an installed package, with its name."""
    said = run("node", "-p", f"require('./node_modules/{package}/package.json').version", cwd=folder)
    return f"{package} {said.strip()}"


@cache
def debian_program(package: str, program: str) -> Path:
    """Return the path of a program: this machine's own, or one unpacked from Debian's package.

    No service is started.
    """
    found = shutil.which(program)
    if found:
        return Path(found)
    if not shutil.which("apt-get"):
        pytest.skip(f"{program} is not installed, and Debian's package {package} cannot be had here")
    folder = CACHE / package
    unpack = f"apt-get download {package} && dpkg-deb -x {package}_*.deb . && rm {package}_*.deb"
    _install(f"{package} (apt-get update may help)", folder, ("sh", "-c", unpack))
    (path,) = (path for path in folder.glob(f"**/{program}") if path.is_file() and os.access(path, os.X_OK))
    return path


_PORTS = iter(random.sample(range(15_000, 32_000), 1000))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now.

    It is below the ports that Linux gives to connections, which could take it before the server listens.
    """
    for port in _PORTS:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    pytest.fail("no port is free")


@contextlib.contextmanager
def serving(
    argv: Argv,
    folder: Path,
    port: int,
    path: str = "/",
    env: Mapping[str, str] | None = None,
    host: str = "127.0.0.1",
) -> Iterator[str]:
    """Run a server in `folder` inside the block; return its URL once it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), **(env or {})}
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            list(map(str, argv)),
            cwd=folder,
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )

    def answers() -> bool:
        assert process.poll() is None, f"{argv[0]} has ended: {log.read_text(errors='replace')[-2000:]}"
        connection = http.client.HTTPConnection(host, port, timeout=10)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            return connection.getresponse().status < 500
        return False

    try:
        wait_until(answers, patience=180.0)
        yield f"http://{host}:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
