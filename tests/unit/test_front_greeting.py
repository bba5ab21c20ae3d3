"""The first bytes of a connection: every way they may be cut, every order, every lie."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpg_runtime.postgres.front.greeting import (
    CANCEL_REQUEST,
    GSSENC_REQUEST,
    SSL_REQUEST,
    Answer,
    Encrypt,
    Forward,
    Greeting,
    Refuse,
    Step,
    error_response,
)

LONGEST = 10004


def packet(code: int, body: bytes = b"") -> bytes:
    return struct.pack("!II", 8 + len(body), code) + body


SSL, GSS = packet(SSL_REQUEST), packet(GSSENC_REQUEST)
STARTUP = packet(3 << 16, b"user\0pgadmin\0database\0postgres\0\0")
CANCEL = packet(CANCEL_REQUEST, struct.pack("!II", 4711, 42))
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01"


def fields(reply: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse, whose framing is checked."""
    assert reply[:1] == b"E"
    assert struct.unpack("!I", reply[1:5])[0] == len(reply) - 1
    assert reply[-2:] == b"\0\0"
    parts = reply[5:-2].split(b"\0")
    return {part[:1].decode(): part[1:].decode() for part in parts}


def cut(data: bytes, places: list[float]) -> list[bytes]:
    """`data` in pieces that are cut at fractions of its length."""
    bounds = sorted({0, len(data), *(int(place * len(data)) for place in places)})
    return [data[start:end] for start, end in pairwise(bounds)]


places = st.lists(st.floats(0, 1), max_size=6)
codes = st.integers(0, 2**32 - 1).filter(lambda code: code not in {SSL_REQUEST, GSSENC_REQUEST})
bodies = st.one_of(st.binary(max_size=300), st.just(bytes(LONGEST - 8)))


def feed_all(greeting: Greeting, pieces: list[bytes]) -> Step | None:
    """The step after the last piece; before it there must be none."""
    for piece in pieces[:-1]:
        assert greeting.feed(piece) is None
    return greeting.feed(pieces[-1])


@pytest.mark.parametrize("what", [STARTUP, CANCEL, packet(2 << 16), packet((3 << 16) + 2, b"x" * 9996)])
def test_what_is_no_request_for_encryption_goes_to_postgresql(what: bytes) -> None:
    """Also what PostgreSQL does not understand: it knows best how to say so."""
    assert Greeting().feed(what) == Forward(what)


@given(code=codes, body=bodies, places=places)
def test_however_it_is_cut(code: int, body: bytes, places: list[float]) -> None:
    whole = packet(code, body)
    assert feed_all(Greeting(), cut(whole, places)) == Forward(whole)


@given(requests=st.sampled_from([[SSL], [GSS, SSL]]), body=bodies, places=places)
def test_encryption_comes_first(requests: list[bytes], body: bytes, places: list[float]) -> None:
    greeting = Greeting()
    replies = {SSL: Encrypt(b"S", b""), GSS: Answer(b"N")}
    for request in requests:
        assert feed_all(greeting, cut(request, places)) == replies[request]
    startup = packet(3 << 16, body)
    assert feed_all(greeting, cut(startup, places)) == Forward(startup)


def test_a_client_refused_gssapi_may_go_on_in_plain() -> None:
    greeting = Greeting()
    assert greeting.feed(GSS) == Answer(b"N")
    assert greeting.feed(CANCEL) == Forward(CANCEL)


@given(body=st.binary(max_size=100))
def test_what_follows_the_start_up_packet_goes_along(body: bytes) -> None:
    assert Greeting().feed(STARTUP + body) == Forward(STARTUP + body)


# Direct TLS


@given(rest=st.binary(max_size=100))
def test_direct_tls_is_known_by_its_first_byte(rest: bytes) -> None:
    greeting = Greeting()
    assert greeting.feed(b"\x16" + rest) == Encrypt(b"", b"\x16" + rest)
    assert greeting.feed(STARTUP) == Forward(STARTUP)


def test_direct_tls_is_for_the_very_first_byte_only() -> None:
    greeting = Greeting()
    assert greeting.feed(GSS) == Answer(b"N")
    assert greeting.feed(CLIENT_HELLO + b"\0\0") == Refuse(b""), "as a length it is too long"
    greeting = Greeting()
    assert greeting.feed(SSL) == Encrypt(b"S", b"")
    assert greeting.feed(CLIENT_HELLO + b"\0\0") == Refuse(b"")


# Lies


@pytest.mark.parametrize(("request_", "what"), [(SSL, "SSL"), (GSS, "GSSAPI encryption")])
@given(surplus=st.binary(min_size=1, max_size=100))
def test_nothing_unencrypted_is_taken_for_encrypted(request_: bytes, what: str, surplus: bytes) -> None:
    """CVE-2021-23214: what was sent with the request must not be read as if it had come encrypted."""
    step = Greeting().feed(request_ + surplus)
    assert isinstance(step, Refuse)
    found = fields(step.reply)
    assert (found["S"], found["V"], found["C"]) == ("FATAL", "FATAL", "08P01")
    assert found["M"] == f"received unencrypted data after {what} request"
    assert "man-in-the-middle" in found["D"]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (SSL, SSL, "1234.5679"),
        (SSL, GSS, "1234.5680"),
        (GSS, GSS, "1234.5680"),
        (CLIENT_HELLO, SSL, "1234.5679"),
        (CLIENT_HELLO, GSS, "1234.5680"),
    ],
)
def test_encryption_is_asked_for_once(first: bytes, second: bytes, said: str) -> None:
    greeting = Greeting()
    greeting.feed(first)
    step = greeting.feed(second)
    assert isinstance(step, Refuse)
    found = fields(step.reply)
    assert (found["C"], found["M"]) == ("0A000", f"unsupported frontend protocol {said}")


@pytest.mark.parametrize("length", [0, 1, 7, LONGEST + 1, 2**31, 2**32 - 1])
def test_a_length_that_cannot_be_is_refused_without_a_word(length: int) -> None:
    assert Greeting().feed(struct.pack("!II", length, 3 << 16)) == Refuse(b"")


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\xff" * 8, b"Q\0\0\0\x05;"]
)
def test_other_protocols_are_refused_without_a_word(garbage: bytes) -> None:
    assert Greeting().feed(garbage.ljust(8)) == Refuse(b"")


@given(data=st.binary(max_size=3000), places=places)
def test_nothing_breaks_it_and_nothing_is_lost(data: bytes, places: list[float]) -> None:
    greeting, since = Greeting(), b""
    for piece in cut(data, places):
        since += piece
        step = greeting.feed(piece)
        match step:
            case Forward(received):
                assert received == since
                return
            case Encrypt(b"", received):
                assert received == since
                since = b""
            case Refuse():
                return
            case Answer() | Encrypt():
                since = b""
        assert len(greeting._received) <= LONGEST


@given(data=st.lists(st.sampled_from([SSL, GSS, STARTUP[:5], STARTUP[5:], CANCEL, CLIENT_HELLO]), max_size=8))
def test_any_order_of_packets_ends_in_at_most_one_encryption(data: list[bytes]) -> None:
    greeting, encrypted, refused = Greeting(), 0, 0
    for piece in data:
        step = greeting.feed(piece)
        encrypted += isinstance(step, Encrypt)
        refused += isinstance(step, Answer)
        if isinstance(step, Forward | Refuse):
            break
    assert encrypted <= 1
    assert refused <= 1


# Replies


def test_an_error_response_has_only_the_fields_it_needs() -> None:
    assert fields(error_response("57P03", "no")) == {"S": "FATAL", "V": "FATAL", "C": "57P03", "M": "no"}
    full = fields(error_response("57P03", "né", detail="d", hint="h"))
    assert (full["M"], full["D"], full["H"]) == ("né", "d", "h")
