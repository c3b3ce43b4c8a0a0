"""The simulation of a run beside users: yielding costs users less than taking the whole quota."""

from tests.bench.yielding import simulate


def test_users_are_throttled_less_by_a_run_that_yields() -> None:
    rows = 50_000
    taking, yielding = (simulate(rows, 1.0, yields=yields) for yields in (False, True))
    assert taking.served == yielding.served == rows
    assert yielding.throttled * 2 < taking.throttled
    assert yielding.throttled / yielding.users < 0.01
