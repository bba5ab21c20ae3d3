"""TLS without I/O: both ends in memory, OpenSSL's own client at the other one."""

from __future__ import annotations

import ssl
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg_runtime.certificates import LOCAL_NAMES, Authority
from azpg_runtime.postgres.front.tls import TlsChannel, server_context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    Authority(folder / "ca").certify(folder / "server.pem", subject="x", names=LOCAL_NAMES)
    return folder


class Pair:
    """A channel, and a client whose bytes reach it in pieces."""

    def __init__(
        self,
        folder: Path,
        *,
        alpn: list[str] | None = None,
        alpn_required: bool = False,
        version: ssl.TLSVersion | None = None,
    ) -> None:
        context = ssl.create_default_context(cafile=folder / "ca" / "ca.crt")
        if alpn is not None:
            context.set_alpn_protocols(alpn)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        self._to_client, self._to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self._to_client, self._to_server, server_hostname="localhost")
        self.channel = TlsChannel(server_context(folder / "server.pem"), alpn_required=alpn_required)

    def to_server(self, size: int = 2**20) -> bytes:
        """What the channel makes of everything the client has to send, `size` bytes at a time."""
        received = b""
        while data := self._to_server.read(size):
            received += self.channel.receive(data)
        self.to_client()
        return received

    def to_client(self) -> None:
        self._to_client.write(self.channel.outgoing())

    def shake_hands(self, size: int = 2**20) -> None:
        for _ in range(10):
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                assert self.to_server(size) == b""
            else:
                assert self.to_server(size) == b""
                return
        raise AssertionError("no end of the handshake")

    def read_all(self) -> bytes:
        received = b""
        try:
            while piece := self.client.read(2**16):
                received += piece
        except ssl.SSLWantReadError:
            pass
        return received


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 7, 2**20])
def test_words_in_both_directions(folder: Path, version: ssl.TLSVersion, size: int) -> None:
    pair = Pair(folder, version=version)
    pair.shake_hands(size)
    pair.client.write(b"hello")
    assert pair.to_server(size) == b"hello"
    pair.channel.send(b"welcome")
    pair.to_client()
    assert pair.read_all() == b"welcome"


@settings(deadline=None, max_examples=30)
@given(
    messages=st.lists(st.one_of(st.binary(max_size=50), st.integers(0, 70000).map(bytes)), max_size=8),
    size=st.integers(1, 40000),
)
def test_whatever_is_sent_arrives_whole(folder: Path, messages: list[bytes], size: int) -> None:
    pair = Pair(folder)
    pair.shake_hands()
    for message in messages:
        pair.client.write(message)
    assert pair.to_server(size) == b"".join(messages)
    for message in messages:
        pair.channel.send(message)
    pair.to_client()
    assert pair.read_all() == b"".join(messages)


def test_what_comes_with_the_end_of_the_handshake_is_not_lost(folder: Path) -> None:
    pair = Pair(folder)
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    pair.to_server()
    pair.client.do_handshake()
    pair.client.write(b"early")
    pair.client.write(b" and more")
    assert pair.to_server() == b"early and more"


def test_the_end_is_said_and_heard(folder: Path) -> None:
    pair = Pair(folder)
    pair.shake_hands()
    pair.client.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    assert not pair.channel.ended
    assert pair.to_server() == b"last"
    assert pair.channel.ended
    pair.channel.send(b"still talking")
    pair.channel.close()
    pair.to_client()
    with pytest.raises(ssl.SSLError, match=r"(?i)application data after close notify"):
        pair.client.unwrap()


def test_closing_is_heard(folder: Path) -> None:
    pair = Pair(folder)
    pair.shake_hands()
    pair.channel.send(b"last")
    pair.channel.close()
    pair.channel.close()
    pair.to_client()
    assert pair.client.read(100) == b"last"
    assert pair.client.read(100) == b""


def test_closing_before_the_handshake_is_harmless(folder: Path) -> None:
    pair = Pair(folder)
    pair.channel.close()


def client_hello(version: int) -> bytes:
    """What a client sends first that knows no newer TLS; today's libraries would refuse to be one."""
    ciphers = struct.pack("!5H", 0xC02B, 0xC02F, 0xC009, 0xC013, 0x002F)
    groups = struct.pack("!HHHHH", 10, 6, 4, 29, 23)
    points = struct.pack("!HHBB", 11, 2, 1, 0)
    body = struct.pack("!H32sB", version, bytes(32), 0) + struct.pack("!H", len(ciphers)) + ciphers
    body += b"\x01\x00" + struct.pack("!H", len(groups + points)) + groups + points
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return struct.pack("!BHH", 22, 0x0301, len(handshake)) + handshake


@pytest.mark.parametrize("version", [0x0301, 0x0302])
def test_older_versions_are_refused(folder: Path, version: int) -> None:
    channel = TlsChannel(server_context(folder / "server.pem"), alpn_required=False)
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        channel.receive(client_hello(version))
    assert channel.outgoing()[-2:] == bytes([2, 70]), "fatal, protocol_version"


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\x00\x05hello"])
def test_garbage_is_an_error_and_an_alert(folder: Path, garbage: bytes) -> None:
    channel = TlsChannel(server_context(folder / "server.pem"), alpn_required=False)
    with pytest.raises(ssl.SSLError):
        channel.receive(garbage)
    alert = channel.outgoing()
    assert alert[:1] in {b"\x15", b""}


def test_a_record_that_was_changed_on_the_way_is_an_error(folder: Path) -> None:
    pair = Pair(folder)
    pair.shake_hands()
    pair.client.write(b"hello")
    data = bytearray(pair._to_server.read())
    data[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        pair.channel.receive(bytes(data))


@pytest.mark.parametrize("alpn", [None, ["h2"], ["http/1.1", "h2"]])
def test_direct_tls_must_name_the_protocol(folder: Path, alpn: list[str] | None) -> None:
    pair = Pair(folder, alpn=alpn, alpn_required=True)
    with pytest.raises(ssl.SSLError, match=r"direct TLS without the protocol 'postgresql' in ALPN"):
        pair.shake_hands()


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("alpn", [["postgresql"], ["h2", "postgresql"]])
def test_the_protocol_is_agreed_on(folder: Path, alpn: list[str], required: bool) -> None:
    pair = Pair(folder, alpn=alpn, alpn_required=required)
    pair.shake_hands()
    assert pair.client.selected_alpn_protocol() == "postgresql"


def test_after_a_request_it_need_not_be_named(folder: Path) -> None:
    pair = Pair(folder)
    pair.shake_hands()
    assert pair.client.selected_alpn_protocol() is None
