"""Commands to a run: their combined effect, and who may give them."""

import contextlib
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from bulkreset.cancellation import CancelToken
from bulkreset.errors import Interrupted, Refused
from bulkreset.journal.run_dir import RunDir
from bulkreset.log import open_log
from bulkreset.run import control
from bulkreset.run.control import (
    LOOK_AT_ORDERS_SECONDS,
    MAX_ORDERS,
    NAME,
    ControlOrder,
    ControlRefused,
    InForce,
    RunControl,
    add_order,
    give_order,
    in_force,
    orders_of,
    read_orders,
    row_limit,
)
from bulkreset.send.rate_ceiling import Limit
from tests.report.pages import journal_of, ready
from tests.send.fakes import FakeClock

AT = "2026-11-30T08:00:00.000Z"
NOW, LATER = "2026-11-30T07:00:00.000Z", "2026-11-30T09:00:00.000Z"  # executions
LANE = "123456789012/eu-west-1"


def order(**changes: Any) -> ControlOrder:  # noqa: ANN401  (any change)
    return ControlOrder(at=AT, by="ann@here", **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log.jsonl").touch(0o600)
    return tmp_path


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ([], InForce()),
        ([order(rate=5.0)], InForce(5.0)),
        ([order(rate=5.0), order(rate="auto")], InForce()),
        ([order(rate=5.0), order(share=0.5)], InForce(5.0, 0.5)),
        ([order(rate=5.0), order(lane="1/r", rate=2.0)], InForce(5.0)),
        ([order(rate=5.0), order(lane=LANE, rate=2.0)], InForce(2.0)),
        ([order(lane=LANE, rate=2.0), order(rate=5.0)], InForce(5.0)),
        ([order(paused=True), order(rate=5.0)], InForce(5.0, None, paused=True)),
        ([order(paused=True), order(lane=LANE, paused=False)], InForce()),
        ([order(lane=LANE, paused=True), order(paused=False)], InForce()),
        ([order(limit=5), order(stop=True)], InForce()),
    ],
)
def test_the_latest_order_for_a_lane_counts(orders: list[ControlOrder], expected: InForce) -> None:
    assert in_force(orders, LANE) == expected


def test_limits_are_a_pause_a_rate_and_a_share_of_the_quota() -> None:
    assert list(InForce(5.0, 0.1, paused=True).limits(30.0)) == [
        Limit(0.0, "paused"),
        Limit(5.0, "control"),
        Limit(3.0, "control"),
    ]
    assert list(InForce().limits(30.0)) == []


def test_latest_row_limit_counts() -> None:
    assert row_limit([order(limit=5), order(limit=9), order(rate=1.0)]) == 9
    assert row_limit([order(rate=1.0)]) is None


def test_orders_are_read_by_the_execution_that_they_are_for(folder: Path) -> None:
    assert list(read_orders(folder, NOW)) == []
    add_order(folder, NOW, order(rate=5.0))
    add_order(folder, NOW, order(paused=True, lane=LANE))
    assert list(read_orders(folder, NOW)) == [order(rate=5.0), order(paused=True, lane=LANE)]
    assert list(read_orders(folder, LATER)) == []
    assert (folder / NAME).stat().st_mode & 0o777 == 0o600
    add_order(folder, LATER, order(stop=True))
    assert list(read_orders(folder, LATER)) == [order(stop=True)]


def test_no_order_of_several_commands_at_once_is_lost(folder: Path) -> None:
    threads = [
        threading.Thread(target=lambda rate=rate: add_order(folder, NOW, order(rate=float(rate))))
        for rate in range(1, 13)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(float(one.rate or 0) for one in read_orders(folder, NOW)) == [*range(1, 13)]


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _link(path: Path) -> None:
    path.rename(path.with_name("else.json"))
    path.symlink_to("else.json")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.chmod(0o644), "rights"),
        (lambda path: path.chmod(0o620), "rights"),
        (_link, "symbolic"),
        (lambda path: path.write_text("{"), "content"),
        (lambda path: path.write_text(json.dumps({"version": 2, "execution": NOW, "orders": []})), "content"),
        (lambda path: path.write_bytes(b" " * (1 << 21)), "large"),
        (_pipe, "not a file"),
        (lambda path: (path.unlink(), path.mkdir(0o700)), "not a file"),
    ],
)
def test_a_file_that_others_may_have_written_is_not_used(folder: Path, spoil: Any, why: str) -> None:  # noqa: ANN401
    add_order(folder, NOW, order(rate=5.0))
    spoil(folder / NAME)
    with pytest.raises(ControlRefused, match=why):
        read_orders(folder, NOW)


def test_a_file_of_another_user_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_order(folder, NOW, order(rate=5.0))
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(ControlRefused, match="another user"):
        read_orders(folder, NOW)


@pytest.mark.parametrize(
    "changes", [{"rate": 0.0}, {"rate": 1e9}, {"rate": "none"}, {"share": 1.5}, {"limit": 0}, {"stop": False}]
)
def test_an_order_that_no_command_gives_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        order(**changes)


def test_number_of_orders_is_limited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_ORDERS == 1000
    monkeypatch.setattr(control, "MAX_ORDERS", 2)
    for _ in range(2):
        add_order(folder, NOW, order(rate=5.0))
    with pytest.raises(Refused, match="had 2 orders"):
        add_order(folder, NOW, order(rate=5.0))


def test_run_whose_execution_has_ended_takes_no_order(folder: Path) -> None:
    journal_of(folder, ready(1), state="interrupted", exit_code=143).close()
    home = RunDir.open(folder)
    home.lock()
    try:
        with pytest.raises(Refused, match="no new one has begun yet"):
            give_order(folder, order(paused=True))
        with pytest.raises(Refused, match="no new one has begun yet"):
            orders_of(folder)
    finally:
        home.release()
    assert not (folder / NAME).exists()


def test_run_that_was_killed_takes_orders_when_its_next_execution_has_begun(folder: Path) -> None:
    """While it is being resumed, its journal still has the execution that was killed."""
    with contextlib.closing(journal_of(folder, ready(1), state=..., exit_code=...)) as journal:
        began = journal.state.execution.started_at
    home = RunDir.open(folder)
    with pytest.raises(Refused, match="No process works on the run"):
        give_order(folder, order(paused=True))
    home.lock()
    try:
        with pytest.raises(Refused, match="no new one has begun yet"):
            give_order(folder, order(paused=True))
        with pytest.raises(Refused, match="no new one has begun yet"):
            orders_of(folder)
        home.take_orders(began)
        give_order(folder, order(paused=True))
        home.take_orders("")
        with pytest.raises(Refused, match="no new one has begun yet"):
            give_order(folder, order(rate=5.0))
    finally:
        home.release()
    assert list(read_orders(folder, began)) == [order(paused=True)]


def test_process_begins_to_work_on_a_run_only_when_an_order_that_is_just_given_is_written(folder: Path) -> None:
    """Otherwise the order could be for an execution that is over."""
    journal_of(folder, ready(1)).close()
    given, go_on, begun = threading.Event(), threading.Event(), threading.Event()

    def hesitate() -> None:
        given.set()
        assert go_on.wait(60)

    def begin() -> None:
        home = RunDir.open(folder)
        home.lock()
        begun.set()
        home.release()

    threads = [
        threading.Thread(target=lambda: add_order(folder, NOW, order(rate=5.0), hesitate)),
        threading.Thread(target=begin),
    ]
    threads[0].start()
    assert given.wait(60)
    threads[1].start()
    assert not begun.wait(0.2)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert begun.is_set()
    assert list(read_orders(folder, NOW)) == [order(rate=5.0)]


class SteppedControl:
    """A run's control on a clock that does not advance."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.stop, self.out = FakeClock(), CancelToken(), io.StringIO()
        self.it = RunControl(folder, lambda: NOW, self.stop, self.clock, open_log(self.out, "id", None))

    def look(self) -> None:
        """Check after the interval."""
        self.clock.advance(LOOK_AT_ORDERS_SECONDS)
        self.it.look()


def test_orders_are_recorded_once_with_who_and_when(folder: Path) -> None:
    run = SteppedControl(folder)
    run.look()
    assert run.it.take_new() == []
    add_order(folder, NOW, order(rate=5.0, lane=LANE))
    run.it.look()
    assert run.it.take_new() == []  # it checks only once per interval
    run.look()
    (fact,) = run.it.take_new()
    assert (fact.at, fact.by, fact.order) == (AT, "ann@here", f"rate 5, for {LANE}")
    assert '"controlled"' in run.out.getvalue()
    run.look()
    assert run.it.take_new() == []
    assert list(run.it.limits(LANE, "", 30.0)) == [Limit(5.0, "control")]
    assert list(run.it.limits("other", "", 30.0)) == []


def test_an_order_to_stop_ends_the_run_as_a_signal_does(folder: Path) -> None:
    run = SteppedControl(folder)
    add_order(folder, NOW, order(stop=True))
    with run.stop.add_check(run.it.look):
        run.clock.advance(LOOK_AT_ORDERS_SECONDS)
        run.stop.check()
        with pytest.raises(Interrupted, match=r"by ann@here \(bulkreset control --stop\)") as ended:
            run.stop.check()
    assert ended.value.exit_code == 143


def test_a_signal_pauses_and_continues_as_an_order(folder: Path) -> None:
    run = SteppedControl(folder)
    run.stop.toggle_pause()
    run.look()
    assert list(run.it.limits(LANE, "", 30.0)) == [Limit(0.0, "paused")]
    assert [fact.order for fact in run.it.take_new()] == ["pause"]
    add_order(folder, NOW, order(paused=False))  # a command continues what the signal has paused
    run.look()
    assert list(run.it.limits(LANE, "", 30.0)) == []
    for _ in range(2):  # within one interval: nothing has changed
        run.stop.toggle_pause()
    run.look()
    assert list(run.it.limits(LANE, "", 30.0)) == []
    assert [one.paused for one in read_orders(folder, NOW)] == [True, False]


def test_damaged_file_is_reported_once_and_earlier_orders_stay_in_force(folder: Path) -> None:
    run = SteppedControl(folder)
    add_order(folder, NOW, order(rate=5.0))
    run.look()
    (folder / NAME).chmod(0o666)
    for _ in range(3):
        run.look()
    assert run.out.getvalue().count("control_refused") == 1
    assert list(run.it.limits(LANE, "", 30.0)) == [Limit(5.0, "control")]
