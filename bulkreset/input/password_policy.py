"""Check passwords against a user pool's policy. A password fails only if it fails however the service counts.

Source of the rules: Cognito's PasswordPolicyType. Letters are basic Latin. The symbols are Cognito's own list; a space
counts as a symbol if it is neither first nor last. Any other character is allowed, too.
"""

import re
from typing import TYPE_CHECKING

from bulkreset.job import PasswordPolicy
from bulkreset.text import format_count

if TYPE_CHECKING:  # slow to load, and generated passwords do not need it
    import pandas as pd

_SYMBOL = r"[\^$*.\[\]{}()?\"!@#%&/\\,><':;|_~`=+\-]|[^ ] +[^ ]"

_BEYOND = "[\U00010000-\U0010ffff]"

# All checks below use this table: the rule's switch in PasswordPolicy, its pattern, and its name in a message.
_RULES = (
    ("require_uppercase", r"[A-Z]", "an upper-case letter (A-Z)"),
    ("require_lowercase", r"[a-z]", "a lower-case letter (a-z)"),
    ("require_numbers", r"[0-9]", "a digit (0-9)"),
    ("require_symbols", _SYMBOL, "a symbol"),
)


def failed_rules(policy: PasswordPolicy, password: str) -> list[str]:
    """Return the rules that `password` fails, as texts that never quote it; [] if it passes all."""
    length = policy.minimum_length or 0
    short = [f"at least {format_count(length, 'character')}"] if _max_length(password) < length else []
    return short + [words for pattern, words in _required(policy) if not re.search(pattern, password)]


def describe(policy: PasswordPolicy) -> str:
    """Return all rules of the policy in short words; "" if it has none."""
    length = [format_count(policy.minimum_length, "character")] if policy.minimum_length else []
    return ", ".join(length + [words.partition(" (")[0] for _, words in _required(policy)])


def combine(one: PasswordPolicy, other: PasswordPolicy | None) -> PasswordPolicy:
    """Return a policy that requires everything that either policy requires."""
    if other is None:
        return one
    lengths = [length for length in (one.minimum_length, other.minimum_length) if length is not None]
    switches = {switch: getattr(one, switch) or getattr(other, switch) for switch, _, _ in _RULES}
    return PasswordPolicy.model_construct(minimum_length=max(lengths, default=None), **switches)


def violation_mask(policy: PasswordPolicy, passwords: "pd.Series[str]") -> "pd.Series[bool]":
    """Return for each password whether it fails any rule. The rules are those of `failed_rules`, for a whole column."""
    broken = passwords.str.len() < (policy.minimum_length or 0)
    if broken.any():  # count again only if a password is short
        broken &= passwords.str.len() + passwords.str.count(_BEYOND) < (policy.minimum_length or 0)
    for pattern, _ in _required(policy):
        broken |= ~passwords.str.contains(pattern, regex=True)
    return broken


def _required(policy: PasswordPolicy) -> list[tuple[str, str]]:
    """Return pattern and words of each kind of character that the policy requires."""
    return [(pattern, words) for switch, pattern, words in _RULES if getattr(policy, switch)]


def _max_length(password: str) -> int:
    """Return the largest length that the service may count: a character beyond the basic plane may count twice."""
    return len(password) + len(re.findall(_BEYOND, password))
