"""A model host that does not keep to the protocol, or says nothing: what a session gets to see of it.

An imitation of the host listens on the host's own socket; PostgreSQL and the extension are the real ones.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from azpg_runtime.errors import RuntimeTwinError
from azpg_runtime.host import protocol
from azpg_runtime.host.protocol import Frame, FrameDecoder, Kind
from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.calls import Connection, embeds, host_control, new_twin, postmaster, running
from tests.support.servers import Server

pytestmark = [pytest.mark.every_major, pytest.mark.vector]

Answer = Callable[[Frame], bytes | None]
"""From a request to the bytes that go back; None ends the connection."""


class Imitation:
    """A server on the model host's socket that answers as it is told."""

    def __init__(self, instance: Instance) -> None:
        path = instance.home.host_socket
        owner = path.stat().st_uid
        host_control(instance).stop()
        self.answer: Answer = proper
        self.silent = threading.Event()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        os.chown(path, owner, -1)
        self._listener.listen(16)
        self._start(self._accept)

    def _start(self, what: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=what, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        decoder = FrameDecoder()
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(65536):
                for request in decoder.feed(data):
                    answer = self.answer(request)
                    if answer is None:
                        return
                    if not answer:
                        self.silent.set()
                    connection.sendall(answer)

    def close(self) -> None:
        """Leaves, so that the real host can have the socket's place."""
        for one in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(timeout=30)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def instance(postgres_server: Server, minilm: StoredModel) -> Iterator[Instance]:
    with new_twin(postgres_server) as instance:
        yield instance


@pytest.fixture(scope="module")
def imitation(instance: Instance) -> Iterator[Imitation]:
    """In the place of the model host as long as these tests run; the real one is back afterwards."""
    server = postmaster(instance)
    with instance.connect(autocommit=True) as session:
        assert embeds(session)
        imitation = Imitation(instance)
        try:
            yield imitation
            imitation.answer = lambda _: b"garbage, as the last thing that this session gets"
            assert refused(session, EMBED).sqlstate == "08P01"
        finally:
            imitation.close()
        assert instance.up()
        assert embeds(session), "the real host is back"
    assert postmaster(instance) == server


@pytest.fixture
def session(instance: Instance, imitation: Imitation) -> Iterator[Connection]:
    """A session that worked until now, and has to work again when the host does."""
    imitation.answer = proper
    imitation.silent.clear()
    server = postmaster(instance)
    with instance.connect(autocommit=True) as session:
        assert embeds(session)
        yield session
        imitation.answer = proper
        assert embeds(session)
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert postmaster(instance) == server


EMBED = f"SELECT azure_local_ai.create_embeddings('{URI}', 'a text', timeout_ms => 60000)"
BRIEF = f"SELECT azure_local_ai.create_embeddings('{URI}', 'a text', timeout_ms => 200)"
ONE_BY_ONE = (
    f"SELECT count(*) FROM azure_local_ai.create_embeddings('{URI}', ARRAY['a', 'b', 'c'], batch_size => 1)"
)
REGISTER = f"SELECT azure_local_ai.model_register('{URI}', 'a path')"
UNLOAD = f"SELECT azure_local_ai.model_unload('{URI}')"
LOADED = f"SELECT azure_local_ai.model_loaded('{URI}')"
METADATA = f"SELECT azure_local_ai.model_metadata('{URI}')"
SETTING = "SELECT azure_local_ai.get_setting('spin_control')"
SETTINGS = "SELECT azure_local_ai.get_setting()"


def refused(session: Connection, query: str) -> psycopg.errors.Diagnostic:
    with pytest.raises(psycopg.Error) as caught:
        session.execute(query)
    return caught.value.diag


def proper(request: Frame) -> bytes:
    """The reply of a host as it should be."""
    assert request.kind is Kind.EMBED
    _, count, _ = protocol.read_embed(request.body)
    reply, matrix = protocol.vectors(request.request_id, count, 384)
    matrix.fill(0)
    return protocol.encode(reply)


def bytes_of(request: Frame, kind: int, body: bytes, **header: int) -> bytes:
    """A frame, of which each field of the header may be wrong."""
    field = {
        "length": len(body),
        "version": protocol.VERSION,
        "reserved": 0,
        "id": request.request_id,
    } | header
    return (
        struct.pack("<IBBHQq", field["length"], field["version"], kind, field["reserved"], field["id"], 0)
        + body
    )


def vectors(count: int, dimensions: int, floats: int) -> bytes:
    return struct.pack("<II", count, dimensions) + bytes(4 * floats)


def error(state: bytes, message: bytes = b"so it is", detail: bytes = b"", hint: bytes = b"") -> bytes:
    return state + b"".join(struct.pack("<I", len(part)) + part for part in (message, detail, hint))


VECTORS, INTEGER, BOOLEAN, TEXT, DONE, ERROR = 128, 129, 130, 131, 132, 133

MALFORMED: dict[str, tuple[str, Answer, str]] = {
    "garbage": (EMBED, lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", "its protocol version is another one"),
    "version": (EMBED, lambda r: bytes_of(r, DONE, b"", version=2), "its protocol version is another one"),
    "reserved": (EMBED, lambda r: bytes_of(r, DONE, b"", reserved=1), "its reserved header field is not 0"),
    "oversized": (
        EMBED,
        lambda r: bytes_of(r, VECTORS, b"", length=protocol.MAX_BODY + 1),
        "it is over the size limit",
    ),
    "largest number": (
        EMBED,
        lambda r: bytes_of(r, TEXT, b"", length=2**32 - 1),
        "it is over the size limit",
    ),
    "unknown kind": (EMBED, lambda r: bytes_of(r, 77, b""), "its kind is unknown"),
    "a request": (EMBED, lambda r: bytes_of(r, Kind.STATUS, b""), "it is a request"),
    "another id": (
        EMBED,
        lambda r: bytes_of(r, VECTORS, vectors(1, 384, 384), id=r.request_id + 1),
        "it answers no request",
    ),
    "answered twice": (
        ONE_BY_ONE,
        lambda r: 3 * bytes_of(r, VECTORS, vectors(1, 384, 384)),
        "it answers no request",
    ),
    "one answer too many": (
        EMBED,
        lambda r: proper(r) + bytes_of(r, DONE, b"", id=r.request_id + 1),
        "it answers no request",
    ),
    "another kind": (
        EMBED,
        lambda r: bytes_of(r, DONE, b""),
        "it is of another kind than the request asks for",
    ),
    "truncated vector": (
        EMBED,
        lambda r: bytes_of(r, VECTORS, vectors(1, 384, 383)),
        "its vectors do not fill",
    ),
    "too long": (
        EMBED,
        lambda r: bytes_of(r, VECTORS, vectors(1, 384, 385)),
        "its vectors do not fill its body",
    ),
    "no body": (EMBED, lambda r: bytes_of(r, VECTORS, b""), "its vectors do not fill its body"),
    "no dimensions": (
        EMBED,
        lambda r: bytes_of(r, VECTORS, vectors(1, 0, 0)),
        "its vectors do not fill its body",
    ),
    "no vector": (
        EMBED,
        lambda r: bytes_of(r, VECTORS, vectors(0, 384, 0)),
        "it has another number of vectors",
    ),
    "two vectors": (
        EMBED,
        lambda r: bytes_of(r, VECTORS, vectors(2, 384, 768)),
        "it has another number of vectors",
    ),
    "huge numbers": (
        EMBED,
        lambda r: bytes_of(r, VECTORS, vectors(2**31, 2**16, 1)),
        "its vectors do not fill its body",
    ),
    "another dimension": (
        ONE_BY_ONE,
        lambda r: bytes_of(r, VECTORS, vectors(1, 3 + r.request_id % 2, 3 + r.request_id % 2)),
        "its vectors have another dimension than those before",
    ),
    "half a number": (
        REGISTER,
        lambda r: bytes_of(r, INTEGER, bytes(4)),
        "its number does not fill its body",
    ),
    "no flag": (LOADED, lambda r: bytes_of(r, BOOLEAN, b"\2"), "its flag is neither 0 nor 1"),
    "done with a body": (UNLOAD, lambda r: bytes_of(r, DONE, b"x"), "it has a body"),
    "half a text": (METADATA, lambda r: bytes_of(r, TEXT, b"\7\0\0\0{}"), "its text does not fill its body"),
    "no JSON": (METADATA, lambda r: bytes_of(r, TEXT, protocol.pack_string("{")), "its text is not JSON"),
    "settings that are no JSON": (
        SETTINGS,
        lambda r: bytes_of(r, TEXT, protocol.pack_string("spin")),
        "its text is not JSON",
    ),
    "settings that are no object": (
        SETTING,
        lambda r: bytes_of(r, TEXT, protocol.pack_string('["spin_control"]')),
        "its settings are not a JSON object",
    ),
    "a setting that is no text": (
        SETTING,
        lambda r: bytes_of(r, TEXT, protocol.pack_string('{"spin_control": true}')),
        "a setting is not a JSON string",
    ),
    "not UTF-8": (METADATA, lambda r: bytes_of(r, TEXT, b"\2\0\0\0\xff\xfe"), "its text is not UTF-8"),
    "zero byte": (METADATA, lambda r: bytes_of(r, TEXT, b"\3\0\0\0{}\0"), "its text is not UTF-8"),
    "success as an error": (EMBED, lambda r: bytes_of(r, ERROR, error(b"00000")), "its error cannot be read"),
    "lower-case state": (EMBED, lambda r: bytes_of(r, ERROR, error(b"xx000")), "its error cannot be read"),
    "binary state": (EMBED, lambda r: bytes_of(r, ERROR, error(b"42\0\xff1")), "its error cannot be read"),
    "half a state": (EMBED, lambda r: bytes_of(r, ERROR, b"420"), "its error cannot be read"),
    "error without hint": (
        EMBED,
        lambda r: bytes_of(r, ERROR, error(b"42704")[:-4]),
        "its error cannot be read",
    ),
    "error not UTF-8": (
        EMBED,
        lambda r: bytes_of(r, ERROR, error(b"42704", b"\xff")),
        "its text is not UTF-8",
    ),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_reply_ends_its_statement_and_no_more(
    session: Connection, imitation: Imitation, fault: str
) -> None:
    query, imitation.answer, what = MALFORMED[fault]
    said = refused(session, query)
    assert said.sqlstate == "08P01"
    function = query.partition("azure_local_ai.")[2].partition("(")[0]
    prefix = f"azure_local_ai.{function}: the model host sent a malformed reply: {what}"
    assert (said.message_primary or "").startswith(prefix)
    assert "different versions of azpg" in (said.message_hint or "")


@pytest.mark.parametrize("state", ["ZZ999", "01000", "02000", "P0001", "54000"])
def test_any_sqlstate_of_an_error_is_passed_on(session: Connection, imitation: Imitation, state: str) -> None:
    failure = RuntimeTwinError("too\nmuch 日本 %s %n", detail="100 %", hint="Use %d less.")
    failure.sqlstate = state
    imitation.answer = lambda r: protocol.encode(protocol.error(r.request_id, failure))
    said = refused(session, EMBED)
    assert said.sqlstate == state
    assert said.severity == "ERROR"
    assert said.message_primary == "azure_local_ai.create_embeddings: too\nmuch 日本 %s %n"
    assert (said.message_detail, said.message_hint) == ("100 %", "Use %d less.")


@pytest.mark.parametrize(
    "answer",
    [
        lambda r: None,
        lambda r: bytes_of(r, VECTORS, vectors(1, 384, 384))[:10],
        lambda r: bytes_of(r, VECTORS, vectors(1, 384, 384))[:1000],
        lambda r: bytes_of(r, VECTORS, b"", length=protocol.MAX_BODY),
    ],
    ids=["nothing", "half a header", "half a frame", "the largest frame"],
)
def test_a_host_that_leaves_before_its_answer_is_whole(
    session: Connection, imitation: Imitation, answer: Answer
) -> None:
    sent = threading.Event()

    def answer_and_leave(request: Frame) -> bytes | None:
        first = not sent.is_set()
        sent.set()
        return answer(request) if first else None

    # The second request finds the connection's end.
    imitation.answer = answer_and_leave
    said = refused(session, ONE_BY_ONE)
    assert said.sqlstate == "08006"
    assert said.message_primary == (
        "azure_local_ai.create_embeddings: the model host ended the connection before it answered"
    )
    assert "azpg status" in (said.message_hint or "")


SILENT: dict[str, Answer] = {
    "nothing": lambda r: b"",
    "half a header": lambda r: bytes_of(r, VECTORS, vectors(1, 384, 384))[:10],
    "half a frame": lambda r: bytes_of(r, VECTORS, vectors(1, 384, 384))[:1000],
    "the largest frame": lambda r: bytes_of(r, VECTORS, b"", length=protocol.MAX_BODY),
}


@pytest.mark.parametrize("fault", SILENT)
def test_a_host_that_never_answers(session: Connection, imitation: Imitation, fault: str) -> None:
    imitation.answer = SILENT[fault]
    said = refused(session, BRIEF)
    assert said.sqlstate == "57014"
    assert said.message_primary == (
        "azure_local_ai.create_embeddings: timed out after 200 ms, without a word from the model host"
    )
    assert "azpg status" in (said.message_hint or "")
    session.execute("SET statement_timeout = 200")
    said = refused(session, EMBED)
    assert (said.sqlstate, said.message_primary) == ("57014", "canceling statement due to statement timeout")
    session.execute("RESET statement_timeout")


def test_a_call_to_a_host_that_never_answers_can_be_cancelled(
    session: Connection, instance: Instance, imitation: Imitation
) -> None:
    imitation.answer = SILENT["nothing"]
    with running(instance, EMBED, (), answers=False) as call:
        assert imitation.silent.wait(timeout=30)
        call.connection.cancel_safe()
        assert call.error().sqlstate == "57014"


def test_what_comes_after_an_answer_is_not_taken_for_the_next(
    session: Connection, imitation: Imitation
) -> None:
    imitation.answer = lambda r: proper(r) + b"\0"
    assert embeds(session)
    assert embeds(session)


def test_an_error_leaves_no_answer_of_its_statement_behind(session: Connection, imitation: Imitation) -> None:
    """Two requests are in flight; the second one's answer comes when its statement has failed."""

    def answer(request: Frame) -> bytes:
        if request.request_id % 2:
            return proper(request)
        return protocol.encode(protocol.error(request.request_id, RuntimeTwinError("no")))

    imitation.answer = answer
    for _ in range(5):
        assert refused(session, ONE_BY_ONE).sqlstate == "XX000"
    imitation.answer = proper
    assert session.execute(ONE_BY_ONE).fetchone() == (3,)
