"""The user store: searched names, the best user for a name, and the progress; its loss costs only time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkreset.errors import RecordError
from bulkreset.plan.user_store import ABSENT, NOBODY, UNLISTED, LookupProgress, RowFinding, UserMatch, UserStore
from tests.journal.journals import OTHER, POOL

ANN, BOB = (
    UserMatch(("ann", "sub-ann", "ann@x"), "Ann", "CONFIRMED", ""),
    UserMatch(("bob", "sub-bob"), "bob", "UNCONFIRMED", ""),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UserStore]:
    with UserStore(tmp_path / "users.sqlite") as opened:
        yield opened


def fill(store: UserStore, *names: str, pool: str = POOL, folds: bool = False) -> UserStore:
    """Search these names, one for each row from 1 on."""
    rows = ((row, pool, name) for row, name in enumerate(names, 1))
    store.fill(rows, lambda _pool, name: name.lower() if folds else name)
    return store


def rows(store: UserStore) -> dict[int, tuple[str, str, str]]:
    """Return what is known of each row."""
    return {found.row: (found.username, found.status, found.kind) for found in store.findings()}


def test_new_lookup_is_empty(store: UserStore) -> None:
    assert not store.is_filled
    assert store.names(POOL) == 0
    assert store.progress(POOL) == {}
    assert store.missing(POOL, "", 10) == []
    assert list(store.findings()) == []


def test_names_are_counted_as_the_pool_compares_them(store: UserStore) -> None:
    fill(store, "Ann", "ann", "bob", "ANN", folds=True)
    assert store.is_filled
    assert (store.names(POOL), store.names(OTHER)) == (2, 0)
    assert store.missing(POOL, "", 10) == [("ann", "ANN"), ("bob", "bob")]


def test_truncated_input_is_not_a_lookup(store: UserStore) -> None:
    def breaking() -> Iterator[tuple[int, str, str]]:
        yield 1, POOL, "ann"
        raise KeyError

    with pytest.raises(KeyError):
        store.fill(breaking(), lambda _pool, name: name)
    assert not store.is_filled
    assert store.names(POOL) == 0


def test_missing_names_are_not_requested_twice(store: UserStore) -> None:
    fill(store, "dan", "ann", "cat", "bob")
    assert [name for name, _ in store.missing(POOL, "", 2)] == ["ann", "bob"]
    assert [name for name, _ in store.missing(POOL, "bob", 2)] == ["cat", "dan"]
    store.store_matches(POOL, [("ann", ANN), ("cat", NOBODY)])
    assert [name for name, _ in store.missing(POOL, "", 10)] == ["bob", "dan"]


def test_page_shows_the_user_of_each_row(store: UserStore) -> None:
    fill(store, "bob", "ann@x", "nobody", "ann")
    store.begin_sweep(POOL, ["0", "1"])
    store.store_page(POOL, "0", [ANN, BOB], "next")
    assert list(store.findings()) == [
        RowFinding(1, "bob", "UNCONFIRMED", ""),
        RowFinding(2, "Ann", "CONFIRMED", ""),
        RowFinding(4, "Ann", "CONFIRMED", ""),
    ]
    assert store.progress(POOL) == {"0": LookupProgress("next", 1, 2), "1": LookupProgress()}


@pytest.mark.parametrize("first", [0, 1], ids=["surest first", "surest last"])
def test_surest_name_wins_on_any_page(store: UserStore, first: int) -> None:
    fill(store, "ann@x")
    named, aliased = UserMatch(("ann@x",), "ann@x", "CONFIRMED", ""), ANN
    both = [named, aliased] if first == 0 else [aliased, named]
    for match in both:
        store.store_page(POOL, "*", [match], "next")
    assert rows(store) == {1: ("ann@x", "CONFIRMED", "")}


def test_first_of_two_equally_sure_users_stays(store: UserStore) -> None:
    fill(store, "annie")
    store.store_page(POOL, "*", [UserMatch(("one", "s1", "annie"), "one", "CONFIRMED", "")], "next")
    store.store_page(POOL, "*", [UserMatch(("two", "s2", "annie"), "two", "CONFIRMED", "")], None)
    assert rows(store) == {1: ("one", "CONFIRMED", "")}


def test_pools_are_kept_apart(store: UserStore) -> None:
    store.fill([(1, POOL, "ann"), (2, OTHER, "ann")], lambda _pool, name: name)
    store.begin_sweep(POOL, ["*"])
    store.store_page(POOL, "*", [ANN], None)
    store.mark_unlisted(POOL)
    assert rows(store) == {1: ("Ann", "CONFIRMED", "")}
    assert store.progress(OTHER) == {}


def test_user_not_found_in_the_whole_sweep_is_absent(store: UserStore) -> None:
    fill(store, "ann", "nobody")
    store.begin_sweep(POOL, ["*"])
    store.store_page(POOL, "*", [ANN], None)
    assert store.progress(POOL) == {"*": LookupProgress(None, 1, 1, swept=True)}
    store.mark_unlisted(POOL)
    assert rows(store) == {1: ("Ann", "CONFIRMED", ""), 2: ("", "", UNLISTED)}


def test_answer_is_for_the_name_that_was_asked_and_no_other(store: UserStore) -> None:
    fill(store, "ann", "sub-ann", "nobody")
    store.store_matches(POOL, [("ann", ANN), ("nobody", NOBODY)])
    assert rows(store) == {1: ("Ann", "CONFIRMED", ""), 3: ("", "", ABSENT)}


def test_user_found_later_is_not_absent(store: UserStore) -> None:
    fill(store, "ann")
    store.store_matches(POOL, [("ann", NOBODY)])
    store.store_matches(POOL, [("ann", ANN)])
    assert rows(store) == {1: ("Ann", "CONFIRMED", "")}


def test_sweep_continues_from_its_page_in_another_process(tmp_path: Path) -> None:
    with UserStore(tmp_path / "users.sqlite") as before:
        fill(before, "ann", "bob")
        before.begin_sweep(POOL, ["0"])
        before.store_page(POOL, "0", [ANN], "second")
        before.store_page(POOL, "0", [], "third")
    with UserStore(tmp_path / "users.sqlite") as after:
        assert after.is_filled
        assert after.progress(POOL) == {"0": LookupProgress("third", 2, 1)}
        assert rows(after) == {1: ("Ann", "CONFIRMED", "")}
        assert after.missing(POOL, "", 10) == [("bob", "bob")]


def test_restarted_sweep_keeps_found_users(store: UserStore) -> None:
    fill(store, "ann", "bob")
    store.begin_sweep(POOL, ["0", "1"])
    store.store_page(POOL, "0", [ANN], "second")
    store.store_page(POOL, "1", [BOB], "other")
    store.restart_sweep(POOL, "0")
    assert store.progress(POOL) == {"0": LookupProgress(), "1": LookupProgress("other", 1, 1)}
    assert rows(store) == {1: ("Ann", "CONFIRMED", ""), 2: ("bob", "UNCONFIRMED", "")}


def test_interrupted_page_leaves_nothing(store: UserStore) -> None:
    fill(store, "ann", "bob").begin_sweep(POOL, ["*"])
    with pytest.raises(RecordError):
        store.store_page(POOL, "*", [ANN, BOB._replace(status=None)], "next")  # type: ignore[arg-type]
    assert list(store.findings()) == []
    assert store.progress(POOL) == {"*": LookupProgress()}


@pytest.mark.parametrize(
    "content", [b"\x00" * 4096, b"username,password\n" * 100, b"SQLite format 3\x00" + b"\xff" * 4080]
)
def test_broken_file_begins_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "users.sqlite"
    path.write_bytes(content)
    with UserStore(path) as store:
        assert not store.is_filled
        fill(store, "ann")
        assert store.names(POOL) == 1


def test_file_with_a_broken_page_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    with UserStore(path) as store:
        fill(store, *(f"user{number:04d}" for number in range(2000)))
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)
    with UserStore(path) as store:
        assert not store.is_filled
        assert store.names(POOL) == 0


def test_discarded_lookup_leaves_no_file(tmp_path: Path) -> None:
    with UserStore(tmp_path / "users.sqlite") as store:
        fill(store, "ann")
        store.store_page(POOL, "*", [ANN], None)
        store.discard()
    assert list(tmp_path.iterdir()) == []


def test_lookup_is_for_its_owner_only(tmp_path: Path) -> None:
    with UserStore(tmp_path / "users.sqlite") as store:
        fill(store, "ann")
        assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


def test_lookup_that_cannot_be_written_is_a_record_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"users cannot be stored in .*No such file"):
        UserStore(tmp_path / "none" / "users.sqlite")
