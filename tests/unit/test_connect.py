"""The head of a request to the proxy: every way it may be cut, and every lie."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from azpg_runtime.arm.identity.connect import LONGEST_HEAD, Head, Refusal, Tunnel

WHOLE = b"CONNECT management.azure.com:443 HTTP/1.1\r\nHost: management.azure.com:443\r\n\r\n"


def feed(pieces: list[bytes]) -> Tunnel | Refusal | None:
    """What is decided, as soon as it is."""
    head = Head()
    for piece in pieces:
        wish = head.feed(piece)
        if wish is not None:
            return wish
    return None


def cut(data: bytes, places: list[float]) -> list[bytes]:
    bounds = sorted({0, len(data), *(int(place * len(data)) for place in places)})
    return [data[start:end] for start, end in pairwise(bounds)]


@given(st.lists(st.floats(0, 1), max_size=6))
def test_however_it_is_cut(places: list[float]) -> None:
    assert feed(cut(WHOLE, places)) == Tunnel("management.azure.com", b"")


@given(st.binary(max_size=200))
def test_what_comes_after_the_head_is_kept(more: bytes) -> None:
    assert feed([WHOLE + more]) == Tunnel("management.azure.com", more)


@given(st.integers(0, len(WHOLE) - 1))
def test_half_a_head_decides_nothing(length: int) -> None:
    assert feed([WHOLE[:length]]) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "a", "A-b_c.example"])
def test_hosts(host: str) -> None:
    assert feed([WHOLE.replace(b"management.azure.com", host.encode(), 1)]) == Tunnel(host, b"")


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        (
            b"GET http://example.com/ HTTP/1.1",
            b"405 Method Not Allowed",
            "only CONNECT HOST:443 is allowed; ask for https, not http",
        ),
        (b"POST / HTTP/1.0", b"405 Method Not Allowed", "only CONNECT HOST:443 is allowed"),
        (
            b"CONNECT example.com:80 HTTP/1.1",
            b"403 Forbidden",
            "only port 443 is allowed; put other hosts into NO_PROXY",
        ),
        (b"CONNECT example.com:0443 HTTP/1.1", b"", ""),
        (b"CONNECT example.com HTTP/1.1", b"400 Bad Request", "CONNECT needs HOST:443"),
        (b"CONNECT https://example.com:443 HTTP/1.1", b"400 Bad Request", "CONNECT needs HOST:443"),
        (b"CONNECT a@b:443 HTTP/1.1", b"400 Bad Request", "CONNECT needs HOST:443"),
        (b"CONNECT " + b"a" * 254 + b":443 HTTP/1.1", b"400 Bad Request", "CONNECT needs HOST:443"),
        (b"CONNECT a:443 HTTP/2", b"400 Bad Request", "this is no HTTP request; CONNECT HOST:443 is allowed"),
        (b"CONNECT  a:443 HTTP/1.1", b"400 Bad Request", "this is no HTTP request"),
        (b"\x16\x03\x01\x02\x00", b"400 Bad Request", "this is no HTTP request"),
        (b"", b"400 Bad Request", "this is no HTTP request"),
    ],
)
def test_refusals_say_what_is_allowed(line: bytes, status: bytes, says: str) -> None:
    wish = feed([line + b"\r\n\r\n"])
    if not status:
        assert isinstance(wish, Tunnel)
        return
    assert isinstance(wish, Refusal)
    assert wish.reply.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert says in wish.reason
    assert body(wish.reply) == f"{wish.reason}\n"


def body(reply: bytes) -> str:
    """The body of a reply whose framing is checked."""
    head, rest = reply.split(b"\r\n\r\n", 1)
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length is not None
    assert int(length[1]) == len(rest)
    assert b"Connection: close" in head
    assert rest.count(b"\n") == 1
    return rest.decode()


def test_too_long() -> None:
    start = b"CONNECT a:443 HTTP/1.1\r\nX: "
    longest = start + b"x" * (LONGEST_HEAD - len(start)) + b"\r\n\r\n"
    assert feed([longest]) == Tunnel("a", b"")
    for pieces in ([longest.replace(b"X: ", b"X: x")], [b"x" * (LONGEST_HEAD + 1)]):
        wish = feed(pieces)
        assert isinstance(wish, Refusal)
        assert "a head has at most 8192 bytes" in wish.reason


tokens = st.sampled_from(
    [
        b"CONNECT ",
        b"GET ",
        b"a",
        b":443",
        b":",
        b" HTTP/1.1",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\0",
        b"[::1]",
        b"@",
    ]
)
heads = st.binary(max_size=200) | st.lists(tokens | st.binary(max_size=4), max_size=12).map(b"".join)


@given(heads, st.lists(st.floats(0, 1), max_size=4))
@example(b"CONNECT a:99999 HTTP/1.1\r\n\r\n", [])
@example("CONNECT a:\uff14\uff14\uff13 HTTP/1.1\r\n\r\n".encode(), [])
def test_anything(data: bytes, places: list[float]) -> None:
    """However it is cut, the decision is the same: a tunnel to port 443, a refusal in one line, or more bytes."""
    wish = feed([data])
    # What follows a head that is whole is another matter; cut pieces end where the decision was made.
    in_pieces = feed(cut(data, places))
    assert type(in_pieces) is type(wish)
    match wish:
        case Tunnel(host, _):
            assert re.match(rb"CONNECT " + re.escape(host.encode()) + rb":0*443 HTTP/1\.[01]\r\n", data)
        case Refusal(reply, reason):
            assert body(reply) == f"{reason}\n"
        case None:
            assert b"\r\n\r\n" not in data
