"""Packing is a division into runs, within the budget, and no division is cheaper."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from azpg_runtime.embedding.batching import pack

LENGTHS = st.lists(st.integers(1, 300), max_size=200)


def cost(runs: list[list[int]], lengths: list[int], overhead: int) -> int:
    return sum(overhead + len(run) * max(lengths[index] for index in run) for run in runs)


def divisions(items: list[int]) -> Iterator[list[list[int]]]:
    """Every way to divide items into non-empty groups."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for others in divisions(rest):
        yield [[first], *others]
        for at, group in enumerate(others):
            yield [*others[:at], [first, *group], *others[at + 1 :]]


def allowed(run: list[int], lengths: list[int], budget: int) -> bool:
    return len(run) == 1 or len(run) * max(lengths[index] for index in run) <= budget


@given(lengths=LENGTHS, budget=st.integers(1, 2000), overhead=st.integers(0, 100))
def test_every_text_once_and_within_the_budget(lengths: list[int], budget: int, overhead: int) -> None:
    runs = pack(lengths, budget=budget, overhead=overhead)
    assert sorted(index for run in runs for index in run) == list(range(len(lengths)))
    assert all(allowed(run, lengths, budget) for run in runs)


@given(
    lengths=st.lists(st.integers(1, 30), max_size=7), budget=st.integers(1, 90), overhead=st.integers(0, 40)
)
def test_no_division_is_cheaper(lengths: list[int], budget: int, overhead: int) -> None:
    found = cost(pack(lengths, budget=budget, overhead=overhead), lengths, overhead)
    best = min(
        cost(runs, lengths, overhead)
        for runs in divisions(list(range(len(lengths))))
        if all(allowed(run, lengths, budget) for run in runs)
    )
    assert found == best


@given(lengths=LENGTHS)
def test_equal_input_gives_equal_output(lengths: list[int]) -> None:
    assert pack(lengths) == pack(list(lengths))


def test_nothing_to_pack() -> None:
    assert pack([]) == []


def test_a_text_over_the_budget_runs_alone() -> None:
    assert pack([600, 3, 700], budget=512) == [[1], [0], [2]]


def test_texts_without_tokens_fit_anywhere() -> None:
    assert pack([0, 0, 0]) == [[0, 1, 2]]


def test_the_default_budget_of_equal_lengths() -> None:
    assert [len(run) for run in pack([32] * 64)] == [16] * 4


def test_work_for_many_texts_is_bounded_by_the_budget() -> None:
    """Each text looks back over one run at most, whatever the number of texts."""

    class Counting(int):
        compared = 0

        def __radd__(self, other: int) -> int:
            Counting.compared += 1
            return int(other) + int(self)

        __add__ = __radd__

    lengths = [Counting(16) for _ in range(2000)]
    pack(lengths)
    assert Counting.compared <= 2000 * (512 // 16 + 1)
