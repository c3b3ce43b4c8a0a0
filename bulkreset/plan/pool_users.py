"""Selects and lists the users of the pools, and provides them as the rows of an input."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from itertools import chain, islice, repeat
from pathlib import Path

from bulkreset.clock import Clock
from bulkreset.cognito.list_users import PoolUser, UserLister, UserPage
from bulkreset.cognito.pool import PoolFacts, arn_of
from bulkreset.cognito.read_calls import ReadCallError
from bulkreset.errors import InputError, TargetError
from bulkreset.input.batch import BATCH_ROWS, RowBatch
from bulkreset.input.reader import open_rows
from bulkreset.job import ColumnsConfig, InputConfig, SelectConfig
from bulkreset.plan.parallel_calls import ParallelCalls, listing_interrupted
from bulkreset.plan.pool_sweep import AT_ONCE, PoolSweep, SweptPage, group_of
from bulkreset.plan.user_store import UserMatch, UserStore
from bulkreset.send.pacer import Pacer
from bulkreset.send.paged_reader import PagedReader
from bulkreset.text import is_redacted, parse_cell

THREADS = 64
FILTERED_PAGES = 64  # pages of one status to list one after the other before the whole pool is listed in shards


class PoolUserSource:
    """The rows of the users that match `select`.

    `pacers` has the pacer of each pool's lane. `kind_of` returns the reason to skip a user, or "". Rows are ordered by
    pool, then by username, independent of the order in which the service lists users.
    """

    def __init__(
        self,
        select: SelectConfig,
        listers: Mapping[str, UserLister],
        pacers: Mapping[str, Pacer],
        store: UserStore,
        clock: Clock,
        kind_of: Callable[[PoolUser, PoolFacts], str],
    ) -> None:
        self._select = select
        self._listers = listers
        self.store = store
        self._kind_of = kind_of
        self._halt = threading.Event()
        self._before = select.created_before.timestamp() * 1000 if select.created_before else None
        self._pages = {name: PagedReader(lister, pacers[name], clock, self._halt) for name, lister in listers.items()}

    def list_all(self, seen: Callable[[int], None]) -> None:
        """List the users of all pools in parallel. Continues a list that an interrupted execution has begun.

        `seen` is called with the number of rows so far, and may raise to stop. Raises TargetError if listing is denied
        or a pool, a Region or a group is wrong, or if `not_in` is given and it is unknown how a pool compares names.
        Raises ServiceError if the listing was interrupted, InputError if the `not_in` file cannot be read.
        """
        now = time.time()
        if not self.store.resume_list(now):
            self._load_excluded(seen)
            self.store.begin_list(now)
        rows = self.store.listed_rows()
        sweeps = {name: self._sweep_of(name) for name in self._listers}
        threads = min(THREADS, AT_ONCE * len(sweeps))
        with ParallelCalls[SweptPage](threads, self._listers.values(), self._halt) as calls:
            for name, sweep in sweeps.items():
                self._start_calls(calls, name, sweep)
            for completed in calls.completed():
                for name, future in completed:
                    rows += self._store_result(name, sweeps[name], future)
                    self._start_calls(calls, name, sweeps[name])
                seen(rows)

    def batches(self) -> Iterator[RowBatch]:
        """Yield the rows. Call `list_all` first."""
        rows = chain.from_iterable(zip(repeat(name), self.store.usernames(name)) for name in self._listers)
        first = 1
        while some := list(islice(rows, BATCH_ROWS)):
            yield RowBatch(
                first, {"username": [username for _, username in some], "user_pool_id": [name for name, _ in some]}
            )
            first += len(some)

    def _load_excluded(self, seen: Callable[[int], None]) -> None:
        """Exclude the users in the `not_in` file. Names are folded as each pool compares them."""
        path = self._select.not_in
        if path is None:
            return
        facts = {name: lister.facts for name, lister in self._listers.items()}
        for name, pool_facts in facts.items():
            if pool_facts.unknown:
                raise TargetError(
                    f"How {name} compares names is not known, which not_in needs: {pool_facts.unknown.code}.",
                    f"Allow {pool_facts.unknown.action} on the pool.",
                )
        columns = ColumnsConfig().model_copy(update={"password": ""})
        try:
            for chunk in open_rows(InputConfig(path=path, columns=columns)).batches():
                _require_usernames(chunk, path)
                self.store.exclude(
                    (name, facts[name].fold(spelling))
                    for username, pool in zip(chunk.cells("username"), chunk.cells("user_pool_id"), strict=True)
                    for name in ([pool] if pool else facts)
                    if name in facts
                    for spelling in {username, parse_cell(username)}
                )
                seen(0)
        except InputError as error:
            raise InputError(
                f"input.select.not_in: {error.message}", "Name a CSV or Parquet file with a column username."
            ) from None

    def _sweep_of(self, name: str) -> PoolSweep:
        """Return the listing of a pool.

        A filter has one condition, so it cannot have both a status and a shard. A few users with a status are listed
        with one filter. If they are many, all users are listed in shards and their status is compared here.
        """
        statuses = self._select.statuses
        # a filter has one condition
        expression = f'cognito:user_status = "{statuses[0]}"' if len(statuses) == 1 else ""
        return PoolSweep(
            self._listers[name],
            self._pages[name],
            self.store,
            expression=expression,
            first_pages=FILTERED_PAGES if expression else 1,
            groups=tuple(dict.fromkeys(self._select.groups)),
        )

    @staticmethod
    def _start_calls(calls: ParallelCalls[SweptPage], name: str, sweep: PoolSweep) -> None:
        while call := sweep.next_call():
            calls.submit(name, call)

    def _store_result(self, name: str, sweep: PoolSweep, future: Future[SweptPage]) -> int:
        """Store the page from a call and return how many users are new.

        Raises TargetError or ServiceError if the call failed.
        """
        swept, added = future.result(), 0

        def write(part: str, page: UserPage) -> None:
            nonlocal added
            chosen = (self._match(user, name) for user in page.users if self._is_selected(user))
            added += self.store.add_page(name, part, chosen, len(page.users), page.token)

        try:
            sweep.take(swept, write)
        except ReadCallError as error:
            raise self._list_error(self._listers[name], group_of(swept.part), error) from None
        return added

    def _is_selected(self, user: PoolUser) -> bool:
        if self._select.statuses and user.status not in self._select.statuses:
            return False
        return self._before is None or (user.created is not None and user.created < self._before)

    def _match(self, user: PoolUser, name: str) -> UserMatch:
        return UserMatch.of(user, self._kind_of(user, self._listers[name].facts))

    @staticmethod
    def _list_error(lister: UserLister, group: str, error: ReadCallError) -> Exception:
        name = lister.facts.user_pool_id
        what = f"The group {group!r} of {name}" if group else f"The users of {name}"
        if interrupted := listing_interrupted(lister, error, what, "Resume to continue the list."):
            return interrupted
        call = "cognito-idp:ListUsersInGroup" if group else "cognito-idp:ListUsers"
        return TargetError(
            f"{what} could not be listed: {error.code}.",
            f"Allow {call} on {arn_of(lister.session)}."
            if error.denied
            else f"Check the pool's id, the Region{' and the name of the group' * bool(group)}.",
        )


def _require_usernames(chunk: RowBatch, path: Path) -> None:
    """Return the rows of a batch. Raises InputError if a row has a hash as its username or is malformed."""
    if any(map(is_redacted, chunk.cells("username"))):
        raise InputError(f"{path} has hashes in place of usernames: write that report with --redact none.")
    for what in chunk.malformed.values():
        raise InputError(f"A row of {path} cannot be read ({what}): the user that it names is unknown.")
