"""Validate each row before any request: it is ready, skipped, or rejected with a code and the reason."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from bulkreset.input.batch import RowBatch
from bulkreset.input.password_policy import combine, failed_rules, violation_mask
from bulkreset.input.suspect_password import HASH, SUSPECT, suspicion
from bulkreset.job import Job, PasswordPolicy
from bulkreset.models import RejectCode, Status
from bulkreset.text import character_name

LONGEST_USERNAME = 128
LONGEST_PASSWORD = 256

# The service requires a password to match ^[\S]+.*[\S]+$. In Java, \s is these six characters, and the dot matches no
# line break.
_EDGE_OR_BREAK = "^[ \t\n\x0b\f\r]|[ \t\n\x0b\f\r]$|[\n\r\x85\u2028\u2029]"
# The service requires a username to match [\p{L}\p{M}\p{S}\p{N}\p{P}]+: no character of the categories C and Z.
_PERHAPS_REFUSED = "[\x00-\x20\x7f]|[^\x00-\x7f]"
_NOT_ASCII_IN_A_USERNAME = re.compile("[\x00-\x20\x7f]").search
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


_Message = str | Callable[[int], str]  # for a row, by its offset in the batch


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


class RowValidator:
    """The checks of one job that need only the row itself.

    `protected` holds usernames whose rows are skipped. `policies` holds the pools' own password policies, if known.
    """

    def __init__(
        self, job: Job, protected: Iterable[str] = (), policies: Mapping[str, PasswordPolicy | None] | None = None
    ) -> None:
        # Compare case-folded names: skipping one user too many does no harm.
        self._protected = {name.casefold() for name in (*job.guards.protected.usernames, *protected)}
        self._pools = [target.user_pool_id for target in job.targets]
        self._only_pool = job.targets[0].user_pool_id if len(job.targets) == 1 else ""
        self._permanent = job.permanent
        self._generates = job.generates
        self._hands_out = bool(job.password.recipients)
        self._on_suspect = "send" if job.generates else job.input.on_suspect_password
        self.passwords = 0  # rows that have a password
        self.hashes = 0  # passwords that look like a hash; not counted if suspect passwords are sent
        known = policies or {}
        self._policies = {pool: combine(job.password.policy, known.get(pool)) for pool in self._pools}

    def validate(self, chunk: RowBatch) -> Iterator[ValidatedRow]:
        """Return each row of the batch with its status. If several checks fail, the first one sets the code."""
        # The columns are searched as a whole; single cells are taken from lists, which is faster than from a column.
        frame, names, passwords = chunk.frame, chunk.cells("username"), chunk.cells("password")
        pools = frame["user_pool_id"].where(frame["user_pool_id"] != "", self._only_pool)
        permanents = [self._permanent_of(text) for text in chunk.cells("permanent")]
        found: dict[int, tuple[RejectCode, str]] = {
            offset: (RejectCode.BAD_VALUE, why) for offset, why in chunk.malformed.items()
        }
        for mask, code, message in self._checks(frame, pools, permanents):
            for offset in mask.to_numpy().nonzero()[0].tolist():
                if offset not in found:
                    found[offset] = (
                        code,
                        message if isinstance(message, str) else message(offset),
                    )
        warnings = self._suspicions(passwords, chunk.malformed, found)
        statuses = [Status.READY.value] * len(frame)
        codes = [""] * len(frame)
        messages = [""] * len(frame)
        for offset, (code, message) in found.items():
            statuses[offset], codes[offset], messages[offset] = Status.REJECTED.value, code.value, message
        for offset in self._protected_offsets(names):
            if offset not in found:
                statuses[offset], codes[offset] = Status.SKIPPED.value, "protected"
                messages[offset] = "the job protects this user"
                warnings.pop(offset, None)
        for offset, message in warnings.items():
            messages[offset] = message
        # A text that is not a pool of the job may be anything, such as a password in a shifted row, so it is not
        # stored.
        kept = pools.where(pools.isin(self._pools), "")
        numbers = range(chunk.first, chunk.last + 1)
        return map(
            ValidatedRow._make,
            zip(numbers, kept.tolist(), names, permanents, statuses, codes, messages, strict=True),
        )

    def _checks(
        self, frame: pd.DataFrame, pools: "pd.Series[str]", permanents: list[bool | None]
    ) -> Iterator[tuple["pd.Series[bool]", RejectCode, _Message]]:
        usernames, passwords = frame["username"], frame["password"]
        yield usernames == "", RejectCode.MISSING_USERNAME, "the row has no username"
        if not self._generates:
            yield passwords == "", RejectCode.MISSING_PASSWORD, "the row has no password"
        yield (
            usernames.str.len() > LONGEST_USERNAME,
            RejectCode.TOO_LONG,
            f"the username has more than {LONGEST_USERNAME} characters",
        )
        if not self._generates:
            yield (
                passwords.str.len() > LONGEST_PASSWORD,
                RejectCode.TOO_LONG,
                f"the password has more than {LONGEST_PASSWORD} characters",
            )
        yield (
            _refused_mask(usernames),
            RejectCode.BAD_VALUE,
            lambda offset: _describe_character(usernames.iloc[offset]),
        )
        if not self._generates:
            yield (
                passwords.str.contains("\x00", regex=False),
                RejectCode.BAD_VALUE,
                "the password has a NUL character: is the encoding right?",
            )
        yield (
            pd.Series([value is None for value in permanents]),
            RejectCode.BAD_VALUE,
            "permanent must be true, false, 1, 0, yes or no",
        )
        yield (
            ~pools.isin(self._pools),
            RejectCode.UNKNOWN_POOL,
            "this user pool is not in the job"
            if self._only_pool
            else "this user pool is not in the job; with several pools, each row must name one",
        )
        if self._generates:
            unheard = pd.Series([value is False for value in permanents])
            yield (
                unheard & (not self._hands_out),
                RejectCode.BAD_VALUE,
                "a generated temporary password needs password.recipients",
            )
        else:
            yield from self._checks_of_passwords(passwords, pools)

    def _checks_of_passwords(
        self, passwords: "pd.Series[str]", pools: "pd.Series[str]"
    ) -> Iterator[tuple["pd.Series[bool]", RejectCode, _Message]]:
        yield (
            passwords.str.contains(_EDGE_OR_BREAK),
            RejectCode.PASSWORD_WHITESPACE,
            "the password begins or ends with white space or has a line break",
        )
        for policy in set(self._policies.values()):
            those = [pool for pool, own in self._policies.items() if own == policy]
            mask = violation_mask(policy, passwords)
            yield (
                mask if len(those) == len(self._policies) else mask & pools.isin(those),
                RejectCode.PASSWORD_POLICY,
                lambda offset: self._policy_message(pools.iloc[offset], passwords.iloc[offset]),
            )

    def _suspicions(
        self, passwords: Sequence[str], malformed: Mapping[int, str], found: dict[int, tuple[RejectCode, str]]
    ) -> dict[int, str]:
        """Return the warning for each row that is not rejected, by offset, or reject the row in `found`.

        Also counts the hashes.
        """
        if self._on_suspect == "send":
            return {}
        warnings = {}
        for offset, password in enumerate(passwords):
            if not password or offset in malformed:
                continue
            self.passwords += 1
            if why := suspicion(password):
                self.hashes += why == HASH
                if offset in found:
                    continue
                if self._on_suspect == "reject":
                    found[offset] = (RejectCode.SUSPECT_PASSWORD, SUSPECT + why)
                else:
                    warnings[offset] = SUSPECT + why
        return warnings

    def _protected_offsets(self, names: Sequence[str]) -> list[int]:
        protected = self._protected
        return [offset for offset, name in enumerate(names) if name.casefold() in protected] if protected else []

    def _permanent_of(self, text: str) -> bool | None:
        return _TRUTH.get(text.lower()) if text else self._permanent

    def _policy_message(self, pool: str, password: str) -> str:
        return "the password needs " + ", ".join(failed_rules(self._policies[pool], password))


def _refused_mask(usernames: "pd.Series[str]") -> "pd.Series[bool]":
    """Return for each username whether it has a character that no username may have."""
    mask = usernames.str.contains(_PERHAPS_REFUSED).to_numpy(dtype=bool, copy=True)
    mask[mask] = [refused_character(name) >= 0 for name in usernames[mask]]
    return pd.Series(mask)


def refused_character(username: str) -> int:
    """Return the offset of the first character that no username may have; -1 if there is none."""
    if username.isascii():
        bad = _NOT_ASCII_IN_A_USERNAME(username)
        return bad.start() if bad else -1
    return next((at for at, it in enumerate(username) if unicodedata.category(it)[0] in "CZ"), -1)


def _describe_character(username: str) -> str:
    at = refused_character(username)
    return f"the username has {character_name(username[at])} at position {at + 1} of {len(username)}"
