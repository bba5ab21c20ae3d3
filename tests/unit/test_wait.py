"""Waiting asks at once, asks again, and gives up."""

from __future__ import annotations

import pytest

from azpg_runtime import wait
from azpg_runtime.wait import wait_for


class Clock:
    """Time that passes only by sleeping, or by what a question takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        monkeypatch.setattr(wait, "time", self)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("timeout", [0, 10])
def test_what_is_true_already_needs_no_pause(clock: Clock, timeout: float) -> None:
    assert wait_for(lambda: True, timeout=timeout)
    assert clock.pauses == []


@pytest.mark.parametrize("timeout", [0, -1])
def test_without_time_it_asks_once(clock: Clock, timeout: float) -> None:
    asked: list[float] = []
    assert not wait_for(lambda: bool(asked.append(clock.now)), timeout=timeout)
    assert len(asked) == 1
    assert clock.pauses == []


def test_it_asks_until_it_is_true(clock: Clock) -> None:
    assert wait_for(lambda: clock.now >= 1003, timeout=10)
    assert clock.now < 1003.1


def test_it_gives_up_soon_after_the_deadline_and_asks_a_last_time_then(clock: Clock) -> None:
    asked: list[float] = []
    assert not wait_for(lambda: bool(asked.append(clock.now)), timeout=2)
    assert 1002 <= asked[-1] < 1002.1


def test_it_asks_ever_less_often(clock: Clock) -> None:
    wait_for(lambda: False, timeout=1)
    assert clock.pauses[0] <= 0.002
    assert clock.pauses == sorted(clock.pauses)
    assert max(clock.pauses) <= 0.05


def test_a_slow_question_is_still_answered(clock: Clock) -> None:
    def slow() -> bool:
        clock.now += 100
        return len(clock.pauses) > 0

    assert not wait_for(slow, timeout=50)
    assert wait_for(slow, timeout=150)


def test_what_the_condition_raises_goes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_for(lambda: bool(1 / 0), timeout=10)
