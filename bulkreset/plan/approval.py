"""Reads a reviewed dry run and checks that the new run matches it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bulkreset.errors import ApprovalError
from bulkreset.journal.journal import Journal
from bulkreset.journal.reader import JournalReader
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import ApprovalFacts, RunState, TargetFacts

_AGAIN = "Look at what changed, make a new --dry-run, and have that one approved."
_MAY_DIFFER = frozenset({"input.path", "input.identity"})  # the fingerprint identifies the input
_TABLES_THAT_MAY_DIFFER = ("notify.", "metrics.")  # who is notified does not change the run


class Approval:
    """A reviewed dry run.

    Raises ApprovalError if the run is not a finished dry run, RunDirError if `path` is not a run directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._journal = RunDir.open(path).journal
        self._reviewed = Journal.state_in(self._journal)
        if not self._reviewed.is_dry_run:
            raise ApprovalError(f"{path} is not a dry run.", "Name the directory of the dry run that was reviewed.")
        if not (self._reviewed.end and self._reviewed.is_finished and self._reviewed.is_planned):
            raise ApprovalError(f"The dry run {path} did not finish: it is {self._reviewed.state}.", _AGAIN)
        self.facts = ApprovalFacts(
            run_dir=str(self.path),
            run_id=self._reviewed.run_id,
            finished_at=self._reviewed.end.finished_at,
            report_sha256=_sha256(self.path / self._reviewed.report_name),
            limit=_limit_of_the_run(self._reviewed),
        )

    def require_same_job(self, state: RunState) -> None:
        """Raise ApprovalError if the input, the job or a target of the new run differs from the reviewed run."""
        differences = [*self._differences(state)]
        if differences:
            raise ApprovalError(f"This is not what was approved in {self.path}: {'; '.join(differences)}.", _AGAIN)

    def require_same_rows(self, journal: JournalReader) -> None:
        """Raise ApprovalError if the number of rows, or any row, differs from the reviewed run."""
        rows, reviewed = sum(journal.counts().values()), self._reviewed.rows
        if rows != reviewed:
            raise ApprovalError(f"There are {rows:,} rows now, and {reviewed:,} were approved in {self.path}.", _AGAIN)
        number, example = journal.differences(self._journal)
        if number and example:
            was, now = (f"{status} ({code})" if code else status for status, code in (example[1:3], example[3:5]))
            differs = f"was {was} and is {now} now"
            how = differs if was != now else "belongs to another user now, or would be set differently"
            raise ApprovalError(
                f"{number:,} {'row is' if number == 1 else 'rows are'} not what was approved in {self.path}: row {example[0]} {how}.",
                _AGAIN,
            )

    def _differences(self, state: RunState) -> Iterator[str]:
        if self._reviewed.emulated != state.emulated:
            yield "one of the two runs is emulated"
        was, now = self._reviewed.input, state.input
        if was.size != now.size or now.sha256 not in {was.sha256, ""}:  # "": it is not read yet
            yield f"the input {now.path} has changed"
        old, new = dict(flatten(self._reviewed.job)), dict(flatten(state.job))
        for key in sorted((old.keys() | new.keys()) - _MAY_DIFFER):
            differs = not key.startswith(_TABLES_THAT_MAY_DIFFER) and old.get(key) != new.get(key)
            if differs and not self._only_slows(key, old, new):
                yield f"{key} was {_show_value(old.get(key))} and is {_show_value(new.get(key))}"
        limit, now_limit = self._reviewed.limit, state.limit
        if limit is not None and (
            now_limit is None or now_limit > limit
        ):  # a smaller limit than the approved one is allowed
            yield f"limit was {limit} and is {_show_value(now_limit)} this time"
        if not state.emulated:  # an emulator's port changes each time
            yield from _target_differences(self._reviewed.targets, state.targets)
        for pool, reason in state.unchecked.items():
            if pool not in self._reviewed.unchecked:
                yield f"the users of {pool} were looked up and are not now ({reason})"

    def _only_slows(self, key: str, old: Mapping[str, object], new: Mapping[str, object]) -> bool:
        """Return whether the change of a key makes the run slower than the reviewed one, and changes nothing else."""
        was, now = old.get(key), new.get(key)
        if key not in {"pace.rate", "pace.share", "pace.workers"} or now in {None, "none"}:
            return False
        if was == "none":
            return True
        if not isinstance(now, int | float):
            return False
        if was == "auto":  # the plan has the rate that it stood for
            ceilings = [lane.ceiling for lane in self._reviewed.lanes]
            return bool(ceilings) and all(ceiling is not None and now <= ceiling for ceiling in ceilings)
        if was is None:  # as many workers as the rate needs: fewer or more send no faster than the rate
            return old.get("pace.rate") != "none"
        return isinstance(was, int | float) and now < was


def _limit_of_the_run(reviewed: RunState) -> int | None:
    """Return how many rows were approved, if --limit set that. The job's own guards.limit is for each execution."""
    own = reviewed.job.get("guards", {}).get("limit")
    return None if reviewed.limit == own else reviewed.limit


def _target_differences(reviewed: Sequence[TargetFacts], found: Sequence[TargetFacts]) -> Iterator[str]:
    """Yield how the resolved targets differ. The list of targets itself is compared as part of the job."""
    new = {target.user_pool_id: target for target in found}
    for then in reviewed:
        if now := new.get(then.user_pool_id):
            for key in ("region", "endpoint", "account"):
                was, new = getattr(then, key), getattr(now, key)
                if new and was and new != was:
                    yield f"the {key} of {then.user_pool_id} was {was} and is {new}"


def flatten(table: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield every value of a job with its dotted key."""
    if isinstance(table, dict):
        for key, value in table.items():
            yield from flatten(value, f"{path}.{key}" if path else key)
    elif isinstance(table, list) and any(isinstance(entry, dict) for entry in table):
        for number, entry in enumerate(table, 1):
            yield from flatten(entry, f"{path}[{number}]")
    else:
        yield path, table


def _show_value(value: object) -> str:
    return "not set" if value is None else repr(value) if isinstance(value, str) else str(value)


def _sha256(report: Path) -> str:
    """Return the hash of the reviewed report; "" if it is missing."""
    try:
        with report.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
