"""The question before a run: which answers confirm it."""

import os
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bulkreset.cancellation import CancelToken
from bulkreset.cli.prompts import TYPED_BEYOND, TerminalUi
from bulkreset.cognito.pool import PoolFacts
from bulkreset.errors import Refused
from bulkreset.plan.preflight import AwsFacts, PlanFacts, Preflight, build_preflight
from tests.targets import EU, EU2, callers, job, pools, quotas, sessions


def preflight(*ids: str, permanent: int = 0, temporary: int = 0, name: str = "customers") -> Preflight:
    """Return the preflight for a pool of that name, or for several pools."""
    asked = job(*(ids or (EU,)))
    known = pools(asked, {EU: PoolFacts(EU, name=name)})
    ready = [(EU, 1, permanent), (EU, 0, temporary)]
    planned = PlanFacts({"ready": permanent + temporary}, ready, {}, {})
    return build_preflight(asked, sessions(asked), AwsFacts(callers(asked), known, quotas(asked)), planned)


@dataclass(frozen=True)
class Person:
    """A person at a terminal. Types a line at each question, and may have typed something before."""

    keyboard: int
    capsys: pytest.CaptureFixture[str]
    lines: list[str]

    def confirms(self, typed: str, asked: Preflight, before: str = "") -> bool:
        self.lines.extend(typed.splitlines(keepends=True))
        os.write(self.keyboard, before.encode())
        return TerminalUi(CancelToken(), show_progress=False).confirm(asked)

    @property
    def was_asked(self) -> str:
        return self.capsys.readouterr().err


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Person]:
    outside, inside = os.openpty()
    lines: list[str] = []
    flush = termios.tcflush

    def flushing(*given: Any) -> None:  # noqa: ANN401  (termios's own)
        flush(*given)
        os.write(outside, lines.pop(0).encode())

    monkeypatch.setattr(termios, "tcflush", flushing)
    with os.fdopen(inside, encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield Person(outside, capsys, lines)
    os.close(outside)


@pytest.mark.parametrize(("typed", "yes"), [("y\n", True), ("YES\n", True), ("n\n", False), ("maybe\n", False)])
def test_run_is_confirmed_by_yes(person: Person, typed: str, *, yes: bool) -> None:
    assert person.confirms(typed, preflight(permanent=1, temporary=2)) is yes
    assert person.was_asked == "Set 3 passwords? [y/N] "


@pytest.mark.parametrize("typed", ["\n", "\x04"], ids=["nothing", "end"])
def test_run_is_not_confirmed_by_nothing(person: Person, typed: str) -> None:
    assert person.confirms(typed, preflight(permanent=1)) is False


WRONG = 'That is not the name. Type the pool\'s name ("customers"): '


MANY = {"permanent": preflight(permanent=TYPED_BEYOND + 1), "temporary": preflight(temporary=TYPED_BEYOND + 1)}


@pytest.mark.parametrize(
    ("typed", "yes", "wrong"),
    [
        ("customers\n", True, 0),
        ("costumers\ncustomers\n", True, 1),
        (f"y\n{EU}\ncustomers\n", True, 2),
        (f"y\n{EU}\ncostumers\n", False, 2),
        ("\n", False, 0),
        ("y\n\x04", False, 1),
    ],
)
@pytest.mark.parametrize("kind", [*MANY])
def test_many_passwords_are_confirmed_only_by_the_pools_name(
    person: Person, kind: str, typed: str, wrong: int, *, yes: bool
) -> None:
    assert person.confirms(typed, MANY[kind]) is yes
    assert person.was_asked == f'To set 101 {kind} passwords, type the pool\'s name ("customers"): ' + WRONG * wrong


def test_earlier_keystrokes_are_not_an_answer(person: Person) -> None:
    assert not person.confirms("n\n", preflight(permanent=1), before="y\n")
    assert not person.confirms("\n", preflight(permanent=TYPED_BEYOND + 1), before="customers\n")


def test_pool_without_a_name_is_typed_by_its_id(person: Person) -> None:
    assert person.confirms(f"{EU}\n", preflight(permanent=TYPED_BEYOND + 1, name=""))


@pytest.mark.parametrize(("typed", "yes"), [("test\n", True), ("customers\n" * 3, False)])
def test_many_permanent_passwords_in_several_pools_are_confirmed_by_the_jobs_name(
    person: Person, typed: str, *, yes: bool
) -> None:
    assert person.confirms(typed, preflight(EU, EU2, permanent=TYPED_BEYOND + 1)) is yes
    assert person.was_asked.startswith('To set 101 permanent passwords, type the job\'s name ("test"): ')


def test_fewer_passwords_are_confirmed_by_yes(person: Person) -> None:
    assert person.confirms("y\n", preflight(permanent=TYPED_BEYOND - 1, temporary=1))


def test_permanent_and_temporary_passwords_count_together(person: Person) -> None:
    assert not person.confirms("y\n\n", preflight(permanent=TYPED_BEYOND, temporary=1))
    assert person.was_asked.startswith("To set 101 passwords, type the pool's name")


def test_no_question_is_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, encoding="utf-8") as nothing:  # noqa: PTH123  (a device)
        monkeypatch.setattr("sys.stdin", nothing)
        with pytest.raises(Refused, match="There is no terminal"):
            TerminalUi(CancelToken(), show_progress=False).confirm(preflight(permanent=1))
