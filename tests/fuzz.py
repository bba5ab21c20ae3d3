"""Feeds made-up and damaged frames to the Python side of the wire protocol: ``make fuzz``.

The C side's counterpart is ``runtime/shim/fuzz``.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from azpg_runtime.errors import ModelNotFound, ProtocolError
from azpg_runtime.host import protocol
from azpg_runtime.host.protocol import Frame, FrameDecoder, Kind, RemoteError

# What each request's body is taken apart and put together by.
REQUESTS: dict[Kind, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    Kind.EMBED: (protocol.Embed.unpack, protocol.Embed.pack),
    Kind.REGISTER: (protocol.Register.unpack, protocol.Register.pack),
    Kind.UNREGISTER: (protocol.unpack_string, protocol.pack_string),
    Kind.UNLOAD: (protocol.unpack_string, protocol.pack_string),
    Kind.LOADED: (protocol.unpack_string, protocol.pack_string),
    Kind.METADATA: (protocol.unpack_string, protocol.pack_string),
    Kind.GET_SETTINGS: (protocol.unpack_strings, protocol.pack_strings),
    Kind.SET_SETTINGS: (protocol.unpack_pairs, protocol.pack_pairs),
}
LENGTHS = (0, 1, 4, 255, 2**16, 2**26, 2**26 + 1, 2**31, 2**32 - 1)
PIECES = ("", "a", "m:v1", "é", "日本", "🦆", "x" * 300)


def vectors(request: int, count: int, dimensions: int) -> bytes:
    """The body of a reply of ones."""
    reply, matrix = protocol.vectors(request, count, dimensions)
    matrix.fill(1)
    return bytes(reply.body)


def made_up(dice: random.Random) -> Frame:
    """A frame that is right."""
    texts = dice.choices(PIECES, k=dice.randrange(4))
    request, deadline = dice.getrandbits(64), dice.getrandbits(64) - 2**63
    pairs = list(zip(texts, texts[::-1], strict=True))
    shape = dice.randrange(3), dice.randrange(1, 4)
    bodies = {
        Kind.EMBED: protocol.Embed("m:v1", texts).pack(),
        Kind.REGISTER: protocol.Register("m", "p", dice.choice([None, *PIECES])).pack(),
        Kind.GET_SETTINGS: protocol.pack_strings(texts),
        Kind.SET_SETTINGS: protocol.pack_pairs(pairs),
        Kind.STATUS: b"",
        Kind.VECTORS: vectors(request, *shape),
        Kind.INTEGER: protocol.integer(request, deadline).body,
        Kind.BOOLEAN: protocol.boolean(request, dice.random() < 0.5).body,
        Kind.DONE: b"",
        Kind.ERROR: protocol.error(request, ModelNotFound("no", detail=dice.choice(PIECES))).body,
    }
    kind = dice.choice(list(Kind))
    return Frame(kind, request, bodies.get(kind, protocol.pack_string(dice.choice(PIECES))), deadline)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """The same bytes with something wrong."""
    at = dice.randrange(len(data))
    match dice.randrange(5):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
        case 2:
            return data[:at] + dice.randbytes(dice.randrange(9)) + data[at:]
        case 3:
            return data[:at] + dice.choice(LENGTHS).to_bytes(4, "little") + data[at + 4 :]
        case _:
            return dice.randbytes(at)


def decode(data: bytes, cuts: list[int]) -> tuple[list[Frame], bool, int]:
    """The frames of a stream that arrives cut in pieces, whether it ended in an error, what is pending."""
    decoder = FrameDecoder()
    frames: list[Frame] = []
    try:
        for start, end in pairwise([0, *cuts, len(data)]):
            frames.extend(decoder.feed(data[start:end]))
    except ProtocolError:
        return frames, True, 0
    return frames, False, decoder.pending


def check(data: bytes, cuts: list[int]) -> None:
    """Decodes a stream in two ways. Raises `AssertionError`, or whatever the decoder should not raise."""
    whole, cut = decode(data, []), decode(data, cuts)
    frames, failed, pending = cut
    assert cut[1:] == whole[1:]
    assert frames == whole[0]
    read = b"".join(map(protocol.encode, frames))
    assert data.startswith(read)
    assert failed or len(read) + pending == len(data)
    for frame in frames:
        unpack, pack = REQUESTS.get(frame.kind, (None, None))
        try:
            if unpack and pack:
                assert pack(unpack(frame.body)) == frame.body
            else:
                protocol.unpack_reply(frame)
        except (ProtocolError, RemoteError):
            pass


def run(*, seed: int, runs: int | None = None, seconds: float | None = None) -> int:
    """Checks as many streams as asked for; returns how many. Raises with the stream in a note."""
    dice = random.Random(seed)
    ends = None if seconds is None else time.monotonic() + seconds
    done = 0
    while done != runs and (ends is None or time.monotonic() < ends):
        data = b"".join(protocol.encode(made_up(dice)) for _ in range(dice.randint(1, 3)))
        for _ in range(dice.randrange(3)):
            data = damaged(data, dice) or b"\0"
        cuts = sorted(dice.choices(range(len(data) + 1), k=dice.randrange(5)))
        try:
            check(data, cuts)
        except BaseException as error:
            error.add_note(f"run {done} of seed {seed}: check(bytes.fromhex({data.hex()!r}), {cuts})")
            raise
        done += 1
    return done


def main() -> None:
    """``python -m tests.fuzz [--seconds S] [--seed N]``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    print(f"{run(seed=options.seed, seconds=options.seconds)} runs, seed {options.seed}")


if __name__ == "__main__":
    main()
