"""The password policy: which of a user pool's rules a password does not meet, however the service counts.

Source of the rules: Cognito's PasswordPolicyType. Letters are basic Latin; the symbols are Cognito's own list, and a
space counts as one where it is neither first nor last. Any other character may be added.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bulkreset.job import PasswordPolicy

if TYPE_CHECKING:  # slow to load, and made passwords need none of it
    import pandas as pd

_SYMBOL = r"[\^$*.\[\]{}()?\"!@#%&/\\,><':;|_~`=+\-]|[^ ] +[^ ]"

_BEYOND = "[\U00010000-\U0010ffff]"

# Both functions below read this one table: the rule's switch in Policy, its pattern, and its name in a message.
_RULES = (
    ("require_uppercase", r"[A-Z]", "an upper-case letter (A-Z)"),
    ("require_lowercase", r"[a-z]", "a lower-case letter (a-z)"),
    ("require_numbers", r"[0-9]", "a digit (0-9)"),
    ("require_symbols", _SYMBOL, "a symbol"),
)


def failed_rules(policy: PasswordPolicy, password: str) -> list[str]:
    """The rules that `password` does not meet, in words that never repeat it; [] where it meets all."""
    missing = [
        words for switch, pattern, words in _RULES if getattr(policy, switch) and not re.search(pattern, password)
    ]
    if policy.minimum_length is not None and _max_length(password) < policy.minimum_length:
        missing.insert(0, f"at least {policy.minimum_length} characters")
    return missing


def combine(one: PasswordPolicy, other: PasswordPolicy | None) -> PasswordPolicy:
    """The policy that asks for what either asks for."""
    if other is None:
        return one
    lengths = [length for length in (one.minimum_length, other.minimum_length) if length is not None]
    switches = {switch: getattr(one, switch) or getattr(other, switch) for switch, _, _ in _RULES}
    return PasswordPolicy.model_construct(minimum_length=max(lengths, default=None), **switches)


def violation_mask(policy: PasswordPolicy, passwords: "pd.Series[str]") -> "pd.Series[bool]":
    """For each password whether any rule is unmet; the same rules as `unmet`, a column at a time."""
    import pandas as pd  # noqa: PLC0415  (as above)

    broken = pd.Series(data=False, index=passwords.index)
    for mask in _masks(policy, passwords):
        broken |= mask
    return broken


def _max_length(password: str) -> int:
    """The password's length as the service may count it at most: a character beyond the basic plane may count twice."""
    return len(password) + len(re.findall(_BEYOND, password))


def _masks(policy: PasswordPolicy, passwords: "pd.Series[str]") -> Iterator["pd.Series[bool]"]:
    if policy.minimum_length is not None:
        short = passwords.str.len() < policy.minimum_length
        if short.any():  # counted again only where it matters
            short &= passwords.str.len() + passwords.str.count(_BEYOND) < policy.minimum_length
        yield short
    for switch, pattern, _ in _RULES:
        if getattr(policy, switch):
            yield ~passwords.str.contains(pattern, regex=True)
