"""Validate each row before any request: it is ready, skipped, or rejected with a code and the reason."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from bulkreset.input.batch import RowBatch
from bulkreset.input.password_policy import combine, failed_rules, violation_mask
from bulkreset.input.suspect_password import HASH, PERHAPS_SUSPECT, SUSPECT, suspicion
from bulkreset.job import Job, PasswordPolicy
from bulkreset.models import RejectCode, Status
from bulkreset.text import character_name

LONGEST_USERNAME = 128
LONGEST_PASSWORD = 256

# The service requires a password to match ^[\S]+.*[\S]+$. In Java, \s is these six characters, and the dot matches no
# line break.
_EDGE_OR_BREAK = re.compile("^[ \t\n\x0b\f\r]|[ \t\n\x0b\f\r]\\Z|[\n\r\x85\u2028\u2029]").search
# The service requires a username to match [\p{L}\p{M}\p{S}\p{N}\p{P}]+: no character of the categories C and Z.
_NOT_ASCII_IN_A_USERNAME = re.compile("[\x00-\x20\x7f]").search
_PERHAPS_NO_USERNAME = "^$|[\x00-\x20\x7f]|[^\x00-\x7f]"
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
# A batch with at least this many rows is searched for faults with pandas. For fewer rows, loading pandas takes longer.
ROWS_FOR_A_FRAME = 10_000

_Value = TypeVar("_Value")


class ValidatedRow(NamedTuple):
    """One row as the plan stores it, without the password.

    `pool` is "" if it is not a pool of the job, and `permanent` is None if the cell is invalid: their texts are not
    kept.
    """

    row: int
    pool: str
    username: str
    permanent: bool | None
    status: str
    code: str
    message: str


class _Cells(NamedTuple):
    username: str
    password: str
    pool: str
    permanent: bool | None


class RowValidator:
    """The checks of one job that need only the row itself.

    `protected` holds usernames whose rows are skipped. `policies` holds the pools' own password policies, if known.
    """

    def __init__(
        self, job: Job, protected: Iterable[str] = (), policies: Mapping[str, PasswordPolicy | None] | None = None
    ) -> None:
        # Compare case-folded names: skipping one user too many does no harm.
        self._protected = {name.casefold() for name in (*job.guards.protected.usernames, *protected)}
        self._only_pool = job.targets[0].user_pool_id if len(job.targets) == 1 else ""
        self._permanent = job.permanent
        self._generates = job.generates
        self._hands_out = bool(job.password.recipients)
        self._on_suspect = "send" if job.generates else job.input.on_suspect_password
        self.passwords = 0  # rows that have a password
        self.hashes = 0  # passwords that look like a hash; not counted if suspect passwords are sent
        known, pools = policies or {}, [target.user_pool_id for target in job.targets]
        self._policies = {pool: combine(job.password.policy, known.get(pool)) for pool in pools}

    def validate(self, chunk: RowBatch) -> Iterator[ValidatedRow]:
        """Return each row of the batch with its status. If several checks fail, the first one sets the code."""
        return map(ValidatedRow._make, self.plain_rows(chunk))

    def plain_rows(self, chunk: RowBatch) -> Iterator[tuple[int, str, str, bool | None, str, str, str]]:
        """Return the rows of `validate` as plain tuples, which are made in half the time."""
        names, passwords = chunk.cells("username"), chunk.cells("password")
        pools = _mapped(chunk.cells("user_pool_id"), self._pool_of)
        permanents = _mapped(chunk.cells("permanent"), self._permanent_of)
        statuses = [Status.READY.value] * len(names)
        codes, messages = [""] * len(names), [""] * len(names)
        if self._on_suspect != "send":
            self.passwords += len(passwords) - passwords.count("")
        for offset in self._perhaps_faulty(chunk, pools, permanents):
            password, warning = passwords[offset], ""
            if self._on_suspect != "send" and password and (why := suspicion(password)):
                self.hashes += why == HASH
                warning = SUSPECT + why
            if offset in chunk.malformed:
                fault: tuple[RejectCode, str] | None = RejectCode.BAD_VALUE, chunk.malformed[offset]
            else:
                row = _Cells(names[offset], password, pools[offset], permanents[offset])
                fault = next(((code, message) for fails, code, message in self._checks(row) if fails), None)
            if not fault and warning and self._on_suspect == "reject":
                fault = RejectCode.SUSPECT_PASSWORD, warning
            if fault:
                statuses[offset], codes[offset], messages[offset] = Status.REJECTED.value, fault[0].value, fault[1]
            else:
                messages[offset] = warning
        for offset in self._protected_offsets(names):
            if statuses[offset] == Status.READY:
                statuses[offset], codes[offset] = Status.SKIPPED.value, "protected"
                messages[offset] = "the job protects this user"
        numbers = range(chunk.first, chunk.last + 1)
        return zip(numbers, pools, names, permanents, statuses, codes, messages, strict=True)

    def _perhaps_faulty(
        self, chunk: RowBatch, pools: Sequence[str], permanents: Sequence[bool | None]
    ) -> Iterable[int]:
        """Return the offset of every row that may have a fault or a suspect password; it may be all of them."""
        rows = range(len(pools))
        if len(rows) < ROWS_FOR_A_FRAME or not all(pools) or None in permanents:
            return rows
        if self._generates and not self._hands_out and False in permanents:
            return rows
        frame = chunk.frame
        usernames, passwords = frame["username"], frame["password"]
        mask = usernames.str.contains(_PERHAPS_NO_USERNAME) | (usernames.str.len() > LONGEST_USERNAME)
        if not self._generates:
            mask |= passwords.str.contains(PERHAPS_SUSPECT) | (passwords.str.len() > LONGEST_PASSWORD)
            for policy in set(self._policies.values()):
                mask |= violation_mask(policy, passwords)
        return [int(offset) for offset in mask.to_numpy().nonzero()[0]]

    def _checks(self, row: _Cells) -> Iterator[tuple[object, RejectCode, str]]:
        """Yield the checks of a row in order: whether it fails, and then its code and its message."""
        username, password, checks_password = row.username, row.password, not self._generates
        yield not username, RejectCode.MISSING_USERNAME, "the row has no username"
        yield checks_password and not password, RejectCode.MISSING_PASSWORD, "the row has no password"
        yield (
            len(username) > LONGEST_USERNAME,
            RejectCode.TOO_LONG,
            f"the username has more than {LONGEST_USERNAME} characters",
        )
        yield (
            checks_password and len(password) > LONGEST_PASSWORD,
            RejectCode.TOO_LONG,
            f"the password has more than {LONGEST_PASSWORD} characters",
        )
        at = refused_character(username)
        named = f"{character_name(username[at])} at position {at + 1} of {len(username)}" if at >= 0 else ""
        yield named, RejectCode.BAD_VALUE, f"the username has {named}"
        yield (
            checks_password and "\x00" in password,
            RejectCode.BAD_VALUE,
            "the password has a NUL character: is the encoding right?",
        )
        yield row.permanent is None, RejectCode.BAD_VALUE, "permanent must be true, false, 1, 0, yes or no"
        rest = "" if self._only_pool else "; with several pools, each row must name one"
        yield not row.pool, RejectCode.UNKNOWN_POOL, f"this user pool is not in the job{rest}"
        if not checks_password:
            unheard = not row.permanent and not self._hands_out
            yield unheard, RejectCode.BAD_VALUE, "a generated temporary password needs password.recipients"
            return
        yield (
            _EDGE_OR_BREAK(password),
            RejectCode.PASSWORD_WHITESPACE,
            "the password begins or ends with white space or has a line break",
        )
        failed = ", ".join(failed_rules(self._policies[row.pool], password))
        yield failed, RejectCode.PASSWORD_POLICY, f"the password needs {failed}"

    def _protected_offsets(self, names: Sequence[str]) -> list[int]:
        protected = self._protected
        return [offset for offset, name in enumerate(names) if name.casefold() in protected] if protected else []

    def _permanent_of(self, text: str) -> bool | None:
        return _TRUTH.get(text.lower()) if text else self._permanent

    def _pool_of(self, text: str) -> str:
        """Return the row's pool; "" if the job does not have it.

        A text that is not a pool of the job may be anything, such as a password in a shifted row, so it is not stored.
        """
        pool = text or self._only_pool
        return pool if pool in self._policies else ""


def _mapped(cells: Sequence[str], value_of: Callable[[str], _Value]) -> list[_Value]:
    """Return the value of each cell of a column that has few different ones."""
    return list(map({cell: value_of(cell) for cell in set(cells)}.__getitem__, cells))


def refused_character(username: str) -> int:
    """Return the offset of the first character that no username may have; -1 if there is none."""
    if username.isascii():
        bad = _NOT_ASCII_IN_A_USERNAME(username)
        return bad.start() if bad else -1
    return next((at for at, it in enumerate(username) if unicodedata.category(it)[0] in {"C", "Z"}), -1)
