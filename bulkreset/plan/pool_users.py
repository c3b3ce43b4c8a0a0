"""Selects and lists the users of the pools, and provides them as the rows of an input."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path

from bulkreset.clock import Clock
from bulkreset.cognito.endpoint import connection_problem
from bulkreset.cognito.list_users import PoolUser, UserLister, UserPage
from bulkreset.cognito.pool import PoolFacts, arn_of
from bulkreset.cognito.read_calls import ReadCallError
from bulkreset.cognito.response import Disposition
from bulkreset.errors import InputError, ServiceError, TargetError
from bulkreset.input.batch import BATCH_ROWS, RowBatch
from bulkreset.input.reader import open_rows
from bulkreset.job import ColumnsConfig, InputConfig, SelectConfig
from bulkreset.plan.paged_reader import PagedReader, ParallelCalls, token_expired
from bulkreset.plan.user_store import UserMatch, UserStore
from bulkreset.send.pacer import Pacer
from bulkreset.text import is_redacted, parse_cell

AT_ONCE = 32  # pools listed in parallel; a few are enough to reach a lane's pace
_EVERYBODY = ""  # used instead of a group name


@dataclass(slots=True)
class _PoolListing:
    """The progress in one pool. `groups` are the remaining groups; reading the first one continues at `token`."""

    directory: UserLister
    pages: PagedReader
    groups: deque[str]
    token: str | None = None
    restarts: int = 0


class PoolUserSource:
    """The rows of the users that match `select`.

    `pacers` has the pacer of each pool's lane. `kind_of` returns the reason to skip a user, or "". Rows are ordered by
    pool, then by username, independent of the order in which the service lists users.
    """

    def __init__(
        self,
        select: SelectConfig,
        directories: Mapping[str, UserLister],
        pacers: Mapping[str, Pacer],
        store: UserStore,
        clock: Clock,
        kind_of: Callable[[PoolUser, PoolFacts], str],
    ) -> None:
        self._select = select
        self._directories = directories
        self.store = store
        self._kind_of = kind_of
        self._halt = threading.Event()
        self._before = select.created_before.timestamp() * 1000 if select.created_before else None
        self._pools = {
            name: _PoolListing(
                directory,
                PagedReader(directory, pacers[name], clock, self._halt),
                deque(dict.fromkeys(select.groups) or [_EVERYBODY]),
            )
            for name, directory in directories.items()
        }

    def list_all(self, seen: Callable[[int], None]) -> None:
        """List the users of all pools in parallel.

        `seen` is called with the number of rows so far, and may raise to stop. Raises TargetError if listing is denied
        or a pool, a Region or a group is wrong, or if `not_in` is given and it is unknown how a pool compares names.
        Raises ServiceError if the listing was interrupted, InputError if the `not_in` file cannot be read.
        """
        self.store.begin_list()
        self._load_excluded(seen)
        rows = 0
        with ParallelCalls[UserPage](min(AT_ONCE, len(self._pools)), self._directories.values(), self._halt) as calls:
            for name in self._pools:
                self._start_call(calls, name)
            for completed in calls.completed():
                for name, future in completed:
                    rows += self._store_page(name, future)
                    self._start_call(calls, name)
                seen(rows)

    def batches(self) -> Iterator[RowBatch]:
        """Yield the rows. Call `list_all` first."""
        rows = chain.from_iterable(zip(repeat(name), self.store.usernames(name)) for name in self._pools)
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
        facts = {name: directory.facts for name, directory in self._directories.items()}
        for name, told in facts.items():
            if told.unknown:
                raise TargetError(
                    f"How {name} compares names is not known, which not_in needs: {told.unknown.code}.",
                    f"Allow {told.unknown.action} on the pool.",
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

    def _start_call(self, calls: ParallelCalls[UserPage], name: str) -> None:
        """Start the pool's next call, if a group remains."""
        pool = self._pools[name]
        if not pool.groups:
            return
        group, token = pool.groups[0], pool.token

        def ask() -> UserPage:
            if group != _EVERYBODY:
                return pool.directory.members(group, token)
            return pool.directory.page(token, self._server_filter())

        calls.submit(name, pool.pages.read, ask)

    def _server_filter(self) -> str:
        """Return the filter for ListUsers: the status if there is exactly one, because a filter takes one condition."""
        statuses = self._select.statuses
        return f'cognito:user_status = "{statuses[0]}"' if len(statuses) == 1 else ""

    def _store_page(self, name: str, future: Future[UserPage]) -> int:
        """Store the page from a call and return how many users are new.

        Raises TargetError or ServiceError if the call failed.
        """
        pool = self._pools[name]
        try:
            page = future.result()
        except ReadCallError as error:
            if not token_expired(error, pool.token, pool.restarts):
                raise self._list_error(pool, error) from None
            pool.restarts += 1
            pool.token = None  # users that are already listed are not added again
            return 0
        pool.token = page.token
        if page.token is None:
            pool.groups.popleft()
        return self.store.add(name, (self._match(user, pool) for user in page.users if self._is_selected(user)))

    def _is_selected(self, user: PoolUser) -> bool:
        if self._select.statuses and user.status not in self._select.statuses:
            return False
        return self._before is None or (user.created is not None and user.created < self._before)

    def _match(self, user: PoolUser, pool: _PoolListing) -> UserMatch:
        return UserMatch.of(user, self._kind_of(user, pool.directory.facts))

    def _list_error(self, pool: _PoolListing, error: ReadCallError) -> Exception:
        name, group = pool.directory.facts.user_pool_id, pool.groups[0]
        what = f"The group {group!r} of {name}" if group != _EVERYBODY else f"The users of {name}"
        if problem := connection_problem(error.code, pool.directory.session):
            return ServiceError(error.code, *problem)
        if error.denied or error.verdict is Disposition.FATAL:
            call = "cognito-idp:ListUsersInGroup" if group != _EVERYBODY else "cognito-idp:ListUsers"
            where = arn_of(pool.directory.session)
            return TargetError(
                f"{what} could not be listed: {error.code}.",
                f"Allow {call} on {where}."
                if error.denied
                else f"Check the pool's id, the Region{' and the name of the group' * (group != _EVERYBODY)}.",
            )
        return ServiceError(error.code, f"{what} could not be listed: {error.code}.", "Resume: the list is made anew.")


def _require_usernames(chunk: RowBatch, path: Path) -> None:
    """Return the rows of a batch. Raises InputError if a row has a hash as its username or is malformed."""
    if any(map(is_redacted, chunk.cells("username"))):
        raise InputError(f"{path} has hashes in place of usernames: draw that report with --redact none.")
    for what in chunk.malformed.values():
        raise InputError(f"A row of {path} cannot be read ({what}): whom it names is not known.")
