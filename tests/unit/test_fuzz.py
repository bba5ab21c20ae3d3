"""The fuzz target of the Python decoder does its work."""

from __future__ import annotations

import random

from azpg_runtime.host import protocol
from tests import fuzz


def test_the_decoder_holds() -> None:
    assert fuzz.run(seed=7, runs=2000) == 2000


def test_a_bounded_time_ends() -> None:
    assert fuzz.run(seed=7, seconds=0) == 0


def test_what_is_made_up_is_right() -> None:
    stream = b"".join(protocol.encode(fuzz.made_up(random.Random(seed))) for seed in range(100))
    frames, failed, pending = fuzz.decode(stream, [])
    assert (len(frames), failed, pending) == (100, False, 0)
    assert {frame.kind for frame in frames} == set(protocol.Kind)
