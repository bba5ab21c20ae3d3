"""The wire protocol between the PostgreSQL shim and the model host, without any I/O.

A connection carries frames in both directions over a Unix stream socket. A frame is a header of 24
bytes and a body; every number is little-endian, every string is its length in bytes (``u32``) followed by
UTF-8.

======  ====  ==========================================================================
offset  type  header field
======  ====  ==========================================================================
0       u32   length of the body in bytes, at most `MAX_BODY`
4       u8    protocol version, `VERSION`
5       u8    kind of frame, see `Kind`
6       u16   reserved, 0
8       u64   request id, chosen by the client, repeated in the reply
16      i64   deadline: nanoseconds of CLOCK_MONOTONIC, 0 for none (always 0 in a reply)
======  ====  ==========================================================================

Each request has exactly one reply; replies to different requests of one connection may overtake each
other. To give a request up, the client closes the connection: the host then stops computing it.
A frame that breaks these rules ends the connection. Vectors travel as raw float32.

The C side of this module is ``runtime/shim/frame.c``; both are held to the same bytes by
``tests/unit/test_protocol.py``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

from azpg_runtime.errors import ProtocolError, RuntimeTwinError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

VERSION = 1
MAX_BODY = 64 * 1024 * 1024

_HEADER = struct.Struct("<IBBHQq")
HEADER_SIZE = _HEADER.size
_U32 = struct.Struct("<I")
_I64 = struct.Struct("<q")
_NOTHING = memoryview(b"")


class Kind(IntEnum):
    """What a frame asks for (below 128) or answers (128 and above)."""

    EMBED = 1
    """uri, u32 count, then that many texts: answered by VECTORS."""
    REGISTER = 2
    """uri, path, u8 1 and the tokenizer's path or u8 0: answered by INTEGER, the registration's id."""
    UNREGISTER = 3
    """uri: answered by DONE."""
    UNLOAD = 4
    """uri: answered by DONE."""
    LOADED = 5
    """uri: answered by BOOLEAN."""
    METADATA = 6
    """uri: answered by TEXT, a JSON object."""
    GET_SETTINGS = 7
    """u32 count, then that many keys, none for all: answered by TEXT, a JSON object of strings."""
    SET_SETTINGS = 8
    """u32 count, then that many pairs of key and value: answered by DONE."""
    STATUS = 9
    """Nothing: answered by TEXT, a JSON object about the host itself."""

    DEPLOY = 10
    """Pairs of a uri and a model's name in the store, registered in the background: answered by DONE."""

    VECTORS = 128
    """u32 count, u32 dimensions, then count x dimensions float32."""
    INTEGER = 129
    """i64."""
    BOOLEAN = 130
    """u8, 0 or 1."""
    TEXT = 131
    """A string."""
    DONE = 132
    """Nothing."""
    ERROR = 133
    """Five bytes of SQLSTATE, then message, detail and hint, the last two possibly empty."""


Body = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it travels; `body` is not looked into."""

    kind: Kind
    request_id: int
    body: Body
    deadline: int = 0

    def release(self) -> None:
        """Frees the body of a frame that was received, whoever still has the frame."""
        if isinstance(self.body, bytearray):
            self.body.clear()


class RemoteError(RuntimeTwinError):
    """An ERROR reply, with the host's own SQLSTATE."""

    def __init__(self, sqlstate: str, message: str, detail: str = "", hint: str = "") -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.sqlstate = sqlstate


class FrameDecoder:
    """Bytes in, frames out.

    A body grows as its bytes arrive, whatever its header promises, and is not copied again. Raises
    `ProtocolError` as soon as a header cannot be right; the decoder is of no use after that.
    """

    def __init__(self, *, max_body: int = MAX_BODY) -> None:
        self._rest = _NOTHING  # input that nobody has asked for yet
        self._header = bytearray()
        self._frame: Frame | None = None  # begun; its body is still growing
        self._length = 0  # of that body
        self._max_body = max_body

    @property
    def pending(self) -> int:
        """Bytes received of a frame that is not complete yet."""
        return len(self._header) if self._frame is None else HEADER_SIZE + len(self._frame.body)

    @property
    def announced(self) -> int:
        """Bytes in the body of a frame that is not complete yet; 0 between frames."""
        return 0 if self._frame is None else self._length

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yields each frame that `data` completes."""
        self._rest = memoryview(bytes(self._rest) + data if self._rest else data)
        while self._rest or self._frame is not None:
            if self._frame is None:
                self._header += self._next(HEADER_SIZE - len(self._header))
                if len(self._header) < HEADER_SIZE:
                    return
                self._frame, self._length = self._begin()
                self._header.clear()
            body = self._frame.body
            assert isinstance(body, bytearray)
            body += self._next(self._length - len(body))
            if len(body) < self._length:
                return
            frame, self._frame = self._frame, None
            yield frame

    def _next(self, most: int) -> memoryview:
        taken, rest = self._rest[:most], self._rest[most:]
        self._rest = rest if rest else _NOTHING  # which keeps no input alive
        return taken

    def _begin(self) -> tuple[Frame, int]:
        length, version, kind, reserved, request_id, deadline = _HEADER.unpack(self._header)
        if version != VERSION:
            raise ProtocolError(f"protocol version {version} is not {VERSION}")
        if reserved != 0:
            raise ProtocolError(f"reserved header field is {reserved}, not 0")
        if length > self._max_body:
            raise ProtocolError(f"frame of {length} bytes is over the limit of {self._max_body}")
        try:
            known = Kind(kind)
        except ValueError:
            raise ProtocolError(f"frame kind {kind} is unknown") from None
        return Frame(known, request_id, bytearray(), deadline), length


def encode_header(frame: Frame) -> bytes:
    """The bytes that go before the body of `frame`. Raises `ProtocolError` for a body over `MAX_BODY`."""
    if len(frame.body) > MAX_BODY:
        raise ProtocolError(f"frame of {len(frame.body)} bytes is over the limit of {MAX_BODY}")
    return _HEADER.pack(len(frame.body), VERSION, frame.kind, 0, frame.request_id, frame.deadline)


def encode(frame: Frame) -> bytes:
    """The bytes of `frame`. Raises as `encode_header`."""
    return encode_header(frame) + frame.body


class Reader:
    """Reads the fields of a body from front to back; every read past its end raises `ProtocolError`."""

    def __init__(self, body: Body) -> None:
        self._view = memoryview(body)
        self._at = 0

    def _take(self, size: int) -> memoryview:
        end = self._at + size
        if end > len(self._view):
            raise ProtocolError(f"body ends {end - len(self._view)} bytes early")
        piece = self._view[self._at : end]
        self._at = end
        return piece

    def u8(self) -> int:
        """One byte."""
        return self._take(1)[0]

    def u32(self) -> int:
        """Four bytes."""
        return int(_U32.unpack(self._take(4))[0])

    def i64(self) -> int:
        """Eight bytes, signed."""
        return int(_I64.unpack(self._take(8))[0])

    def string(self) -> str:
        """A length and that much UTF-8."""
        raw = self._take(self.u32())
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError as error:
            raise ProtocolError(f"a string is not UTF-8: {error.reason} at byte {error.start}") from None

    def count(self) -> int:
        """The number of strings that follow."""
        count = self.u32()
        if count > len(self._view) // 4:  # each costs four bytes at least
            raise ProtocolError(f"{count} strings cannot be in {len(self._view)} bytes")
        return count

    def strings(self) -> list[str]:
        """A count and that many strings."""
        return [self.string() for _ in range(self.count())]

    def raw(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        return bytes(self._take(size))

    def done(self) -> None:
        """Ends the reading; refuses bytes that nothing asked for."""
        rest = len(self._view) - self._at
        self._view.release()
        if rest:
            raise ProtocolError(f"body is {rest} bytes too long")


def pack_string(text: str) -> bytes:
    """A length and the UTF-8 of `text`."""
    raw = text.encode()
    return _U32.pack(len(raw)) + raw


def pack_strings(texts: Sequence[str]) -> bytes:
    """A count and each string."""
    return _U32.pack(len(texts)) + b"".join(map(pack_string, texts))


# Requests, as bodies.


@dataclass(frozen=True, slots=True)
class Embed:
    """Body of `Kind.EMBED`."""

    uri: str
    texts: list[str]

    def pack(self) -> bytes:
        """The body's bytes."""
        return pack_string(self.uri) + pack_strings(self.texts)

    @classmethod
    def unpack(cls, body: Body) -> Embed:
        """The reverse of `pack`."""
        uri, _, texts = read_embed(body)
        return cls(uri, list(texts))


def read_embed(body: Body) -> tuple[str, int, Iterator[str]]:
    """The URI of `Kind.EMBED`, how many texts there are, and the texts, each read when it is asked for."""
    reader = Reader(body)
    uri, count = reader.string(), reader.count()

    def texts() -> Iterator[str]:
        for _ in range(count):
            yield reader.string()
        reader.done()

    return uri, count, texts()


def most_texts(dimensions: int) -> int:
    """How many vectors one reply can carry."""
    return (MAX_BODY - 2 * _U32.size) // (4 * dimensions)


@dataclass(frozen=True, slots=True)
class Register:
    """Body of `Kind.REGISTER`."""

    uri: str
    path: str
    tokenizer: str | None = None

    def pack(self) -> bytes:
        """The body's bytes."""
        tail = b"\0" if self.tokenizer is None else b"\1" + pack_string(self.tokenizer)
        return pack_string(self.uri) + pack_string(self.path) + tail

    @classmethod
    def unpack(cls, body: Body) -> Register:
        """The reverse of `pack`."""
        reader = Reader(body)
        uri, path = reader.string(), reader.string()
        tokenizer = reader.string() if _flag(reader.u8()) else None
        reader.done()
        return cls(uri, path, tokenizer)


def pack_pairs(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Body of `Kind.SET_SETTINGS`."""
    return _U32.pack(len(pairs)) + b"".join(pack_string(k) + pack_string(v) for k, v in pairs)


def unpack_pairs(body: Body) -> list[tuple[str, str]]:
    """The reverse of `pack_pairs`."""
    reader = Reader(body)
    count = reader.u32()
    if count > len(body) // 8:
        raise ProtocolError(f"{count} pairs cannot be in {len(body)} bytes")
    pairs = [(reader.string(), reader.string()) for _ in range(count)]
    reader.done()
    return pairs


def unpack_string(body: Body) -> str:
    """A body that is one string."""
    reader = Reader(body)
    text = reader.string()
    reader.done()
    return text


def unpack_strings(body: Body) -> list[str]:
    """A body that is a count and strings."""
    reader = Reader(body)
    texts = reader.strings()
    reader.done()
    return texts


# Replies.


def _flag(value: int) -> bool:
    if value not in {0, 1}:
        raise ProtocolError(f"a flag is {value}, neither 0 nor 1")
    return value == 1


def vectors(request_id: int, count: int, dimensions: int) -> tuple[Frame, npt.NDArray[np.float32]]:
    """A VECTORS reply, and the matrix (count, dimensions) inside it, which is still to be filled."""
    import numpy as np  # noqa: PLC0415 - a third of what `azpg status` takes, which asks for no vectors

    shape = _U32.pack(count) + _U32.pack(dimensions)
    body = np.empty(len(shape) + 4 * count * dimensions, dtype=np.uint8)
    body[: len(shape)] = np.frombuffer(shape, dtype=np.uint8)
    matrix = body[len(shape) :].view("<f4").reshape(count, dimensions)
    return Frame(Kind.VECTORS, request_id, body.data), matrix


def integer(request_id: int, value: int) -> Frame:
    """An INTEGER reply."""
    return Frame(Kind.INTEGER, request_id, _I64.pack(value))


def boolean(request_id: int, value: bool) -> Frame:
    """A BOOLEAN reply."""
    return Frame(Kind.BOOLEAN, request_id, bytes([value]))


def text(request_id: int, value: str) -> Frame:
    """A TEXT reply."""
    return Frame(Kind.TEXT, request_id, pack_string(value))


def done(request_id: int) -> Frame:
    """A DONE reply."""
    return Frame(Kind.DONE, request_id, b"")


def error(request_id: int, failure: RuntimeTwinError) -> Frame:
    """An ERROR reply."""
    state = failure.sqlstate.encode("ascii")
    texts = (failure.message, failure.detail, failure.hint)
    # A path that is not UTF-8 reaches Python with lone surrogates, which nothing can encode.
    parts = (pack_string(part.encode(errors="backslashreplace").decode()) for part in texts)
    return Frame(Kind.ERROR, request_id, state + b"".join(parts))


Reply: TypeAlias = "npt.NDArray[np.float32] | int | bool | str | None"


def unpack_reply(frame: Frame) -> Reply:
    """What a reply says: a matrix, a number, a flag, a text or, for DONE, None.

    Raises `RemoteError` for an ERROR reply and `ProtocolError` for a frame that is no reply.
    """
    reader = Reader(frame.body)
    value: Reply = None
    match frame.kind:
        case Kind.VECTORS:
            import numpy as np  # noqa: PLC0415 - as above

            count, dimensions = reader.u32(), reader.u32()
            raw = reader.raw(4 * count * dimensions)
            value = np.frombuffer(raw, dtype="<f4").reshape(count, dimensions)
        case Kind.INTEGER:
            value = reader.i64()
        case Kind.BOOLEAN:
            value = _flag(reader.u8())
        case Kind.TEXT:
            value = reader.string()
        case Kind.DONE:
            pass
        case Kind.ERROR:
            state = reader.raw(5)
            if not state.isalnum():
                raise ProtocolError(f"SQLSTATE {state!r} is not five letters or digits")
            message, detail, hint = reader.string(), reader.string(), reader.string()
            reader.done()
            raise RemoteError(state.decode("ascii"), message, detail, hint)
        case _:
            raise ProtocolError(f"{frame.kind.name} is no reply")
    reader.done()
    return value
