"""The model host's server over a real socket, with the real service and the real model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from azpg_runtime.embedding import Embedder
from azpg_runtime.embedding.tokenizer import Tokenizer
from azpg_runtime.errors import EmbeddingCancelled, HostError
from azpg_runtime.host import protocol
from azpg_runtime.host import server as server_module
from azpg_runtime.host import service as service_module
from azpg_runtime.host.client import HostClient, host_status
from azpg_runtime.host.protocol import Embed, Frame, FrameDecoder, Kind, Register, RemoteError
from azpg_runtime.host.room import Place, Room
from azpg_runtime.host.server import Connection, serve
from azpg_runtime.host.service import Service
from azpg_runtime.models import ModelStore, Registry, StoredModel
from azpg_runtime.system.memory import default_limit
from azpg_runtime.system.peers import peer_uid
from azpg_runtime.wait import wait_for
from tests.conftest import MODEL, URI
from tests.unit import tiny

PATIENCE = 120.0
OURS = frozenset({os.geteuid()})
MANY = ["many words here " * 100] * 3000
"""Minutes of work."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="azpg-"))
    yield folder
    shutil.rmtree(folder)


def new_service(folder: Path, store: ModelStore) -> Service:
    models = folder / "models"
    models.mkdir(exist_ok=True)
    return Service(store=store, folder=folder / "host", models_folder=models)


class Host:
    """A host on an event loop of its own thread."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.socket = folder / "host.sock"
        self.models = folder / "models"
        self.loop = asyncio.new_event_loop()
        self.connections: set[Connection] = set()
        self.uids = OURS
        self._thread = threading.Thread(target=self.loop.run_forever, name="host")
        self._thread.start()
        self._server = self.do(self._listen())

    async def _listen(self) -> asyncio.Server:
        return await self.loop.create_unix_server(
            lambda: Connection(self.service, allowed_uids=self.uids, open_connections=self.connections),
            str(self.socket),
        )

    def do(self, what: Awaitable[Any]) -> Any:
        async def wrapped() -> Any:
            return await what

        return asyncio.run_coroutine_threadsafe(wrapped(), self.loop).result(PATIENCE)

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            for connection in list(self.connections):
                connection.abort()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.do(end())
        self.service.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def client(self) -> HostClient:
        return HostClient(self.socket, timeout=PATIENCE)

    @property
    def counters(self) -> dict[str, int]:
        with self.client() as client:
            counters: dict[str, int] = client.status()["counters"]
            return counters

    @property
    def working(self) -> bool:
        """Whether a request is under way that is not `STATUS`, which has come and gone."""
        return any(one._tasks for one in list(self.connections))

    @property
    def idle(self) -> bool:
        return not self.service._under_way and not self.working


@pytest.fixture(scope="module")
def host(folder: Path, model_store: ModelStore) -> Iterator[Host]:
    host = Host(new_service(folder, model_store), folder)
    try:
        with host.client() as client:
            client.request(Kind.REGISTER, Register(URI, MODEL).pack())
        yield host
    finally:
        host.close()


@pytest.fixture
def client(host: Host) -> Iterator[HostClient]:
    with host.client() as client:
        yield client


@pytest.fixture
def raw(host: Host) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE)
        raw.connect(str(host.socket))
        yield raw


def replies(raw: socket.socket, count: int) -> list[Frame]:
    decoder, found = FrameDecoder(), []
    while len(found) < count:
        data = raw.recv(65536)
        assert data, "the host ended the connection"
        found += decoder.feed(data)
    return found


def ended(raw: socket.socket) -> bool:
    with contextlib.suppress(ConnectionResetError):
        while data := raw.recv(65536):
            assert not list(FrameDecoder().feed(data))
    return True


def refused(client: HostClient, kind: Kind, body: bytes) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        client.request(kind, body)
    return caught.value


# Each request


def test_embedding(client: HostClient, minilm: StoredModel) -> None:
    texts = ["one", "", "the same words " * 200, "日本語", "one"]
    found = client.request(Kind.EMBED, Embed(URI, texts).pack())
    assert isinstance(found, np.ndarray)
    assert found.shape == (5, 384)
    assert np.abs(found - Embedder(minilm).embed(texts)).max() < 1e-6
    assert np.abs(found[0] - found[4]).max() < 1e-6


def test_embedding_by_the_short_name(client: HostClient) -> None:
    vectors = [np.asarray(client.request(Kind.EMBED, Embed(uri, ["a"]).pack())) for uri in (URI, MODEL)]
    assert np.array_equal(*vectors)


def test_texts_too_many_to_tokenise_at_once(client: HostClient, minilm: StoredModel) -> None:
    texts = [f"{number} " * 300 for number in range(20)]
    found = np.asarray(client.request(Kind.EMBED, Embed(URI, texts).pack()))
    assert np.abs(found - Embedder(minilm).embed(texts)).max() < 1e-6


def test_no_texts(client: HostClient) -> None:
    found = client.request(Kind.EMBED, Embed(URI, []).pack())
    assert isinstance(found, np.ndarray)
    assert found.shape == (0, 384)


@pytest.mark.parametrize("kind", [Kind.EMBED, Kind.UNREGISTER, Kind.UNLOAD, Kind.LOADED, Kind.METADATA])
def test_a_model_that_is_not_registered(client: HostClient, kind: Kind) -> None:
    body = Embed("other", ["a"]).pack() if kind is Kind.EMBED else protocol.pack_string("other")
    error = refused(client, kind, body)
    assert (error.sqlstate, error.message) == ("42704", 'model "other:v1" is not registered')
    assert error.hint == f"Registered models are: {URI}."


def test_a_model_that_could_be_registered(model_store: ModelStore, tmp_path: Path) -> None:
    """The way is the call itself, so that a restore can be repeated."""

    def hint(store: ModelStore, uri: str, *, bound: str = "") -> str:
        folder = Path(tempfile.mkdtemp(prefix="azpg-"))
        if bound:
            registry = Registry(folder / "host" / "registry.json")
            registry.register(URI, bound)
            registry.unregister(URI)
        host = Host(new_service(folder, store), folder)
        try:
            with host.client() as client:
                return refused(client, Kind.LOADED, protocol.pack_string(uri)).hint
        finally:
            host.close()
            shutil.rmtree(folder)

    register = f"register it as azure_pg_admin: SELECT azure_local_ai.model_register('{URI}', '{MODEL}');"
    there = f"The model store has it; {register}"
    empty = ModelStore(tmp_path / "empty")
    assert hint(model_store, MODEL) == there
    assert hint(model_store, URI, bound=model_store.get(MODEL).digest) == there
    assert hint(empty, URI) == f"Fetch it with `azpg models pull {MODEL}`, then {register}"
    # Other content could not be registered under the URI.
    assert hint(model_store, URI, bound="0" * 64) == "No model is registered."
    assert hint(model_store, "other:v1") == "No model is registered."


def test_a_text_that_is_too_long(client: HostClient) -> None:
    error = refused(client, Kind.EMBED, Embed(URI, ["x" * (16 * 1024 * 1024 + 1)]).pack())
    assert (error.sqlstate, error.message) == ("54000", "input is 16777217 bytes long; the limit is 16777216")


def test_more_texts_than_a_reply_can_carry(host: Host, client: HostClient) -> None:
    before = host.counters
    error = refused(client, Kind.EMBED, Embed(URI, [""] * 43691).pack())
    assert (error.sqlstate, error.message) == ("54000", "43691 texts are more than one request may have")
    assert error.detail == "A reply has room for 43690 vectors of 384 dimensions."
    assert error.hint == "Send them in several requests."
    assert protocol.HEADER_SIZE + 8 + 43690 * 384 * 4 <= protocol.HEADER_SIZE + protocol.MAX_BODY
    assert host.counters["texts"] == before["texts"]


def test_a_small_array_does_not_wait_until_a_huge_one_is_tokenised(host: Host, raw: socket.socket) -> None:
    """In the order of replies, not in time: the huge request has not run a text when the small one is over."""
    before = host.counters
    huge = ["some words " * 1000] * 4000
    small = ["some words " * 100] * 10
    with host.client() as other:
        raw.sendall(protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, huge).pack())))
        assert wait_for(lambda: host.working, timeout=PATIENCE)
        assert np.asarray(other.request(Kind.EMBED, Embed(URI, small).pack())).shape == (10, 384)
    assert host.counters["texts"] - before["texts"] == 10
    raw.close()
    assert wait_for(lambda: host.idle, timeout=PATIENCE)


def test_registering_again_gives_the_same_id(client: HostClient) -> None:
    first = client.request(Kind.REGISTER, Register(URI, MODEL).pack())
    assert first == client.request(Kind.REGISTER, Register(MODEL, MODEL).pack()) == 1


def test_registering_what_is_not_there(client: HostClient, host: Host) -> None:
    where = f"The models folder is {host.models}."
    error = refused(client, Kind.REGISTER, Register("x", "sub/missing").pack())
    assert error.sqlstate == "58P01"
    assert (
        error.message
        == 'model_path "sub/missing" is neither a model of the store nor below the models folder'
    )
    assert error.detail == where
    assert error.hint == "List the store with `azpg models list`, or put the file into the models folder."
    (host.models / "model.onnx").touch()
    error = refused(client, Kind.REGISTER, Register("x", "model.onnx").pack())
    assert error.sqlstate == "58P01"
    assert error.message == 'tokenizer_path "tokenizer.json" is not a file below the models folder'
    assert error.detail == where
    assert error.hint == "Put tokenizer.json beside the model, or name it as the third argument."
    error = refused(client, Kind.REGISTER, Register("x", "model.onnx", "other.json").pack())
    assert error.message == 'tokenizer_path "other.json" is not a file below the models folder'
    assert refused(client, Kind.REGISTER, Register("x", "missing").pack()).sqlstate == "42704"
    assert refused(client, Kind.REGISTER, Register("not a uri", MODEL).pack()).sqlstate == "22023"


@pytest.mark.parametrize(
    "path",
    ["../host/registry.json", "/etc/passwd", "link/registry.json", "a\0b/c", "x/" * 3000, "./", "../models"],
)
def test_paths_stay_below_the_models_folder(client: HostClient, host: Host, path: str) -> None:
    with contextlib.suppress(FileExistsError):
        (host.models / "link").symlink_to(host.models.parent / "host")
    error = refused(client, Kind.REGISTER, Register("x", path).pack())
    assert error.sqlstate == "58P01"
    assert error.message == f'model_path "{path}" is neither a model of the store nor below the models folder'


@pytest.mark.parametrize("path", ["", ".", ".."])
def test_folders_above_are_no_names_of_the_store(client: HostClient, path: str) -> None:
    error = refused(client, Kind.REGISTER, Register("x", path).pack())
    assert (error.sqlstate, error.message) == ("42704", f"the store has no model '{path}'")


def test_a_model_that_is_elsewhere_is_refused_by_whatever_way(
    client: HostClient, host: Host, minilm: StoredModel
) -> None:
    """Ordinary users may register models; what the host may read and they may not must stay closed to them."""
    with contextlib.suppress(FileExistsError):
        (host.models / "elsewhere").symlink_to(minilm.folder)
    for path in (str(minilm.folder), "elsewhere"):
        assert refused(client, Kind.REGISTER, Register("x", path).pack()).sqlstate in {"58P01", "42704"}
    tokenizer = str(minilm.tokenizer)
    (host.models / "given.onnx").touch()
    error = refused(client, Kind.REGISTER, Register("x", "given.onnx", tokenizer).pack())
    assert error.message == f'tokenizer_path "{tokenizer}" is not a file below the models folder'


def test_unregistering_and_registering_again(client: HostClient, host: Host) -> None:
    uri = protocol.pack_string("twice:v3")
    client.request(Kind.EMBED, Embed(URI, ["a"]).pack())
    number = client.request(Kind.REGISTER, Register("twice:v3", MODEL).pack())
    assert client.request(Kind.LOADED, uri) is True
    assert client.request(Kind.UNREGISTER, uri) is None
    assert client.request(Kind.LOADED, protocol.pack_string(URI)) is True, "the other name of the same model"
    assert refused(client, Kind.EMBED, Embed("twice:v3", ["a"]).pack()).sqlstate == "42704"
    assert client.request(Kind.REGISTER, Register("twice:v3", MODEL).pack()) == number
    client.request(Kind.UNREGISTER, uri)


def test_a_model_that_is_unregistered_while_a_call_uses_it(
    host: Host, client: HostClient, raw: socket.socket
) -> None:
    uri = "leaving:v1"
    client.request(Kind.REGISTER, Register(uri, MODEL).pack())
    before = host.counters
    texts = [f"{number} of many words " * 8 for number in range(400)]
    raw.sendall(protocol.encode(Frame(Kind.EMBED, 1, Embed(uri, texts).pack())))
    assert wait_for(lambda: host.counters["runs"] > before["runs"], timeout=PATIENCE)
    client.request(Kind.UNREGISTER, protocol.pack_string(uri))
    assert refused(client, Kind.EMBED, Embed(uri, ["a"]).pack()).sqlstate == "42704"
    assert refused(client, Kind.METADATA, protocol.pack_string(uri)).sqlstate == "42704"
    (reply,) = replies(raw, 1)
    assert np.asarray(protocol.unpack_reply(reply)).shape == (400, 384)


def test_other_content_under_a_uri_is_refused_and_the_old_stays(host: Host, client: HostClient) -> None:
    before = client.request(Kind.EMBED, Embed(URI, ["a"]).pack())
    tiny.write(host.models / "tiny")
    error = refused(client, Kind.REGISTER, Register(URI, "tiny/").pack())
    assert (error.sqlstate, error.message) == ("42710", f'model "{URI}" is already bound to other content')
    assert np.array_equal(
        np.asarray(client.request(Kind.EMBED, Embed(URI, ["a"]).pack())), np.asarray(before)
    )
    assert client.request(Kind.LOADED, protocol.pack_string(URI)) is True


def test_unloading_and_the_next_call(client: HostClient) -> None:
    uri = protocol.pack_string(URI)
    client.request(Kind.EMBED, Embed(URI, ["a"]).pack())
    assert client.request(Kind.LOADED, uri) is True
    assert client.request(Kind.UNLOAD, uri) is None
    assert client.request(Kind.LOADED, uri) is False
    assert np.asarray(client.request(Kind.EMBED, Embed(URI, ["a"]).pack())).shape == (1, 384)
    assert client.request(Kind.LOADED, uri) is True


def test_metadata(client: HostClient, minilm: StoredModel) -> None:
    client.request(Kind.EMBED, Embed(URI, ["a"]).pack())
    answer = client.request(Kind.METADATA, protocol.pack_string(MODEL))
    assert isinstance(answer, str)
    found = json.loads(answer)
    assert (found["uri"], found["id"], found["dimensions"], found["digest"]) == (URI, 1, 384, minilm.digest)
    assert set(found["files"]) >= {"tokenizer.json"}
    assert (found["loaded"], found["memory"]) == (True, minilm.memory)
    client.request(Kind.UNLOAD, protocol.pack_string(MODEL))
    answer = client.request(Kind.METADATA, protocol.pack_string(MODEL))
    assert isinstance(answer, str)
    assert (json.loads(answer)["loaded"], json.loads(answer)["memory"]) == (False, 0)


def test_settings(client: HostClient) -> None:
    def select(*keys: str) -> dict[str, str]:
        answer = client.request(Kind.GET_SETTINGS, protocol.pack_strings(keys))
        assert isinstance(answer, str)
        found: dict[str, str] = json.loads(answer)
        return found

    assert set(select()) == {"intra_op_parallelism", "inter_op_parallelism", "spin_control"}
    client.request(Kind.EMBED, Embed(URI, ["a"]).pack())
    pairs = [("intra_op_parallelism", "1"), ("spin_control", "on")]
    assert client.request(Kind.SET_SETTINGS, protocol.pack_pairs(pairs)) is None
    assert select("spin_control", "intra_op_parallelism") == {
        "spin_control": "true",
        "intra_op_parallelism": "1",
    }
    assert client.request(Kind.LOADED, protocol.pack_string(URI)) is True
    client.request(Kind.SET_SETTINGS, protocol.pack_pairs([("spin_control", "off")]))
    assert refused(client, Kind.GET_SETTINGS, protocol.pack_strings(["x"])).message == 'unknown setting "x"'
    error = refused(client, Kind.SET_SETTINGS, protocol.pack_pairs([("spin_control", "on"), ("x", "1")]))
    assert (error.sqlstate, error.message) == ("22023", 'unknown setting "x"')
    assert select("spin_control") == {"spin_control": "false"}


@pytest.mark.parametrize("late", [-1, 1, 2, 5, 20, 80], ids=lambda late: f"{late}ms")
def test_settings_that_come_too_late_are_not_applied(
    client: HostClient, raw: socket.socket, late: int
) -> None:
    """The deadline is over before, or falls anywhere into the work: what the caller is told is what holds."""

    def spinning() -> str:
        answer = client.request(Kind.GET_SETTINGS, protocol.pack_strings(["spin_control"]))
        assert isinstance(answer, str)
        found: str = json.loads(answer)["spin_control"]
        return found

    client.request(Kind.EMBED, Embed(URI, ["a"]).pack())
    deadline = time.monotonic_ns() + late * 1_000_000
    body = protocol.pack_pairs([("spin_control", "on")])
    raw.sendall(protocol.encode(Frame(Kind.SET_SETTINGS, 1, body, deadline)))
    (reply,) = replies(raw, 1)
    try:
        assert spinning() == ("true" if reply.kind is Kind.DONE else "false")
        assert reply.kind is Kind.ERROR or late > 0
        # A second change waits for what is left of the first, which must not be applied later.
        client.request(Kind.SET_SETTINGS, protocol.pack_pairs([("intra_op_parallelism", "1")]))
        assert spinning() == ("true" if reply.kind is Kind.DONE else "false")
    finally:
        client.request(Kind.SET_SETTINGS, protocol.pack_pairs([("spin_control", "off")]))


def test_status(client: HostClient, host: Host, minilm: StoredModel) -> None:
    client.request(Kind.EMBED, Embed(URI, ["a"]).pack())
    status = client.status()
    assert set(status) == {
        "pid",
        "azpg",
        "models",
        "deployments",
        "memory",
        "waiting",
        "counters",
        "settings",
    }
    assert status["memory"]["limit"] == default_limit()
    # What earlier tests gave up may still be about to end.
    assert wait_for(lambda: client.status()["memory"]["in_use"] == minilm.memory, timeout=PATIENCE)
    assert wait_for(lambda: client.status()["waiting"] == 0, timeout=PATIENCE)
    assert status["pid"] == os.getpid()
    assert {"uri": URI, "digest": minilm.digest, "loaded": True} in status["models"]
    assert host_status(host.socket) is not None


# The connection


def test_replies_may_overtake_each_other(raw: socket.socket) -> None:
    frames = [
        Frame(Kind.EMBED, 10, Embed(URI, ["some words " * 50] * 60).pack()),
        Frame(Kind.STATUS, 20, b""),
        Frame(Kind.EMBED, 30, Embed(URI, ["one"]).pack()),
    ]
    raw.sendall(b"".join(map(protocol.encode, frames)))
    found = replies(raw, 3)
    assert found[0].request_id == 20
    assert sorted((reply.request_id, reply.kind) for reply in found) == [
        (10, Kind.VECTORS),
        (20, Kind.TEXT),
        (30, Kind.VECTORS),
    ]
    assert found[-1].request_id == 10, "a single text waited for a whole array"


def test_a_request_in_single_bytes(raw: socket.socket) -> None:
    for byte in protocol.encode(Frame(Kind.STATUS, 2**64 - 1, b"")):
        raw.sendall(bytes([byte]))
    assert [reply.request_id for reply in replies(raw, 1)] == [2**64 - 1]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        bytes(24),
        protocol.encode(Frame(Kind.EMBED, 1, b"\xff" * 10)),
        protocol.encode(Frame(Kind.STATUS, 1, b"")).replace(b"\x01\x09", b"\x02\x09", 1),
        protocol.encode(Frame(Kind.VECTORS, 1, b"")),
        protocol.encode(Frame(Kind.DONE, 1, b"")),
        protocol.encode(Frame(Kind.LOADED, 1, protocol.pack_string("x") + b"?")),
    ],
    ids=["http", "zeros", "body", "version", "reply", "done", "tail"],
)
def test_what_breaks_the_rules_ends_its_connection_and_no_other(
    host: Host, client: HostClient, raw: socket.socket, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    raw.sendall(data)
    assert ended(raw)
    assert client.status()["pid"] == os.getpid()
    assert [record.getMessage().split(": ")[0] for record in caplog.records] == ["ended a connection"]


def test_another_user_is_refused(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.uids = frozenset({os.geteuid() + 1})
    try:
        with (
            host.client() as stranger,
            pytest.raises(HostError, match=r"ended the connection|cannot be reached"),
        ):
            stranger.status()
        assert wait_for(lambda: bool(caplog.records), timeout=PATIENCE)
    finally:
        host.uids = OURS
    assert [record.getMessage() for record in caplog.records] == [
        f"refused a connection of user id {os.geteuid()}"
    ]


def test_the_peer_is_known_by_the_kernel() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert peer_uid(one) == peer_uid(other) == os.geteuid()


def test_leaving_gives_up_what_was_asked_for(host: Host) -> None:
    before = host.counters
    with socket.socket(socket.AF_UNIX) as leaving:
        leaving.connect(str(host.socket))
        leaving.sendall(protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, MANY).pack())))
        assert wait_for(lambda: host.counters["runs"] > before["runs"], timeout=PATIENCE)
    assert wait_for(lambda: host.idle, timeout=PATIENCE)
    after = host.counters
    assert after["texts"] - before["texts"] < len(MANY)
    assert after["dropped_texts"] > before["dropped_texts"]


def test_leaving_gives_up_what_is_being_tokenised(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenised: list[str] = []
    encode = Tokenizer.encode

    def watched(self: Tokenizer, texts: Sequence[str], **options: Any) -> Any:
        tokenised.extend(texts)
        return encode(self, texts, **options)

    before = host.counters
    monkeypatch.setattr(Tokenizer, "encode", watched)
    with socket.socket(socket.AF_UNIX) as leaving:
        leaving.connect(str(host.socket))
        leaving.sendall(protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, ["a b c " * 1000] * 5000).pack())))
        assert wait_for(lambda: bool(tokenised), timeout=PATIENCE)
    assert wait_for(lambda: host.idle, timeout=PATIENCE)
    with host.client() as client:  # its texts take turns with whatever were left
        client.request(Kind.EMBED, Embed(URI, ["d e f " * 1000] * 6).pack())
    assert tokenised.count("a b c " * 1000) < 5000
    assert tokenised[-1].startswith("d")
    assert host.counters["texts"] == before["texts"] + 6


def test_leaving_gives_up_a_single_text_that_is_being_tokenised(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gone, ends = threading.Event(), threading.Event(), list[BaseException]()
    encode = Tokenizer._encode

    def slow(self: Tokenizer, text: str, cancelled: Callable[[], bool]) -> Any:
        begun.set()
        assert gone.wait(PATIENCE)
        try:
            return encode(self, text, cancelled)
        except EmbeddingCancelled as error:
            ends.append(error)
            raise

    monkeypatch.setattr(Tokenizer, "_encode", slow)
    with socket.socket(socket.AF_UNIX) as leaving:
        leaving.connect(str(host.socket))
        leaving.sendall(protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, ["a b c " * 10000]).pack())))
        assert begun.wait(PATIENCE)
    assert wait_for(lambda: host.idle, timeout=PATIENCE)
    gone.set()
    assert wait_for(lambda: bool(ends), timeout=PATIENCE)


def test_a_deadline_ends_the_work(host: Host, raw: socket.socket) -> None:
    before = host.counters
    deadline = time.monotonic_ns() + 300_000_000
    raw.sendall(protocol.encode(Frame(Kind.EMBED, 7, Embed(URI, MANY).pack(), deadline)))
    (reply,) = replies(raw, 1)
    with pytest.raises(RemoteError) as caught:
        protocol.unpack_reply(reply)
    error = caught.value
    assert (reply.request_id, error.sqlstate) == (7, "57014")
    assert error.message == "timed out before the model host had finished"
    assert error.hint == "Raise timeout_ms, or send fewer or shorter texts in one call."
    assert wait_for(lambda: host.idle, timeout=PATIENCE)
    assert host.counters["texts"] - before["texts"] < len(MANY)


@pytest.mark.parametrize("deadline", [-(2**63), -1, 1])
def test_a_deadline_that_is_over(raw: socket.socket, deadline: int) -> None:
    raw.sendall(protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, ["a"]).pack(), deadline)))
    (reply,) = replies(raw, 1)
    with pytest.raises(RemoteError, match="timed out"):
        protocol.unpack_reply(reply)


@pytest.mark.parametrize("deadline", [0, 2**63 - 1])
def test_no_deadline_and_one_that_is_far_away(raw: socket.socket, deadline: int) -> None:
    raw.sendall(protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, ["a"]).pack(), deadline)))
    (reply,) = replies(raw, 1)
    assert np.asarray(protocol.unpack_reply(reply)).shape == (1, 384)


def test_one_request_too_many_is_refused_and_the_others_go_on(
    host: Host, client: HostClient, raw: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "MAX_REQUESTS", 2)
    long = protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, MANY).pack()))
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(host.socket))
        for leaving in (raw, other):
            leaving.sendall(long)
        assert wait_for(lambda: client.status()["waiting"] == 2, timeout=PATIENCE)
        error = refused(client, Kind.EMBED, Embed(URI, ["a"]).pack())
    assert (error.sqlstate, error.message) == ("53400", "the model host already has 2 requests waiting")
    assert error.hint == "Repeat the call later, or use fewer sessions with larger arrays."
    assert wait_for(lambda: client.status()["waiting"] == 1, timeout=PATIENCE)
    assert np.asarray(client.request(Kind.EMBED, Embed(URI, ["a"]).pack())).shape == (1, 384)


def test_large_requests_wait_in_their_sockets_until_there_is_room(
    host: Host, raw: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those who send little pass them."""
    monkeypatch.setattr(host.service, "requests_room", Room(1_000_000))
    large = Frame(Kind.EMBED, 1, Embed(URI, ["x" * 700_000]).pack())
    half = protocol.encode(large)[:400_000]
    with host.client() as first, host.client() as second:
        first._socket.sendall(half)
        assert wait_for(lambda: host.service.requests_room.taken > 0, timeout=PATIENCE)
        sending = threading.Thread(target=second._socket.sendall, args=[protocol.encode(large)])
        sending.start()
        assert wait_for(lambda: len(host.service.requests_room._waiting) == 1, timeout=PATIENCE)
        with host.client() as third:
            assert np.asarray(third.request(Kind.EMBED, Embed(URI, ["a"]).pack())).shape == (1, 384)
        assert sending.is_alive()
        first.close()
        sending.join(PATIENCE)
        (reply,) = replies(second._socket, 1)
        assert np.asarray(protocol.unpack_reply(reply)).shape == (1, 384)
    assert host.service.requests_room.taken == 0


def test_a_request_that_does_not_arrive_whole_is_given_up(
    host: Host, raw: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "_PATIENCE", 0.05)
    raw.sendall(protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, ["x" * 700_000]).pack()))[:300_000])
    assert ended(raw)
    assert [record.getMessage() for record in caplog.records] == [
        "ended a connection: a request did not arrive whole"
    ]
    assert wait_for(lambda: host.service.requests_room.taken == 0, timeout=PATIENCE)


def test_a_client_that_the_host_itself_keeps_waiting_is_not_given_up(
    host: Host, raw: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """So many requests of one connection are under way that the host does not read the rest of the next."""
    monkeypatch.setattr(server_module, "_MAX_UNDER_WAY", 1)
    monkeypatch.setattr(server_module, "_PATIENCE", 0.01)
    asked: list[Connection] = []
    give_up = Connection._give_up

    def watched(connection: Connection) -> None:
        give_up(connection)
        asked.append(connection)

    monkeypatch.setattr(Connection, "_give_up", watched)
    # In one piece, so that the host knows of the second when it begins with the first.
    first = protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, MANY[:12]).pack()))
    second = protocol.encode(Frame(Kind.EMBED, 2, Embed(URI, ["x" * 900_000]).pack()))
    raw.sendall(first + second[:100])
    assert wait_for(lambda: len(asked) >= 3, timeout=PATIENCE)
    assert caplog.records == []
    assert replies(raw, 1)[0].request_id == 1
    assert ended(raw), "now it is the client that does not go on"


def test_a_reply_that_is_not_taken_is_given_up(
    host: Host,
    client: HostClient,
    raw: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(server_module, "_PATIENCE", 0.05)
    raw.sendall(protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, ["a"] * 1000).pack())))  # 1.5 MB of vectors
    assert wait_for(lambda: bool(caplog.records), timeout=PATIENCE)
    assert [record.getMessage() for record in caplog.records] == ["ended a connection: a reply was not taken"]
    assert wait_for(lambda: host.idle and host.service._room.taken == 0, timeout=PATIENCE)


async def _ask(room: Room, size: int) -> Place:
    return room.ask(size)


def test_large_requests_are_tokenised_when_there_is_room_for_their_replies(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those with small replies pass them."""
    monkeypatch.setattr(host.service, "_room", Room(1_000_000))
    room = host.service._room
    waiting = host.do(_ask(room, 900_000))
    with host.client() as large, host.client() as small:
        frame = protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, ["many of these"] * 500).pack()))
        large._socket.sendall(frame)
        assert wait_for(lambda: len(room._waiting) == 1, timeout=PATIENCE)
        assert np.asarray(small.request(Kind.EMBED, Embed(URI, ["a"] * 20).pack())).shape == (20, 384)
        assert room.taken == 900_000
        host.loop.call_soon_threadsafe(waiting.leave)
        (reply,) = replies(large._socket, 1)
    assert np.asarray(protocol.unpack_reply(reply)).shape == (500, 384)
    assert wait_for(lambda: room.taken == 0, timeout=PATIENCE)


def test_replies_of_one_connection_are_not_mixed(host: Host, raw: socket.socket) -> None:
    """Large ones are written in pieces, as the client takes them."""
    before = host.counters
    for number in range(4):
        raw.sendall(protocol.encode(Frame(Kind.EMBED, number, Embed(URI, [str(number)] * 1000).pack())))
    # All want to be written before any is read.
    assert wait_for(lambda: host.counters["texts"] >= before["texts"] + 4000, timeout=PATIENCE)
    assert wait_for(lambda: not host.service._under_way, timeout=PATIENCE)
    found = {reply.request_id: np.asarray(protocol.unpack_reply(reply)) for reply in replies(raw, 4)}
    assert all(np.abs(found[number] - found[number][0]).max() < 1e-6 for number in range(4))
    assert np.abs(found[0][0] - found[1][0]).max() > 1e-3


def test_a_bug_is_answered_and_logged(
    host: Host, client: HostClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise LookupError("with a secret")

    monkeypatch.setattr(host.service, "_status", broken)
    error = refused(client, Kind.STATUS, b"")
    assert (error.sqlstate, error.message) == ("XX000", "the model host failed: LookupError")
    assert error.hint == "See `azpg logs --host`."
    assert [record.getMessage() for record in caplog.records] == ["request STATUS failed"]
    monkeypatch.undo()
    assert client.status()


def test_an_answer_that_is_too_large_ends_the_connection(
    client: HostClient, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than leaving the caller waiting for what never comes."""
    monkeypatch.setattr(host.service, "_status", lambda: "x" * (protocol.MAX_BODY + 1))
    with pytest.raises(HostError, match=r"ended the connection before it answered|cannot be reached"):
        client.status()


def test_many_connections_at_once(host: Host, minilm: StoredModel) -> None:
    texts = [f"text number {number}" for number in range(12)]
    expected = Embedder(minilm).embed(texts)
    wrong: list[object] = []

    def call(number: int) -> None:
        for turn in range(5):
            at = (number + turn) % 12
            with host.client() as client:
                found = np.asarray(client.request(Kind.EMBED, Embed(URI, [texts[at]]).pack()))
                if np.abs(found[0] - expected[at]).max() > 1e-6:
                    wrong.append(at)

    threads = [threading.Thread(target=call, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# The client


def test_no_host(folder: Path) -> None:
    with pytest.raises(HostError) as caught:
        HostClient(folder / "nobody.sock")
    assert str(caught.value) == "the model host cannot be reached: No such file or directory."
    assert host_status(folder / "nobody.sock") is None
    with pytest.raises(HostError) as caught:
        HostClient(folder / ("long" * 50))
    assert str(caught.value) == "the model host cannot be reached: AF_UNIX path too long."


def test_a_host_that_does_not_answer(folder: Path) -> None:
    path = folder / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with HostClient(path, timeout=0.05) as client, pytest.raises(HostError) as caught:
            client.status()
        assert str(caught.value) == "the model host did not answer within 0.05 s."
        assert host_status(path, timeout=0.05) is None
    path.unlink()


def test_a_host_that_leaves(folder: Path) -> None:
    path = folder / "leaving.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with HostClient(path, timeout=PATIENCE) as client:
            accepted, _ = listener.accept()
            accepted.shutdown(socket.SHUT_WR)
            with accepted, pytest.raises(HostError) as caught:
                client.status()
        assert str(caught.value) == "the model host ended the connection before it answered."
    path.unlink()


# The process's life


@contextlib.asynccontextmanager
async def serving(folder: Path, store: ModelStore) -> AsyncIterator[Path]:
    """`serve` as the host's process runs it, until SIGTERM."""
    path = folder / "serve.sock"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1024)
    task = asyncio.create_task(serve(new_service(folder, store), listener, allowed_uids=OURS))
    try:
        await asyncio.to_thread(lambda: HostClient(path, timeout=PATIENCE).close())
        yield path
    finally:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(task, PATIENCE)


def play(store: ModelStore, act: Callable[[Path], Awaitable[None]]) -> None:
    async def run() -> None:
        folder = Path(tempfile.mkdtemp(prefix="azpg-"))
        try:
            async with serving(folder, store) as path:
                await act(path)
            assert path.is_socket(), "the socket is the supervisor's"
        finally:
            shutil.rmtree(folder)

    asyncio.run(run())


def test_sigterm_ends_it_and_its_connections(model_store: ModelStore) -> None:
    async def act(path: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(protocol.encode(Frame(Kind.STATUS, 1, b"")))
            assert list(FrameDecoder().feed(await reader.read(65536)))
            signal.raise_signal(signal.SIGTERM)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(1), PATIENCE) == b""
        finally:
            writer.close()

    before = threading.active_count()
    play(model_store, act)
    assert wait_for(lambda: threading.active_count() <= before, timeout=PATIENCE)


def test_sigterm_ends_work_that_would_take_minutes(model_store: ModelStore) -> None:
    async def act(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(path))

            def ask() -> None:
                asking.sendall(protocol.encode(Frame(Kind.REGISTER, 1, Register(URI, MODEL).pack())))
                assert asking.recv(100)
                asking.sendall(protocol.encode(Frame(Kind.EMBED, 1, Embed(URI, MANY).pack())))
                with HostClient(path) as client:
                    assert wait_for(lambda: client.status()["counters"]["runs"] > 0, timeout=PATIENCE)

            await asyncio.to_thread(ask)

    play(model_store, act)


def test_what_was_registered_is_loaded_at_the_next_start(model_store: ModelStore) -> None:
    folder = Path(tempfile.mkdtemp(prefix="azpg-"))

    async def first() -> None:
        async with serving(folder, model_store) as path:

            def register() -> None:
                with HostClient(path, timeout=PATIENCE) as client:
                    client.request(Kind.REGISTER, Register(URI, MODEL).pack())

            await asyncio.to_thread(register)

    async def second() -> None:
        async with serving(folder, model_store) as path:

            def look() -> None:
                with HostClient(path, timeout=PATIENCE) as client:
                    assert wait_for(lambda: client.status()["models"][0]["loaded"], timeout=PATIENCE)

            await asyncio.to_thread(look)

    try:
        asyncio.run(first())
        asyncio.run(second())
    finally:
        shutil.rmtree(folder)


def test_callers_may_queue_while_the_host_is_busy(model_store: ModelStore) -> None:
    async def act(path: Path) -> None:
        with contextlib.ExitStack() as stack:  # the loop stands still, so nobody is let in
            for _ in range(300):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))

        def served() -> None:  # and all before it
            with HostClient(path, timeout=PATIENCE) as client:
                client.status()

        await asyncio.to_thread(served)

    play(model_store, act)
