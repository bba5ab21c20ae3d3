"""Packing texts into micro-batches with the least padded work."""

from __future__ import annotations

from collections.abc import Sequence

TOKEN_BUDGET = 512
"""Padded tokens (texts x longest) of one run: measured best on 2 cores, larger runs leave the cache."""

RUN_OVERHEAD = 40
"""What one run costs besides its tokens, in tokens: about 2.5 ms, at about 75 us a token."""


def pack(
    lengths: Sequence[int], *, budget: int = TOKEN_BUDGET, overhead: int = RUN_OVERHEAD
) -> list[list[int]]:
    """Divides texts into runs so that the cost of all runs together is the least possible.

    A run of n texts of which the longest has L tokens costs ``overhead + n * L``; n * L is at most `budget`,
    unless a single text is longer than that. An optimal division exists among those that cut the texts sorted
    by length into pieces, so dynamic programming over the sorted texts finds it.

    Args:
        lengths: tokens of each text.
        budget: padded tokens of one run.
        overhead: cost of a run besides its padded tokens, in tokens.

    Returns:
        Runs of indices into `lengths`, shortest texts first. Every index is there once; equal input gives
        equal output.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    least = [0] * (len(order) + 1)  # least[j]: least cost of the j shortest texts
    begin = [0] * (len(order) + 1)  # begin[j]: where the last run of that division begins
    for end, index in enumerate(order, 1):
        length = lengths[index]
        most = max(1, budget // length) if length > 0 else end
        best, at = least[end - 1] + length, end - 1
        cost = length
        for start in range(end - 2, max(end - most, 0) - 1, -1):
            cost += length
            total = least[start] + cost
            if total < best:
                best, at = total, start
        least[end], begin[end] = best + overhead, at
    runs = []
    end = len(order)
    while end:
        runs.append(order[begin[end] : end])
        end = begin[end]
    return runs[::-1]
