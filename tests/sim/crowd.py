"""A crowd: many users of one pattern. A user takes memory only after it is changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tests.sim.users import NO_ATTRIBUTES, STATUSES, User, number_in, sub_of

_NUMBER: Final = "{number}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with a zero-padded number, which can be read back from the text."""

    before: str
    after: str
    digits: int

    @classmethod
    def read(cls, template: str, digits: int) -> Self | None:
        """Read a template; return None for one without "{number}"."""
        before, found, after = template.partition(_NUMBER)
        return cls(before, after, digits) if found else None

    def text(self, place: int) -> str:
        """Return the text for one number."""
        return f"{self.before}{place:0{self.digits}}{self.after}"

    def place(self, text: str, *, fold: bool) -> int | None:
        """Return the number in a text. With `fold`, the text is already folded."""
        before, after = (self.before.lower(), self.after.lower()) if fold else (self.before, self.after)
        if not (text.startswith(before) and text.endswith(after)):
            return None
        digits = text[len(before) : len(text) - len(after)]
        if not (digits.isascii() and digits.isdecimal()):
            return None
        place = int(digits)
        return place if f"{place:0{self.digits}}" == digits else None


class _Attributes(Mapping[str, str]):
    """One user's attributes, computed on access: much smaller than a dict."""

    __slots__ = ("_place", "_sources")

    def __init__(self, sources: Mapping[str, Pattern | str], place: int) -> None:
        self._sources = sources
        self._place = place

    def __getitem__(self, name: str) -> str:
        source = self._sources[name]
        return source if isinstance(source, str) else source.text(self._place)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


@dataclass(frozen=True, slots=True)
class Crowd:
    """`count` users, numbered from 1; their texts count from `first`.

    `names` is None if a user's sub is its username. An attribute is a pattern, or the same for all.
    """

    count: int = 0
    first: int = 0
    names: Pattern | None = None
    status: str = "CONFIRMED"
    enabled: bool = True
    born: float = 0.0
    attributes: Mapping[str, Pattern | str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], now: float) -> Self:
        """Read `{count, prefix, suffix, digits, first, status, enabled, created, attributes}`."""
        rest = dict(raw)
        digits = int(rest.pop("digits", 7))
        prefix, suffix = rest.pop("prefix", "user"), rest.pop("suffix", "")
        if rest.get("status", "CONFIRMED") not in STATUSES:
            message = f"unknown user status {rest['status']!r}"
            raise ValueError(message)
        attributes = {
            name: Pattern.read(template, digits) or template for name, template in rest.pop("attributes", {}).items()
        }
        if "sub" in attributes:
            message = "the users of a crowd have the subs that they are given"
            raise ValueError(message)
        names = None if prefix is None else Pattern(prefix, suffix, digits)
        born = float(rest.pop("created", now))
        return cls(**rest, names=names, born=born, attributes=attributes)

    def name(self, number: int) -> str:
        """Return one user's username."""
        return sub_of(number) if self.names is None else self.names.text(self.first + number - 1)

    def user(self, number: int) -> User:
        """Make one user in its initial state."""
        place = self.first + number - 1
        return User(
            self.name(number),
            number,
            self.status,
            enabled=self.enabled,
            attributes=_Attributes(self.attributes, place) if self.attributes else NO_ATTRIBUTES,
            created=self.born,
            modified=self.born,
        )

    def number(self, attribute: str, text: str, *, fold: bool) -> int:
        """Return the number of the user whose value of a pattern is `text`, or 0."""
        source = self.names if attribute == "username" else self.attributes.get(attribute)
        if attribute == "sub" or (attribute == "username" and source is None):
            number = number_in(text)
        elif isinstance(source, Pattern):
            place = source.place(text, fold=fold)
            number = 0 if place is None else place - self.first + 1
        else:
            return 0
        return number if 0 < number <= self.count else 0

    def shares(self, attribute: str) -> bool:
        """Return whether all users have the same value of that attribute, or none."""
        return attribute not in {"username", "sub"} and not isinstance(self.attributes.get(attribute), Pattern)
