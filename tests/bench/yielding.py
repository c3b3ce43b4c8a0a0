"""Three days of users with morning peaks, and a run at the same time: throttled users, and the duration of the run."""

import math
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from bulkreset.cognito.usage import PERIOD, UsagePoint
from bulkreset.send.rate_ceiling import JOB, Limit, lowest
from bulkreset.send.rate_control import CubicRate
from bulkreset.send.user_demand import DAY_SECONDS, USERS, left_by_users, users_peak
from tests.bench.bench_setup import say

QUOTA: Final = 30.0
DAYS: Final = 3
LATE: Final = 300.0  # seconds until a data point is published
RESERVE: Final = 3.0


@dataclass(frozen=True)
class Days:
    """The result: users' calls, throttled ones, our successful calls, and the hours."""

    users: int
    throttled: int
    served: int
    hours: float | None


def users_rate(second: float) -> float:
    """Return the users' calls per second: 1 at night, 5 by day, and a peak of 20 around half past eight."""
    hour = second % DAY_SECONDS / 3600
    day = 4.0 if 7 <= hour < 22 else 0.0
    return 1.0 + day + 15.0 * math.exp(-(((hour - 8.5) / 0.75) ** 2))


def simulate(rows: int, share: float, *, yields: bool, seed: int = 1) -> Days:
    """Simulate the days in steps of a second, on its own clock. The run starts at 20:00 of the first day."""
    chance = random.Random(seed)
    tokens, curve, begin = QUOTA, CubicRate(QUOTA * share), 20 * 3600.0
    users = throttled = served = 0
    owed, left = 0.0, rows
    calls: defaultdict[int, float] = defaultdict(float)
    refused: defaultdict[int, float] = defaultdict(float)
    ours: defaultdict[int, float] = defaultdict(float)
    limit = Limit(QUOTA * share, JOB)
    ended = None
    for second in range(int((DAYS + 1) * DAY_SECONDS)):
        now, period = float(second), second // PERIOD
        if yields and second % 60 == 0:
            known = [
                UsagePoint(number * PERIOD, calls[number], refused[number])
                for number in list(calls)
                if (number + 1) * PERIOD + LATE <= now and now - number * PERIOD < DAY_SECONDS + 3 * 3600
            ]
            peak = users_peak(known, ours, now)
            found = [] if peak is None else [Limit(left_by_users(QUOTA, peak, RESERVE), USERS)]
            limit = lowest([Limit(QUOTA * share, JOB), *found])
        tokens = min(QUOTA, tokens + QUOTA)
        theirs = _poisson(chance, users_rate(second))
        owed = (
            min(1.0 + (limit.rate or 0.0), owed + min(limit.rate or 0.0, curve.rate(now))) if second >= begin else 0.0
        )
        mine = min(int(owed), left)
        owed -= mine
        order = [True] * theirs + [False] * mine
        chance.shuffle(order)
        was_refused = False
        for is_user in order:
            calls[period] += 1
            ours[period] += not is_user
            fits = tokens >= 1
            tokens -= fits
            refused[period] += not fits
            if is_user and second >= begin:
                users += 1
                throttled += not fits
            elif not is_user:
                served += fits
                left -= fits
                was_refused |= not fits
        if was_refused:
            curve = curve.after_throttle(now, now, served_rate(mine))
        if ended is None and left == 0:
            ended = (now - begin) / 3600
            break
        if second >= begin + DAYS * DAY_SECONDS:
            break
    return Days(users, throttled, served, ended)


def served_rate(mine: int) -> float | None:
    """Return the accepted rate as the run sees it: half of its calls in a second in which calls were refused."""
    return mine / 2 if mine else None


def _poisson(chance: random.Random, mean: float) -> int:
    end, number, product = math.exp(-mean), 0, chance.random()
    while product > end:
        number += 1
        product *= chance.random()
    return number


def bench_yielding(rows: int = 4_000_000) -> None:
    """Measure throttled users and the run's hours: with the default share, the whole quota, and yielding to users."""
    for name, share, yields in (("share 0.8", 0.8, False), ("share 1", 1.0, False), ("share 1, yielding", 1.0, True)):
        found = simulate(rows, share, yields=yields)
        say(
            f"three days, {name}",
            users=found.users,
            throttled=found.throttled,
            percent=round(100 * found.throttled / found.users, 2),
            rows=found.served,
            hours=None if found.hours is None else round(found.hours, 1),
        )
