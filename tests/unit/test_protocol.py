"""The host's codec: whatever goes in comes out, and whatever does not fit is refused by name."""

from __future__ import annotations

import contextlib
import struct
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from azpg_runtime.errors import ModelNotFound, ProtocolError, RuntimeTwinError
from azpg_runtime.host import protocol
from azpg_runtime.host.protocol import (
    HEADER_SIZE,
    MAX_BODY,
    VERSION,
    Embed,
    Frame,
    FrameDecoder,
    Kind,
    Register,
    RemoteError,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
FRAMES = st.builds(Frame, st.sampled_from(Kind), U64, st.binary(max_size=300), I64)
UNPACKERS: list[Callable[[bytes], Any]] = [
    Embed.unpack,
    Register.unpack,
    protocol.unpack_pairs,
    protocol.unpack_string,
    protocol.unpack_strings,
    *(lambda body, kind=kind: protocol.unpack_reply(Frame(kind, 1, body)) for kind in Kind),
]

unhurried = settings(deadline=None)


def decode(data: bytes, **options: int) -> list[Frame]:
    return list(FrameDecoder(**options).feed(data))


def header(
    length: int = 0,
    version: int = VERSION,
    kind: int = 1,
    reserved: int = 0,
    request: int = 7,
    deadline: int = 0,
) -> bytes:
    return struct.pack("<IBBHQq", length, version, kind, reserved, request, deadline)


# Frames.


def test_the_documented_header() -> None:
    frame = Frame(Kind.METADATA, 0x0102030405060708, b"body", deadline=-2)
    assert (
        protocol.encode(frame)
        == bytes.fromhex("04000000 01 06 0000 0807060504030201 feffffffffffffff") + b"body"
    )
    assert HEADER_SIZE == 24


def test_the_documented_kinds() -> None:
    names = "EMBED REGISTER UNREGISTER UNLOAD LOADED METADATA GET_SETTINGS SET_SETTINGS STATUS DEPLOY".split()
    replies = "VECTORS INTEGER BOOLEAN TEXT DONE ERROR".split()
    assert {kind.name: kind.value for kind in Kind} == {
        **{name: number for number, name in enumerate(names, 1)},
        **{name: number for number, name in enumerate(replies, 128)},
    }


@unhurried
@given(frames=st.lists(FRAMES, max_size=8), cuts=st.lists(st.integers(0, 3000), max_size=20))
def test_frames_come_out_as_they_went_in_however_they_are_cut(frames: list[Frame], cuts: list[int]) -> None:
    data = b"".join(map(protocol.encode, frames))
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    decoder = FrameDecoder()
    found = [frame for begin, end in pairwise(places) for frame in decoder.feed(data[begin:end])]
    assert found == frames
    assert decoder.pending == 0


@pytest.mark.parametrize("chunk", [1000, 65536, 10**9])
def test_large_frames_one_after_the_other(chunk: int) -> None:
    sizes = [0, 1, 255, 256, 65535 - HEADER_SIZE, 65536, 1_000_000, 3]
    frames = [Frame(Kind.TEXT, size, bytes([at]) * size) for at, size in enumerate(sizes)]
    data = b"".join(map(protocol.encode, frames))
    decoder = FrameDecoder()
    pieces = (data[at : at + chunk] for at in range(0, len(data), chunk))
    assert [frame for piece in pieces for frame in decoder.feed(piece)] == frames


@unhurried
@given(frame=FRAMES)
def test_one_byte_at_a_time(frame: Frame) -> None:
    data = protocol.encode(frame)
    decoder = FrameDecoder()
    for at in range(len(data) - 1):
        assert list(decoder.feed(data[at : at + 1])) == []
        assert decoder.pending == at + 1
    assert list(decoder.feed(data[-1:])) == [frame]


def test_what_a_decoder_keeps_of_a_frame_that_is_not_complete() -> None:
    data = protocol.encode(Frame(Kind.TEXT, 1, b"x" * 1000))
    decoder = FrameDecoder()
    seen = []
    for begin, end in ((0, 23), (23, 24), (24, 1023), (1023, 1024)):
        frames = list(decoder.feed(data[begin:end]))
        seen.append((decoder.announced, decoder.pending, len(frames)))
    assert seen == [(0, 23, 0), (1000, 24, 0), (1000, 1023, 0), (0, 0, 1)]


def test_a_promise_of_many_bytes_takes_no_memory() -> None:
    decoder = FrameDecoder()
    assert list(decoder.feed(header(length=protocol.MAX_BODY) + b"x" * 10)) == []
    assert decoder.announced == protocol.MAX_BODY
    assert decoder._frame is not None
    assert sys.getsizeof(decoder._frame.body) < 1000


def test_a_body_that_was_read_is_freed_whoever_has_the_frame() -> None:
    (frame,) = decode(protocol.encode(Frame(Kind.EMBED, 1, Embed("m", ["a", "b"]).pack())))
    uri, count, texts = protocol.read_embed(frame.body)
    assert (uri, count, list(texts)) == ("m", 2, ["a", "b"])
    frame.release()
    assert len(frame.body) == 0
    sent = Frame(Kind.STATUS, 1, b"stays")
    sent.release()
    assert sent.body == b"stays"


def test_a_consumer_that_stops_early_loses_nothing() -> None:
    frames = [Frame(Kind.DONE, number, b"") for number in range(3)]
    decoder = FrameDecoder()
    assert next(iter(decoder.feed(b"".join(map(protocol.encode, frames))))) == frames[0]
    assert list(decoder.feed(b"")) == frames[1:]


@unhurried
@given(chunks=st.lists(st.binary(max_size=60), max_size=6))
@example([header(version=2)])
@example([header(kind=255)])
def test_any_bytes_are_frames_or_a_protocol_error(chunks: list[bytes]) -> None:
    decoder = FrameDecoder(max_body=64)
    try:
        for chunk in chunks:
            for frame in decoder.feed(chunk):
                assert isinstance(frame.kind, Kind)
    except ProtocolError:
        return
    assert decoder.pending < HEADER_SIZE + 64


@unhurried
@given(frame=FRAMES, at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_frame_is_another_frame_or_a_protocol_error(frame: Frame, at: int, value: int) -> None:
    data = bytearray(protocol.encode(frame))
    data[at % len(data)] = value
    with contextlib.suppress(ProtocolError):
        decode(bytes(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(version=0), "protocol version 0 is not 1"),
        (header(version=2), "protocol version 2 is not 1"),
        (header(reserved=513), "reserved header field is 513, not 0"),
        (header(length=MAX_BODY + 1), f"frame of {MAX_BODY + 1} bytes is over the limit of {MAX_BODY}"),
        (header(length=2**32 - 1), f"frame of {2**32 - 1} bytes is over the limit of {MAX_BODY}"),
        (header(kind=0), "frame kind 0 is unknown"),
        (header(kind=11), "frame kind 11 is unknown"),
        (header(kind=127), "frame kind 127 is unknown"),
        (header(kind=134), "frame kind 134 is unknown"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "protocol version 47 is not 1"),
    ],
)
def test_a_wrong_header_is_refused_before_its_body_arrives(data: bytes, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(data)
    assert str(caught.value) == message
    assert caught.value.sqlstate == "08P01"


def test_the_limit_itself_is_allowed() -> None:
    assert decode(header(length=5) + b"12345", max_body=5) == [Frame(Kind.EMBED, 7, b"12345")]
    with pytest.raises(ProtocolError, match="frame of 6 bytes is over the limit of 5"):
        decode(header(length=6), max_body=5)
    assert decode(header(length=MAX_BODY)) == []


def test_frames_before_a_wrong_one_still_come_out() -> None:
    good = Frame(Kind.STATUS, 1, b"")
    frames = FrameDecoder().feed(protocol.encode(good) + header(version=9))
    assert next(frames) == good
    with pytest.raises(ProtocolError, match="protocol version 9"):
        next(frames)


def test_a_body_over_the_limit_is_not_sent() -> None:
    protocol.encode(Frame(Kind.TEXT, 1, bytes(MAX_BODY)))
    with pytest.raises(ProtocolError, match=f"frame of {MAX_BODY + 1} bytes is over the limit of {MAX_BODY}"):
        protocol.encode(Frame(Kind.TEXT, 1, bytes(MAX_BODY + 1)))


# Requests.


@unhurried
@given(uri=TEXTS, texts=st.lists(TEXTS, max_size=10))
def test_embed(uri: str, texts: list[str]) -> None:
    assert Embed.unpack(Embed(uri, texts).pack()) == Embed(uri, texts)


@unhurried
@given(uri=TEXTS, path=TEXTS, tokenizer=st.none() | TEXTS)
def test_register(uri: str, path: str, tokenizer: str | None) -> None:
    request = Register(uri, path, tokenizer)
    assert Register.unpack(request.pack()) == request


@unhurried
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), max_size=10))
def test_pairs(pairs: list[tuple[str, str]]) -> None:
    assert protocol.unpack_pairs(protocol.pack_pairs(pairs)) == pairs


@unhurried
@given(texts=st.lists(TEXTS, max_size=10))
def test_strings(texts: list[str]) -> None:
    assert protocol.unpack_strings(protocol.pack_strings(texts)) == texts
    assert [protocol.unpack_string(protocol.pack_string(text)) for text in texts] == texts


def test_the_documented_bodies() -> None:
    assert Embed("a:v1", ["x", ""]).pack() == b"\4\0\0\0a:v1" + b"\2\0\0\0" + b"\1\0\0\0x" + b"\0\0\0\0"
    assert Register("u", "p").pack() == b"\1\0\0\0u" + b"\1\0\0\0p" + b"\0"
    assert Register("u", "p", "t").pack() == b"\1\0\0\0u" + b"\1\0\0\0p" + b"\1" + b"\1\0\0\0t"
    assert protocol.pack_pairs([("k", "é")]) == b"\1\0\0\0" + b"\1\0\0\0k" + b"\2\0\0\0\xc3\xa9"


# Replies.


@unhurried
@given(shape=st.tuples(st.integers(0, 5), st.integers(0, 5)), data=st.data(), request=U64)
def test_vectors_travel_bit_for_bit(shape: tuple[int, int], data: st.DataObject, request: int) -> None:
    size = shape[0] * shape[1]
    bits = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=size, max_size=size))
    matrix = np.array(bits, dtype=np.uint32).view(np.float32).reshape(shape)
    reply, inside = protocol.vectors(request, *shape)
    inside[:] = matrix
    (frame,) = decode(protocol.encode(reply))
    assert (frame.kind, frame.request_id, frame.deadline) == (Kind.VECTORS, request, 0)
    found = protocol.unpack_reply(frame)
    assert isinstance(found, np.ndarray)
    assert found.shape == shape
    assert found.tobytes() == matrix.tobytes()


def test_as_many_vectors_as_a_reply_can_carry() -> None:
    for dimensions in (1, 384, 1024, 2**24):
        most = protocol.most_texts(dimensions)
        reply, _ = protocol.vectors(1, most, dimensions)
        assert len(reply.body) <= protocol.MAX_BODY < len(reply.body) + 4 * dimensions
        assert protocol.encode_header(reply)


@unhurried
@given(request=U64, number=I64, flag=st.booleans(), text=TEXTS)
def test_the_other_replies(request: int, number: int, flag: bool, text: str) -> None:
    replies = {
        Kind.INTEGER: (protocol.integer(request, number), number),
        Kind.BOOLEAN: (protocol.boolean(request, flag), flag),
        Kind.TEXT: (protocol.text(request, text), text),
        Kind.DONE: (protocol.done(request), None),
    }
    for kind, (frame, value) in replies.items():
        assert decode(protocol.encode(frame)) == [frame]
        assert (frame.kind, frame.request_id, frame.deadline) == (kind, request, 0)
        found = protocol.unpack_reply(frame)
        assert found == value
        assert type(found) is type(value)


@unhurried
@given(request=U64, message=TEXTS, detail=TEXTS, hint=TEXTS)
def test_an_error_arrives_as_it_was_raised(request: int, message: str, detail: str, hint: str) -> None:
    frame = protocol.error(request, ModelNotFound(message, detail=detail, hint=hint))
    assert decode(protocol.encode(frame)) == [frame]
    with pytest.raises(RemoteError) as caught:
        protocol.unpack_reply(frame)
    error = caught.value
    assert (error.sqlstate, error.message, error.detail, error.hint) == ("42704", message, detail, hint)
    assert isinstance(error, RuntimeTwinError)


def test_an_error_about_a_file_that_is_not_named_in_utf_8() -> None:
    """Such names reach Python as lone surrogates; the reply must not fail for them."""
    frame = protocol.error(1, RuntimeTwinError("no file /tmp/\udcff", hint="Rename \udcff."))
    with pytest.raises(RemoteError) as caught:
        protocol.unpack_reply(frame)
    assert str(caught.value) == r"no file /tmp/\udcff. Rename \udcff."


# Bodies that are none.


@unhurried
@given(body=st.binary(max_size=120), unpack=st.sampled_from(UNPACKERS))
def test_any_body_is_understood_or_a_protocol_error(body: bytes, unpack: Callable[[bytes], Any]) -> None:
    with contextlib.suppress(ProtocolError, RemoteError):
        unpack(body)


@unhurried
@given(
    numbers=st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 2**31, 2**32 - 1]), max_size=6),
    tail=st.binary(max_size=12),
    unpack=st.sampled_from(UNPACKERS),
)
def test_lengths_that_lie(numbers: list[int], tail: bytes, unpack: Callable[[bytes], Any]) -> None:
    with contextlib.suppress(ProtocolError, RemoteError):
        unpack(b"".join(struct.pack("<I", number) for number in numbers) + tail)


@unhurried
@given(body=st.binary(max_size=40))
def test_what_was_understood_packs_to_the_same_bytes(body: bytes) -> None:
    for unpack, pack in (
        (Embed.unpack, Embed.pack),
        (Register.unpack, Register.pack),
        (protocol.unpack_pairs, protocol.pack_pairs),
        (protocol.unpack_strings, protocol.pack_strings),
        (protocol.unpack_string, protocol.pack_string),
    ):
        try:
            found: Any = unpack(body)
        except ProtocolError:
            continue
        assert pack(found) == body


@pytest.mark.parametrize(
    ("unpack", "body", "message"),
    [
        (protocol.unpack_string, b"", "body ends 4 bytes early"),
        (protocol.unpack_string, b"\5\0\0\0abc", "body ends 2 bytes early"),
        (protocol.unpack_string, b"\1\0\0\0abc", "body is 2 bytes too long"),
        (protocol.unpack_string, b"\3\0\0\0ab\xff", "a string is not UTF-8: invalid start byte at byte 2"),
        (
            protocol.unpack_string,
            b"\3\0\0\0\xed\xa0\x80",
            "a string is not UTF-8: invalid continuation byte at byte 0",
        ),
        (protocol.unpack_strings, b"\2\0\0\0", "2 strings cannot be in 4 bytes"),
        (protocol.unpack_strings, b"\xff\xff\xff\xff", "4294967295 strings cannot be in 4 bytes"),
        (protocol.unpack_pairs, b"\1\0\0\0", "1 pairs cannot be in 4 bytes"),
        (protocol.unpack_pairs, b"\0\0\0\0\0", "body is 1 bytes too long"),
        (Embed.unpack, b"\0\0\0\0\0\0\0\0\0", "body is 1 bytes too long"),
        (Register.unpack, b"\0\0\0\0\0\0\0\0\2", "a flag is 2, neither 0 nor 1"),
        (Register.unpack, b"\0\0\0\0\0\0\0\0\0\0", "body is 1 bytes too long"),
    ],
)
def test_what_is_wrong_with_a_request(unpack: Callable[[bytes], Any], body: bytes, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        unpack(body)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (Kind.VECTORS, b"\1\0\0\0\1\0\0\0\0\0\0", "body ends 1 bytes early"),
        (Kind.VECTORS, b"\1\0\0\0\1\0\0\0\0\0\0\0\0", "body is 1 bytes too long"),
        (Kind.VECTORS, b"\xff" * 8, f"body ends {4 * (2**32 - 1) ** 2} bytes early"),
        (Kind.INTEGER, b"\0" * 7, "body ends 1 bytes early"),
        (Kind.INTEGER, b"\0" * 9, "body is 1 bytes too long"),
        (Kind.BOOLEAN, b"\2", "a flag is 2, neither 0 nor 1"),
        (Kind.BOOLEAN, b"", "body ends 1 bytes early"),
        (Kind.TEXT, b"\1\0\0\0", "body ends 1 bytes early"),
        (Kind.DONE, b"\0", "body is 1 bytes too long"),
        (Kind.ERROR, b"4270", "body ends 1 bytes early"),
        (Kind.ERROR, b"42 04" + b"\0" * 12, "SQLSTATE b'42 04' is not five letters or digits"),
        (Kind.ERROR, b"42704" + b"\0" * 13, "body is 1 bytes too long"),
    ],
)
def test_what_is_wrong_with_a_reply(kind: Kind, body: bytes, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        protocol.unpack_reply(Frame(kind, 1, body))
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind < 128], ids=lambda kind: kind.name)
def test_a_request_is_no_reply(kind: Kind) -> None:
    with pytest.raises(ProtocolError) as caught:
        protocol.unpack_reply(Frame(kind, 1, b""))
    assert str(caught.value) == f"{kind.name} is no reply"


def test_every_reply_has_a_reader() -> None:
    """Whoever adds a kind must teach `unpack_reply` about it."""
    for kind in (kind for kind in Kind if kind >= 128 and kind is not Kind.DONE):
        with pytest.raises(ProtocolError, match=r"^body ends"):
            protocol.unpack_reply(Frame(kind, 1, b""))
    assert protocol.unpack_reply(protocol.done(1)) is None
