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
        assert [place.inside for place in (first, second, third)] == [True, True, False]
        second.leave()
        assert not third.inside
        first.leave()
        assert third.inside
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
        assert not waiting.inside
        assert behind.inside

    run(play)


def test_more_than_the_room_goes_in_alone() -> None:
    def play() -> None:
        room = Room(10)
        small, huge = room.ask(1), room.ask(50)
        assert not huge.inside
        small.leave()
        assert huge.inside
        assert not room.ask(1).inside
        huge.leave()
        assert room.taken == 1

    run(play)


def test_small_ones_pass_a_large_one_but_not_for_ever() -> None:
    def play() -> None:
        room = Room(10)
        inside = [room.ask(5), room.ask(5)]
        large = room.ask(10)
        passed = 0
        while not large.inside:
            inside.append(room.ask(5))
            inside.pop(0).leave()
            passed += inside[-1].inside
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
            inside = [place for place in present if place.inside]
            assert room.taken == sum(place.size for place in inside)
            assert room.taken <= size or len(inside) == 1
            assert inside or not present
        while present:
            inside = [place for place in present if place.inside]
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


@pytest.mark.parametrize("admitted_meanwhile", [False, True])
def test_who_is_cancelled_while_waiting_gives_back_what_it_has(admitted_meanwhile: bool) -> None:
    async def play() -> None:
        room = Room(10)
        first, waiting = room.ask(10), room.ask(10)

        async def wait() -> None:
            try:
                await waiting.granted
            finally:
                waiting.leave()

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        if admitted_meanwhile:
            first.leave()
        with pytest.raises(asyncio.CancelledError):
            await task
        first.leave()
        assert (room.taken, len(room._waiting)) == (0, 0)
        assert room.ask(10).inside

    asyncio.run(play())
