"""Memory that threads share out before they work."""

from __future__ import annotations

import threading

import pytest

from azpg_runtime.embedding.memory_budget import MemoryBudget
from azpg_runtime.errors import EmbeddingCancelled, OutOfMemory
from azpg_runtime.wait import wait_for


def never() -> bool:
    return False


def test_who_finds_too_little_waits_until_it_is_given_back() -> None:
    budget = MemoryBudget(100)
    waiting, inside = threading.Event(), threading.Event()

    def asked() -> bool:
        waiting.set()
        return False

    def work() -> None:
        with budget.taking(60, cancelled=asked):
            inside.set()

    thread = threading.Thread(target=work)
    with budget.taking(50, cancelled=never), budget.taking(50, cancelled=never):
        thread.start()
        assert waiting.wait(60)
        assert not inside.is_set()
    assert wait_for(inside.is_set, timeout=60)
    thread.join()


def test_who_is_wanted_no_more_stops_waiting() -> None:
    budget = MemoryBudget(100)
    with (
        budget.taking(100, cancelled=never),
        pytest.raises(EmbeddingCancelled),
        budget.taking(1, cancelled=lambda: True),
    ):
        pytest.fail("there is nothing left")
    with budget.taking(100, cancelled=never):
        pass


def test_more_than_there_is_takes_all_of_it() -> None:
    budget = MemoryBudget(100)
    for _ in range(2):
        with budget.taking(1000, cancelled=never):
            pass


def test_what_the_system_refuses_is_given_back() -> None:
    budget = MemoryBudget(1 << 60)
    for _ in range(2):
        with pytest.raises(OutOfMemory), budget.taking(1 << 60, cancelled=never):
            pytest.fail("no system gives that")
