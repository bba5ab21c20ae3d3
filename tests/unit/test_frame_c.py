"""The C codec of the shim and the Python codec of the host agree byte for byte."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpg_runtime.errors import ModelNotFound
from azpg_runtime.host import protocol

SHIM = Path(__file__).parents[2] / "runtime" / "shim"
CC = shutil.which("cc") or "cc"


class Header(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_uint32),
        ("kind", ctypes.c_uint8),
        ("request_id", ctypes.c_uint64),
        ("deadline", ctypes.c_int64),
    )


class Writer(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.POINTER(ctypes.c_uint8)),
        ("length", ctypes.c_size_t),
        ("capacity", ctypes.c_size_t),
        ("grow", ctypes.c_void_p),
        ("failed", ctypes.c_bool),
    )


class Reader(ctypes.Structure):
    _fields_ = (("at", ctypes.c_void_p), ("end", ctypes.c_void_p), ("failed", ctypes.c_bool))


class String(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_void_p), ("length", ctypes.c_size_t))

    def text(self) -> str:
        return ctypes.string_at(self.bytes, self.length).decode()


class Error(ctypes.Structure):
    _fields_ = (
        ("sqlstate", ctypes.c_char * 6),
        ("message", String),
        ("detail", String),
        ("hint", String),
    )


class Codec:
    """frame.c, called as the shim calls it."""

    def __init__(self, library: Path) -> None:
        self._c = ctypes.CDLL(str(library))
        self._libc = ctypes.CDLL(None)
        self._libc.free.argtypes = [ctypes.c_void_p]
        self._c.frame_put_string.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        self._c.frame_put_u32.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        self._c.frame_put_u8.argtypes = [ctypes.c_void_p, ctypes.c_uint8]
        self._c.frame_finish.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_int64]
        self._c.frame_finish.restype = ctypes.c_bool
        self._c.frame_get_vectors.restype = ctypes.c_void_p
        self._c.frame_get_i64.restype = ctypes.c_int64
        self._c.frame_get_string.restype = String
        for name in ("frame_done", "frame_get_error", "frame_get_boolean"):
            getattr(self._c, name).restype = ctypes.c_bool

    def write(
        self, kind: protocol.Kind, request_id: int, deadline: int, *fields: bytes | int | bool
    ) -> bytes | None:
        """A frame of strings, u32 and u8 (given as bool); None where the C side refuses."""
        writer = Writer()
        it = ctypes.byref(writer)
        self._c.frame_begin(it, ctypes.cast(self._libc.realloc, ctypes.c_void_p))
        for field in fields:
            if isinstance(field, bytes):
                self._c.frame_put_string(it, field, len(field))
            elif isinstance(field, bool):
                self._c.frame_put_u8(it, field)
            else:
                self._c.frame_put_u32(it, field)
        finished = self._c.frame_finish(it, kind, request_id, deadline)
        frame = ctypes.string_at(writer.data, writer.length) if finished else None
        self._libc.free(writer.data)
        return frame

    def header(self, frame: bytes) -> tuple[int, Header]:
        """The fault (0 for none) and the header of a frame."""
        header = Header()
        return self._c.frame_decode_header(frame[: protocol.HEADER_SIZE], ctypes.byref(header)), header

    def vectors(self, body: bytes) -> np.ndarray | None:
        """What a VECTORS body holds; None where the C side refuses."""
        count, dimensions = ctypes.c_uint32(), ctypes.c_uint32()
        with _reading(self._c, body) as reader:
            at = self._c.frame_get_vectors(reader, ctypes.byref(count), ctypes.byref(dimensions))
            if at is None:
                return None
            raw = ctypes.string_at(at, 4 * count.value * dimensions.value)
        return np.frombuffer(raw, dtype="<f4").reshape(count.value, dimensions.value)

    def error(self, body: bytes) -> tuple[str, str, str, str] | None:
        """SQLSTATE, message, detail and hint; None where the C side refuses."""
        error = Error()
        with _reading(self._c, body) as reader:
            if not self._c.frame_get_error(reader, ctypes.byref(error)):
                return None
            return error.sqlstate.decode(), error.message.text(), error.detail.text(), error.hint.text()

    def integer(self, body: bytes) -> int | None:
        with _reading(self._c, body) as reader:
            value = int(self._c.frame_get_i64(reader))
            return value if self._c.frame_done(reader) else None

    def boolean(self, body: bytes) -> bool | None:
        value = ctypes.c_bool()
        with _reading(self._c, body) as reader:
            return value.value if self._c.frame_get_boolean(reader, ctypes.byref(value)) else None

    def text(self, body: bytes) -> str | None:
        with _reading(self._c, body) as reader:
            string: String = self._c.frame_get_string(reader)
            return string.text() if self._c.frame_done(reader) else None


@contextmanager
def _reading(library: ctypes.CDLL, body: bytes) -> Iterator[object]:
    reader = Reader()
    kept = ctypes.create_string_buffer(body, len(body) + 1)
    library.frame_read(ctypes.byref(reader), kept, ctypes.c_size_t(len(body)))
    yield ctypes.byref(reader)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    library = tmp_path_factory.mktemp("frame") / "frame.so"
    flags = ["-std=c11", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([CC, *flags, "-o", library, SHIM / "frame.c"], check=True)
    return Codec(library)


texts = st.text(st.characters(codec="utf-8"), max_size=40)
ids = st.integers(0, 2**64 - 1)
deadlines = st.integers(-(2**63), 2**63 - 1)


@given(uri=texts, inputs=st.lists(texts, max_size=8), request_id=ids, deadline=deadlines)
def test_embed(codec: Codec, uri: str, inputs: list[str], request_id: int, deadline: int) -> None:
    packed = protocol.Embed(uri, inputs).pack()
    frame = protocol.encode(protocol.Frame(protocol.Kind.EMBED, request_id, packed, deadline))
    encoded = [text.encode() for text in inputs]
    written = codec.write(protocol.Kind.EMBED, request_id, deadline, uri.encode(), len(inputs), *encoded)
    assert written == frame
    fault, header = codec.header(frame)
    assert (fault, header.length, header.kind) == (0, len(packed), protocol.Kind.EMBED)
    assert (header.request_id, header.deadline) == (request_id, deadline)


@pytest.mark.parametrize("tokenizer", [None, "", "tokenizer.json"])
def test_register(codec: Codec, tokenizer: str | None) -> None:
    packed = protocol.Register("m:v1", "mödel", tokenizer).pack()
    tail: tuple[bytes | bool, ...] = (False,) if tokenizer is None else (True, tokenizer.encode())
    written = codec.write(protocol.Kind.REGISTER, 1, 2, b"m:v1", "mödel".encode(), *tail)
    assert written == protocol.encode(protocol.Frame(protocol.Kind.REGISTER, 1, packed, 2))


def test_settings(codec: Codec) -> None:
    packed = protocol.pack_pairs([("a", "1"), ("b", "")])
    written = codec.write(protocol.Kind.SET_SETTINGS, 1, 0, 2, b"a", b"1", b"b", b"")
    assert written == protocol.encode(protocol.Frame(protocol.Kind.SET_SETTINGS, 1, packed))


def test_body_over_the_limit(codec: Codec) -> None:
    assert codec.write(protocol.Kind.EMBED, 1, 0, bytes(protocol.MAX_BODY - 4)) is not None
    assert codec.write(protocol.Kind.EMBED, 1, 0, bytes(protocol.MAX_BODY - 3)) is None


def test_kinds(codec: Codec) -> None:
    frame = bytearray(protocol.encode(protocol.done(1)))
    known = set()
    for kind in range(256):
        frame[5] = kind
        if codec.header(bytes(frame))[0] == 0:
            known.add(kind)
    assert known == set(protocol.Kind)


@pytest.mark.parametrize(("offset", "value"), [(4, 2), (6, 1), (7, 1), (3, 255)])
def test_bad_headers(codec: Codec, offset: int, value: int) -> None:
    bad = bytearray(protocol.encode(protocol.done(1)))
    bad[offset] = value
    assert codec.header(bytes(bad))[0] != 0


@pytest.mark.parametrize("shape", [(0, 1), (1, 1), (1, 384), (3, 5)])
def test_vectors(codec: Codec, shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    reply, inside = protocol.vectors(1, *shape)
    inside[:] = matrix
    body = bytes(reply.body)
    read = codec.vectors(body)
    assert read is not None
    np.testing.assert_array_equal(read, matrix)
    assert codec.vectors(body + b"\0") is None
    assert codec.vectors(body[:-1]) is None


@pytest.mark.parametrize("dimensions", [0, 65537])
def test_dimensions_out_of_range(codec: Codec, dimensions: int) -> None:
    reply, inside = protocol.vectors(1, 1, dimensions)
    inside.fill(0)
    assert codec.vectors(bytes(reply.body)) is None


def test_other_replies(codec: Codec) -> None:
    assert codec.integer(protocol.integer(1, -(2**63)).body) == -(2**63)
    assert codec.boolean(protocol.boolean(1, True).body) is True
    assert codec.boolean(protocol.boolean(1, False).body) is False
    assert codec.boolean(b"\2") is None
    assert codec.text(protocol.text(1, "grüße").body) == "grüße"
    assert codec.text(b"\5\0\0\0abcd") is None


@given(message=texts, detail=texts, hint=texts)
def test_error(codec: Codec, message: str, detail: str, hint: str) -> None:
    body = protocol.error(1, ModelNotFound(message, detail=detail, hint=hint)).body
    assert codec.error(body) == ("42704", message, detail, hint)
    assert codec.error(body[:-1]) is None
    assert codec.error(body + b"\0") is None


@pytest.mark.parametrize("state", [b"00000", b"4270a", b"4 704"])
def test_sqlstates_that_are_none(codec: Codec, state: bytes) -> None:
    assert codec.error(state + bytes(12)) is None


def test_arbitrary_bytes_under_sanitizers(tmp_path: Path) -> None:
    driver = tmp_path / "frame_fuzz"
    flags = ["-std=c11", "-g", "-O1", "-DFRAME_FUZZ_MAIN", "-fsanitize=address,undefined"]
    sources = [SHIM / "fuzz" / "frame_fuzz.c", SHIM / "frame.c"]
    built = subprocess.run(
        [CC, *flags, "-fno-sanitize-recover=all", f"-I{SHIM}", "-o", driver, *sources],
        check=False,
        capture_output=True,
        text=True,
    )
    if built.returncode != 0 and "cannot find" in built.stderr:
        pytest.skip("the compiler comes without sanitizers")
    assert built.returncode == 0, built.stderr
    subprocess.run([driver, "-runs=100000", "-seed=7"], check=True, stdout=subprocess.DEVNULL)
