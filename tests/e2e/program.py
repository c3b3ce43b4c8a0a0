"""Run a job through the Python interface in the test process, at a tenth of the cost of a command."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bulkreset import api
from bulkreset.errors import BulkresetError
from tests.e2e.command import POOL, REGION, Command, CommandResult


class Program:
    """Plans and applies jobs in `home`, with exactly the environment of the command line."""

    def __init__(self, command: Command) -> None:
        self.home = command.home
        self.sim = command.sim
        self._runs = 0

    def tables(self, input_: Path | str, **target: object) -> dict[str, Any]:
        """Return the tables of a job for the simulator's pool, without looking users up."""
        known = {"user_pool_id": POOL, "region": REGION, "endpoint_url": self.sim.url}
        return {
            "name": "e2e",
            "input": {"path": str(input_)},
            "targets": [known | target],
            "plan": {"check_users": False},
            "report": {"html": False},
        }

    def plan(self, job: Path | Mapping[str, Any], **keys: object) -> CommandResult:
        """Make a dry run. `keys` are job keys ("pace.rate"); two underscores stand for a dot."""
        return self._ended(job, keys, lambda asked, at: api.dry_run(asked, run_dir=at))

    def apply(self, job: Path | Mapping[str, Any], **keys: object) -> CommandResult:
        """Run a job, confirmed. `keys` as in `plan`."""
        return self._ended(job, keys, lambda asked, at: api.apply(asked, run_dir=at, confirm=True))

    def _ended(
        self, job: Path | Mapping[str, Any], keys: Mapping[str, object], run: Callable[[api.Job, Path], api.Result]
    ) -> CommandResult:
        """Return the exit code, and the error as one sentence, as the command line shows them."""
        self._runs += 1
        run_dir = self.home / f"program-{self._runs}"
        overrides = {key.replace("__", "."): value for key, value in keys.items()}
        try:
            return CommandResult(run(api.load(job, overrides), run_dir).exit_code, "", "", run_dir)
        except BulkresetError as error:
            return CommandResult(error.exit_code, "", f"bulkreset: {error}\n", run_dir)


def environment(command: Command) -> dict[str, str]:
    """Return the command line's environment variables, except those that belong to the test process."""
    return {name: value for name, value in command.environment.items() if name not in {"PATH", "TERM"}}


def without_aws() -> list[str]:
    """Return the names of the AWS configuration variables that are set now."""
    return [name for name in os.environ if name.startswith("AWS_")]
