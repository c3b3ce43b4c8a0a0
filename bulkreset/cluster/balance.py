"""The balance: which worker carries which place, by the rates of the places; sticky, as a pure function."""

from collections.abc import Collection, Mapping

WORTHWHILE = 1.25  # a move costs its lane a moment: how much heavier than the lightest worker the heaviest may be


def assign(weights: Mapping[int, float], carried: Mapping[int, str], workers: Collection[str]) -> dict[int, str]:
    """A worker for every place, by number. `weights` are calls per second, `carried` is who has a place now.

    Who has none goes, the heaviest first, to the worker that carries least. Places that have one stay, unless the
    heaviest worker is much heavier than the lightest, and a move makes the heavier of the two lighter. {} where there is no worker.
    """
    if not workers:
        return {}
    found = {place: worker for place, worker in carried.items() if worker in workers and place in weights}
    loads = dict.fromkeys(sorted(workers), 0.0)
    for place, worker in found.items():
        loads[worker] += weights[place]
    for place in sorted(weights.keys() - found.keys(), key=lambda place: (-weights[place], place)):
        found[place] = min(loads, key=loads.__getitem__)
        loads[found[place]] += weights[place]
    while move := _best_move(weights, found, loads):
        place, worker = move
        loads[found[place]] -= weights[place]
        loads[worker] += weights[place]
        found[place] = worker
    return found


def _best_move(
    weights: Mapping[int, float], found: Mapping[int, str], loads: Mapping[str, float]
) -> tuple[int, str] | None:
    """A place of a heavy worker that the lightest one should have; None where no move is worth it.

    It is the one with whose move the heavier of the two becomes lightest.
    """
    lightest = min(loads, key=loads.__getitem__)
    for heavy in sorted(loads, key=loads.__getitem__, reverse=True):
        if loads[heavy] <= loads[lightest] * WORTHWHILE:
            return None
        after = {
            place: max(loads[heavy] - weights[place], loads[lightest] + weights[place])
            for place, worker in sorted(found.items())
            if worker == heavy
        }
        best = min(after, key=after.__getitem__, default=None)
        if best is not None and after[best] < loads[heavy]:
            return best, lightest
    return None
