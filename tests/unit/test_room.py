"""Room that requests share: never more than there is, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg_runtime.host.room import PASSES, Place, Room


def run(play: Callable[[], None]) -> None:
    async def wrapped() -> None:
        play()

    asyncio.run(wrapped())


def test_who_fits_goes_in_at_once_and_the_next_when_there_is_room() -> None:
    def play() -> None:
        room = Room(10)
        first, second, third = room.ask(6), room.ask(4), room.ask(5)
        assert [place.granted.done() for place in (first, second, third)] == [True, True, False]
        second.leave()
        assert not third.granted.done()
        first.leave()
        assert third.granted.done()
        assert room.taken == 5

    run(play)


def test_leaving_twice_counts_once() -> None:
    def play() -> None:
        room = Room(10)
        place = room.ask(6)
        place.leave()
        place.leave()
        assert room.taken == 0

    run(play)


def test_who_stops_waiting_makes_way() -> None:
    def play() -> None:
        room = Room(10)
        first, waiting, behind = room.ask(8), room.ask(9), room.ask(9)
        waiting.leave()
        first.leave()
        assert not waiting.granted.done()
        assert behind.granted.done()

    run(play)


def test_more_than_the_room_goes_in_alone() -> None:
    def play() -> None:
        room = Room(10)
        small, huge = room.ask(1), room.ask(50)
        assert not huge.granted.done()
        small.leave()
        assert huge.granted.done()
        assert not room.ask(1).granted.done()
        huge.leave()
        assert room.taken == 1

    run(play)


def test_small_ones_pass_a_large_one_but_not_for_ever() -> None:
    def play() -> None:
        room = Room(10)
        inside = [room.ask(5), room.ask(5)]
        large = room.ask(10)
        passed = 0
        while not large.granted.done():
            inside.append(room.ask(5))
            inside.pop(0).leave()
            passed += inside[-1].granted.done()
            assert passed <= PASSES
        assert passed == PASSES

    run(play)


@settings(deadline=None)
@given(
    size=st.integers(1, 20),
    steps=st.lists(
        st.tuples(st.just("ask"), st.integers(1, 25)) | st.tuples(st.just("leave"), st.integers(0, 9)),
        max_size=60,
    ),
)
def test_whatever_happens_the_room_suffices_and_everybody_gets_in(
    size: int, steps: list[tuple[str, int]]
) -> None:
    def play() -> None:
        room = Room(size)
        present: list[Place] = []
        for what, number in steps:
            if what == "ask":
                present.append(room.ask(number))
            elif present:
                present.pop(number % len(present)).leave()
            inside = [place for place in present if place.granted.done()]
            assert room.taken == sum(place.size for place in inside)
            assert room.taken <= size or len(inside) == 1
            assert inside or not present
        while present:
            inside = [place for place in present if place.granted.done()]
            assert inside
            present.remove(inside[0])
            inside[0].leave()
        assert room.taken == 0

    run(play)


@pytest.mark.parametrize("granted", [True, False])
def test_a_room_forgets_who_left(granted: bool) -> None:
    def play() -> None:
        room = Room(10)
        other = room.ask(10)
        place = room.ask(10)
        if granted:
            other.leave()
        place.leave()
        other.leave()
        assert (room.taken, len(room._waiting)) == (0, 0)

    run(play)
