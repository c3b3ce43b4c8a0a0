"""The password policy: the check before sending and the simulator's own check refuse the same passwords."""

import pandas as pd

from bulkreset.input.batch import RowBatch
from bulkreset.input.password_policy import failed_rules, violation_mask
from bulkreset.input.validation import RowValidator
from bulkreset.job import Job, PasswordPolicy
from tests.sim.errors import ApiError
from tests.sim.policy import PasswordPolicy as SimPolicy
from tests.sim.policy import check_policy, check_syntax

_POOL = "eu-west-1_Fuzzed001"


def one(data: bytes) -> None:
    """The first byte is the switches, the second the minimum length; then one password per line."""
    switches, least = (data[:2] + b"\0\0")[:2]
    keys = {name: bool(switches >> bit & 1) for bit, name in enumerate(_SWITCHES)}
    minimum = 6 + least % 94
    policy = PasswordPolicy(minimum_length=minimum, **keys)
    theirs = SimPolicy(minimum_length=minimum, **keys)
    passwords = data[2:].decode("utf-8", "replace").split("\x1e")
    series = pd.Series(passwords, dtype="str")
    assert violation_mask(policy, series).tolist() == [bool(failed_rules(policy, password)) for password in passwords]
    for password, status, message in zip(passwords, *_screened(policy, passwords), strict=True):
        assert len(password) < 4 or password not in message
        if "\0" in password or not password:
            assert status == "rejected"
            continue
        taken = _takes(theirs, password)
        # never one that the service would accept, except with line ends, which are never intended
        if status == "rejected":
            assert not taken or any(end in password for end in "\x85\u2028\u2029"), (password, message)
        elif not taken:  # only if a character counts twice
            assert _takes(theirs, "".join(one if ord(one) < 1 << 16 else one * 2 for one in password)), password


_SWITCHES = ("require_uppercase", "require_lowercase", "require_numbers", "require_symbols")


def _screened(policy: PasswordPolicy, passwords: list[str]) -> tuple[list[str], list[str]]:
    job = Job.model_validate(
        {
            "name": "fuzz",
            "input": {"path": "in.csv"},
            "targets": [{"user_pool_id": _POOL}],
            "password": {"policy": policy},
        }
    )
    columns = {"username": ["ann"] * len(passwords), "password": list(passwords)}
    rows = list(RowValidator(job).validate(RowBatch(1, columns)))
    return [row.status for row in rows], [row.message for row in rows]


def _takes(policy: SimPolicy, password: str) -> bool:
    try:
        check_syntax(password)
        check_policy(policy, password)
    except ApiError:
        return False
    return True
