"""Run a job through the Python interface in the test's process, at a tenth of the cost of a command."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bulkreset import api
from bulkreset.errors import BulkresetError
from tests.e2e.command import POOL, REGION, Command, Ran


class Program:
    """Plans and applies jobs in `home`, with the environment that the command line gets, and no other."""

    def __init__(self, command: Command) -> None:
        self.home = command.home
        self.sim = command.sim
        self._runs = 0

    def tables(self, input_: Path | str, **target: object) -> dict[str, Any]:
        """Return the tables of a job for the simulator's pool, whose users are not looked up."""
        known = {"user_pool_id": POOL, "region": REGION, "endpoint_url": self.sim.url}
        return {
            "name": "e2e",
            "input": {"path": str(input_)},
            "targets": [known | target],
            "plan": {"check_users": False},
            "report": {"html": False},
        }

    def plan(self, job: Path | Mapping[str, Any], **keys: object) -> Ran:
        """Make a dry run; `keys` are job keys ("pace.rate"), also with two underscores for a dot."""
        return self._ended(job, keys, lambda asked, at: api.dry_run(asked, run_dir=at))

    def apply(self, job: Path | Mapping[str, Any], **keys: object) -> Ran:
        """Run a job, confirmed; `keys` as above."""
        return self._ended(job, keys, lambda asked, at: api.apply(asked, run_dir=at, confirm=True))

    def _ended(
        self, job: Path | Mapping[str, Any], keys: Mapping[str, object], run: Callable[[api.Job, Path], api.Result]
    ) -> Ran:
        """Return how it ended, as the command line tells it: the exit code, and the error as its one sentence."""
        self._runs += 1
        run_dir = self.home / f"program-{self._runs}"
        overrides = {key.replace("__", "."): value for key, value in keys.items()}
        try:
            return Ran(run(api.load(job, overrides), run_dir).exit_code, "", "", run_dir)
        except BulkresetError as error:
            return Ran(error.exit_code, "", f"bulkreset: {error}\n", run_dir)


def environment(command: Command) -> dict[str, str]:
    """Return the variables of the command line's environment, but those that belong to the test's own process."""
    return {name: value for name, value in command.environment.items() if name not in {"PATH", "TERM"}}


def without_aws() -> list[str]:
    """Return the names of the variables by which AWS is configured, as they are set now."""
    return [name for name in os.environ if name.startswith("AWS_")]
