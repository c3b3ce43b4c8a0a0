"""Assignment of lane groups to workers by rate: a pure function that keeps existing assignments if it can."""

from collections.abc import Collection, Mapping

WORTHWHILE = 1.25  # allowed load of the heaviest worker relative to the lightest: a move pauses its lanes for a moment


def assign(weights: Mapping[int, float], carried: Mapping[int, str], workers: Collection[str]) -> dict[int, str]:
    """Return a worker for every lane group, by number.

    `weights` are calls per second; `carried` maps each lane group to the worker that has it now. Groups without a
    worker go to the least loaded worker, heaviest group first. A group moves only if its worker's load is more than
    WORTHWHILE times that of the lightest worker, and the move lowers the higher load of the two. Returns {} if there
    is no worker.
    """
    if not workers:
        return {}
    found = {group: worker for group, worker in carried.items() if worker in workers and group in weights}
    loads = dict.fromkeys(sorted(workers), 0.0)
    for group, worker in found.items():
        loads[worker] += weights[group]
    for group in sorted(weights.keys() - found.keys(), key=lambda group: (-weights[group], group)):
        found[group] = min(loads, key=loads.__getitem__)
        loads[found[group]] += weights[group]
    while move := _best_move(weights, found, loads):
        group, worker = move
        loads[found[group]] -= weights[group]
        loads[worker] += weights[group]
        found[group] = worker
    return found


def _best_move(
    weights: Mapping[int, float], found: Mapping[int, str], loads: Mapping[str, float]
) -> tuple[int, str] | None:
    """Return the best lane group to move, and the lightest worker as its new one; None if no move is worth it.

    The lane group is the one whose move makes the higher load of the two workers lowest.
    """
    lightest = min(loads, key=loads.__getitem__)
    for heavy in sorted(loads, key=loads.__getitem__, reverse=True):
        if loads[heavy] <= loads[lightest] * WORTHWHILE:
            return None
        after = {
            group: max(loads[heavy] - weights[group], loads[lightest] + weights[group])
            for group, worker in sorted(found.items())
            if worker == heavy
        }
        best = min(after, key=after.__getitem__, default=None)
        if best is not None and after[best] < loads[heavy]:
            return best, lightest
    return None
