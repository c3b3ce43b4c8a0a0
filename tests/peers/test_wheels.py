"""The built wheel with one extra at a time: each extra works, and a missing one is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyrage
import pytest
from uv import find_uv_bin

from tests.bucket import Storage
from tests.e2e.command import LAX, POOL, REGION, ROOT, people, write_csv, write_job
from tests.peers.conftest import Tried
from tests.peers.parts import Argv, install, run
from tests.sim import Simulator
from tests.sim.handle import ACCESS_KEY, SIGNING_KEY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    install("what builds the wheel", find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
    (path,) = folder.glob("*.whl")
    return path


def encrypted(home: Path) -> str:
    key = pyrage.x25519.Identity.generate()
    (home / "key.txt").write_text(f"{key}\n", encoding="utf-8")
    (home / "in.csv.age").write_bytes(pyrage.encrypt((home / "in.csv").read_bytes(), [key.to_public()]))
    return 'path = "in.csv.age"\nidentity = "key.txt"'


def plain(_: Path) -> str:
    return 'path = "in.csv"'


# A job that needs the extra: the text of [input], the rest of the job, options of the command.
USES: Final[dict[str, tuple[Callable[[Path], str], str, list[str]]]] = {
    "age": (encrypted, "", []),
    "crt": (plain, '[pace]\ntransport = "crt"\n', []),
    "cluster": (plain, "", ["--cluster", "local:1"]),
    "emulator": (plain, "", ["--emulate"]),
    "metrics": (plain, '[metrics]\ntextfile = "nightly.prom"\n', []),
    "notify": (plain, '[notify]\nurls = ["json://127.0.0.1:9/"]\n', []),
    "otel": (plain, '[metrics]\notlp = "http://127.0.0.1:9"\n', []),
    "s3": (lambda _: 'path = "s3://nightly/in.csv"', "", []),
}


class Installed:
    """The command in an environment with these extras, separate from the tests' environment."""

    def __init__(self, wheel: Path, extras: str, home: Path, sim: Simulator, storage: Storage) -> None:
        self.home, self._sim, self._uv = home, sim, find_uv_bin()
        self._python = home / "venv" / "bin" / "python"
        run(self._uv, "venv", "--quiet", home / "venv")
        wanted = f"{wheel}[{extras}]" if extras else str(wheel)
        step = (self._uv, "pip", "install", "--quiet", "--python", self._python, wanted, "-c", self._constraints())
        install(f"the wheel with [{extras}]", *step)
        self._environment = storage.environment() | {
            "PATH": f"{home}/venv/bin:/usr/bin:/bin",
            "HOME": str(home),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SIGNING_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_STS": sim.url,
            "AWS_ENDPOINT_URL_SERVICE_QUOTAS": sim.url,
        }
        storage.put("in.csv", write_csv(home / "in.csv", people(3)))

    def _constraints(self) -> Path:
        """Return the versions of the lock without hashes, because the wheel has none."""
        lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
        path = self.home / "constraints.txt"
        path.write_text("\n".join(line.rstrip(" \\") for line in lock if line[:1].isalnum()), encoding="utf-8")
        return path

    def packages(self) -> int:
        return len(run(self._uv, "pip", "list", "--quiet", "--python", self._python).splitlines()) - 2

    def use(self, extra: str, *options: str) -> tuple[int, str]:
        """Run what needs the extra; return the exit code and the output."""
        input_, more, own = USES[extra] if extra else (plain, "", [])
        job = write_job(self.home, self._sim.url, input_(self.home), more)
        argv: Argv = [self.home / "venv" / "bin" / "bulkreset", "run", job, *own, *options]
        said = run("sh", "-c", '"$@" 2>&1; echo "exit $?"', "-", *argv, cwd=self.home, env=self._environment)
        text, _, code = said.rpartition("exit ")
        assert "Traceback" not in text, text
        return int(code), text


@pytest.fixture
def installed(wheel: Path, tmp_path: Path, running: Simulator, stored: Storage) -> Callable[[str], Installed]:
    running.reset()
    running.add_pool(POOL, policy=LAX, auto_users=True)
    stored.reset()
    return lambda extras: Installed(wheel, extras, tmp_path, running, stored)


def test_wheel_without_extras_runs_and_names_each_missing_extra_in_the_dry_run(
    installed: Callable[[str], Installed], running: Simulator, tried: Tried
) -> None:
    alone = installed("")
    assert alone.use("", "--yes")[0] == 0
    assert running.passwords(POOL) == dict(people(3))
    before = len(running.calls())
    for extra in USES:
        code, said = alone.use(extra, "--dry-run")
        assert (code, f"bulkreset[{extra}]" in said) == (2, True), (extra, said)
    assert len(running.calls()) == before, "refused before anything is asked"
    tried("the wheel", f"alone, {alone.packages()} packages: runs; a dry run names each missing extra at once, exit 2")


@pytest.mark.parametrize("extra", USES)
def test_extra_is_enough_by_itself(installed: Callable[[str], Installed], extra: str, tried: Tried) -> None:
    with_extra = installed(extra)
    code, said = with_extra.use(extra, "--yes")
    assert code == 0, said
    assert "3 rows: 3 set" in said
    tried(f"the wheel with `{extra}`", f"{with_extra.packages()} packages: runs what needs it")
