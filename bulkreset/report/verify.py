"""The `verify` command: looks up and reports the users that a run set, and can list those to set again."""

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bulkreset.cancellation import CancelToken, UserInterface, lookup_listener, nothing_written
from bulkreset.clock import SYSTEM_CLOCK, now_ms
from bulkreset.cognito.list_users import UserLister
from bulkreset.errors import EXIT_OK, EXIT_ROWS, RecordError, Refused, RunDirError
from bulkreset.files import atomic_writer, require_new
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import RunState
from bulkreset.models import Status
from bulkreset.plan.parallel_calls import listing_pacers
from bulkreset.plan.preflight import group_by_quota, reopen_targets
from bulkreset.plan.user_store import UserStore
from bulkreset.report.user_state import COLUMNS, DONE, SHORT, UserState, VerifiedUser
from bulkreset.report.verify_lookup import AGAIN, look_up_set_users, require_described_pools, verified_users
from bulkreset.text import format_iso, quoted

LONGEST = 365  # days: the longest validity of a temporary password
_ROOM = "Check the disk's space and rights, or name another file with -o."


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """The options of a verification.

    A temporary password is expiring if it is valid for at most `within_days` more. `report` is a new file instead of
    the run's own. `reissue` is a new input file for the users to set again. `as_json` receives one JSON object.
    """

    within_days: float = 1.0
    report: Path | None = None
    reissue: Path | None = None
    as_json: IO[str] | None = None


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result of a verification. `alive`: the run was still running. `report` is None if the run has set nothing."""

    run_id: str
    checked_at: str
    alive: bool
    counts: Mapping[UserState, int] = field(default_factory=dict)
    report: Path | None = None
    reissue: Path | None = None

    @property
    def unfinished(self) -> int:
        """Return the number of set rows that need attention."""
        return sum(rows for state, rows in self.counts.items() if state not in DONE)

    @property
    def exit_code(self) -> int:
        """Return 0 if every set row is done, otherwise 1."""
        return EXIT_ROWS if self.unfinished else EXIT_OK


def verify(path: Path, wanted: VerifyRequest, ui: UserInterface, stop: CancelToken) -> VerifyResult:
    """Look up the users that the run in `path` has set, and write their current state. The run may be live or ended.

    Raises Refused for a run or files that do not fit, TargetError if listing users was denied, ServiceError if the
    listing failed, Interrupted if `stop` was requested. After an error nothing was written.
    """
    home = RunDir.open(path)
    _must_make_sense(wanted, home)
    alive = home.is_held()
    with closing(Journal.open(home.journal, read_only=True)) as journal:
        _must_have_real_users(journal.state, path)
        with nothing_written():
            return _verify_run(home, journal, wanted, ui, stop, alive=alive)


def _verify_run(
    home: RunDir, journal: Journal, wanted: VerifyRequest, ui: UserInterface, stop: CancelToken, *, alive: bool
) -> VerifyResult:
    concerned = {pool for pool, status, _ in journal.read.pool_counts() if status == Status.SET}
    if not concerned:
        nothing = VerifyResult(journal.state.run_id, format_iso(now_ms()), alive)
        _write_json(nothing, (), wanted.as_json)
        return nothing
    job, sessions, account = reopen_targets(journal.state, concerned)
    pools = account.pools()
    require_described_pools(pools)
    pacers = listing_pacers(job, [*group_by_quota(sessions, account.callers()).values()], SYSTEM_CLOCK)
    listers = {pool: UserLister(sessions[pool], pool_facts) for pool, pool_facts in pools.items()}
    seen = lookup_listener(ui, stop)
    with temporary_store() as store:
        counts: Counter[UserState] = Counter()
        # Open the files before the lookup, which takes minutes: an error on opening is reported at once.
        with _open_outputs(home, wanted, with_pools=len(job.targets) > 1) as note:
            look_up_set_users(journal, listers, pacers, store, SYSTEM_CLOCK, seen)
            now = now_ms()
            for user in verified_users(journal, store, pools, now, wanted.within_days):
                stop.check()
                counts[user.state] += 1
                note(user)
        in_order = {state: counts[state] for state in UserState if counts[state]}
        report = wanted.report or home.verify_report
        ended = VerifyResult(journal.state.run_id, format_iso(now), alive, in_order, report, wanted.reissue)
        _write_json(ended, verified_users(journal, store, pools, now, wanted.within_days), wanted.as_json)
    return ended


@contextmanager
def _open_outputs(home: RunDir, wanted: VerifyRequest, *, with_pools: bool) -> Iterator[Callable[[VerifiedUser], None]]:
    """Yield a function that writes one row to the report and, if requested, to the new input.

    Both files get their names only when they are complete.
    """
    with ExitStack() as stack:
        report = atomic_writer(wanted.report or home.verify_report, _ROOM, new=wanted.report is not None)
        rows = csv.writer(stack.enter_context(report), lineterminator="\n")
        rows.writerow(COLUMNS)
        again = None
        if wanted.reissue:
            again = csv.writer(stack.enter_context(atomic_writer(wanted.reissue, _ROOM, new=True)), lineterminator="\n")
            again.writerow(("username", "user_pool_id") if with_pools else ("username",))

        def note(user: VerifiedUser) -> None:
            rows.writerow(user.cells())
            if again and user.state in SHORT:
                # Write the name unchanged: an apostrophe against formulas would make it a different name.
                again.writerow((user.username, user.pool) if with_pools else (user.username,))

        yield note


@contextmanager
def temporary_store() -> Iterator[UserStore]:
    """Yield a user store in a temporary directory. The run directory may be read-only. Raises RecordError."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="bulkreset-", ignore_cleanup_errors=True)
    except OSError as error:
        raise RecordError(
            f"No temporary directory can be made: {error.strerror}.", f"Free disk space, then {AGAIN}."
        ) from None
    with folder as name, UserStore(Path(name) / "users.sqlite") as store:
        yield store


def _write_json(verified: VerifyResult, rows: Iterable[VerifiedUser], out: IO[str] | None) -> None:
    """Write one JSON object, row by row."""
    if out is None:
        return
    head = {"run_id": verified.run_id, "checked_at": verified.checked_at, "counts": verified.counts}
    out.write(json.dumps(head | {"rows_left": verified.unfinished})[:-1] + ', "rows": [')
    for number, user in enumerate(rows):
        out.write((",\n" if number else "\n") + json.dumps(user.values()))
    out.write("\n]}\n")


def _must_have_real_users(run: RunState, path: Path) -> None:
    if run.is_dry_run:
        raise RunDirError(
            f"{path} is a dry run: it has set nothing that could be verified.",
            f"Run it with --approved {quoted(path)}, then verify that run's directory.",
        )
    if run.emulated:
        raise RunDirError(
            f"The run in {path} was emulated: its users no longer exist.",
            "Verify the directory of a run without --emulate.",
        )


def _must_make_sense(wanted: VerifyRequest, home: RunDir) -> None:
    if not 0 <= wanted.within_days <= LONGEST:
        raise Refused(f"--within is {wanted.within_days:g}.", f"Give it a number of days from 0 to {LONGEST}.")
    for path in (wanted.report, wanted.reissue):
        if path:
            require_new(path)
    if wanted.reissue and wanted.reissue.absolute() == (wanted.report or home.verify_report).absolute():
        raise Refused(f"{wanted.reissue} cannot be both the report and the new input.", "Name two files.")
