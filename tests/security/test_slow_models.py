"""A model that is slow on purpose holds up those who call it, and nobody else."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from onnx import helper

from azpg_runtime.home import Home
from azpg_runtime.host import protocol
from azpg_runtime.host.client import host_status
from azpg_runtime.host.protocol import Embed, Frame, FrameDecoder, Kind, RemoteError
from azpg_runtime.postgres.instance import Instance, Wishes
from azpg_runtime.system.memory import process_limit
from azpg_runtime.wait import wait_for
from tests import command_line
from tests.conftest import new_home, remove_home
from tests.integration.conftest import start
from tests.integration.hosts import Host
from tests.security.test_hostile_models import (
    changed,
    constant,
    embed,
    encoder,
    endless,
    growing_little,
    host,
    panicking,
    register,
    seeking,
    source,
    write,
)
from tests.unit import tiny

__all__ = ["host", "source", "start"]

PATIENCE = 60.0
SLOW = ("a" * 18 + "!") * 420
"""Eight kilobytes, of which each word is just within what the regular expression library allows."""


@pytest.fixture
def good(host: Host, tmp_path: Path) -> str:
    """The URI of a model that is as it should be."""
    return register(host, "good", tiny.write(tmp_path / "good"))


class Call:
    """A call that nobody waits for: it has been sent, and may be answered."""

    def __init__(self, host: Host, uri: str, *texts: str, seconds: float = 10 * PATIENCE) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(host.home.host_socket))
        deadline = time.monotonic_ns() + int(seconds * 1e9)
        self._socket.sendall(protocol.encode(Frame(Kind.EMBED, 1, Embed(uri, list(texts)).pack(), deadline)))

    def answered(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def reply(self) -> protocol.Reply:
        decoder = FrameDecoder()
        with self._socket:
            while True:
                for frame in decoder.feed(self._socket.recv(65536)):
                    return protocol.unpack_reply(frame)

    def leave(self) -> None:
        self._socket.close()


@contextmanager
def under_way(host: Host, uri: str, *texts: str) -> Iterator[Call]:
    """A call that the host has taken; it is given up in the end."""
    before = host.status()["waiting"]
    call = Call(host, uri, *texts)
    try:
        assert wait_for(lambda: host.status()["waiting"] > before, timeout=PATIENCE)
        yield call
    finally:
        call.leave()


def idle(host: Host, *, but: int = 0) -> bool:
    return wait_for(lambda: host.status()["waiting"] == but, timeout=PATIENCE)


def replacing_slowly() -> dict[str, Any]:
    pattern = panicking()["pre_tokenizer"]["pattern"]
    return {"normalizer": {"type": "Replace", "pattern": pattern, "content": "a"}}


# Tokenizers


@pytest.mark.parametrize("changes", [panicking(), replacing_slowly()], ids=["split", "replace"])
@pytest.mark.parametrize("around", [[], ["the passage"] * 300], ids=["small", "large"])
def test_a_slow_tokenizer_holds_up_its_own_callers_only(
    host: Host, good: str, source: Path, changes: dict[str, Any], around: list[str]
) -> None:
    slow = register(host, "slow", changed(source, changes))
    before = host.process.pid
    with under_way(host, slow, *around, SLOW) as call:
        assert embed(host, good, "the passage") is not None
        assert embed(host, good, *["the passage"] * 300) is not None, "nor those whose texts take turns"
        assert host.status()["pid"] == before
        assert not call.answered(), "the text is too easy for this machine"


def test_a_text_that_grows_holds_up_its_own_callers_only(host: Host, good: str, source: Path) -> None:
    """It becomes a hundred times as large, and is refused; others' calls are answered before that."""
    growing = register(host, "growing", growing_little(source))
    before = host.process.pid
    for text in ("z" * 4000, "z" * 250_000):
        with under_way(host, growing, text) as call:
            assert embed(host, good, "the passage") is not None
            if len(text) < 10_000:
                assert isinstance(call.reply(), np.ndarray)
                continue
            with pytest.raises(RemoteError, match="may make 4500000 bytes of a text") as caught:
                call.reply()
            assert caught.value.sqlstate == "54000"
    assert host.status()["pid"] == before


def test_who_leaves_a_slow_tokenizer_takes_along_what_the_call_took(
    host: Host, good: str, source: Path
) -> None:
    """Those who wait behind it leave nothing either, however many come and go while it works."""
    slow = register(host, "slow", changed(source, panicking()))
    text = "the passage " * 200_000
    with under_way(host, slow, SLOW) as call:
        call.leave()
        assert idle(host)
        with under_way(host, slow, text):
            pass
        assert idle(host)
        most = host.anonymous + 5 * len(text)
        for _ in range(20):
            with under_way(host, slow, text):
                pass
            assert idle(host)
        assert host.anonymous < most
        assert embed(host, good, "the passage") is not None


def test_a_call_behind_a_slow_tokenizer_ends_in_time(host: Host, good: str, source: Path) -> None:
    slow = register(host, "slow", changed(source, panicking()))
    with under_way(host, slow, SLOW) as call:
        for text in ("the passage", SLOW, "the passage " * 2000):
            with pytest.raises(RemoteError, match="timed out before the model host had finished") as caught:
                Call(host, slow, text, seconds=0.3).reply()
            assert caught.value.sqlstate == "57014"
            assert idle(host, but=1)
        assert embed(host, good, "the passage") is not None
        assert not call.answered(), "the text is too easy for this machine"


def test_a_slow_text_ends_in_time(host: Host, good: str, source: Path) -> None:
    slow = register(host, "slow", changed(source, panicking()))
    with pytest.raises(RemoteError, match="timed out before the model host had finished"):
        Call(host, slow, SLOW, seconds=0.3).reply()
    assert idle(host)
    assert embed(host, good, "the passage") is not None


def test_a_host_with_a_slow_tokenizer_can_be_stopped(host: Host, source: Path) -> None:
    slow = register(host, "slow", changed(source, panicking()))
    with under_way(host, slow, SLOW):
        host.process.terminate()
        assert wait_for(lambda: not host.process.is_running(), timeout=PATIENCE)
    assert host.status()["pid"] != host.process.pid


# Graphs

WORD = "q"
"""The text for which a graph of `looping` never ends."""


def looping(host: Host, tmp_path: Path) -> str:
    """The URI of a model that passes its trial, and loops where a text has that word."""
    token = tiny.tokenizer().token_to_id(WORD)
    uri = register(host, "looping", write(tmp_path / "graph", endless(token)))
    assert embed(host, uri, "the passage") is not None
    return uri


def terminated(host: Host, *, least: int) -> bool:
    """Whether that many runs have been ended."""
    return wait_for(lambda: host.status()["counters"]["terminated_runs"] >= least, timeout=PATIENCE)


def test_a_run_without_an_end_ends_with_its_call(host: Host, good: str, tmp_path: Path) -> None:
    """Whether the client leaves or has waited long enough; then it is the others' turn."""
    uri, before = looping(host, tmp_path), host.process.pid
    with under_way(host, uri, WORD) as call:
        assert not call.answered()
        call.leave()
        assert terminated(host, least=1)
    with pytest.raises(RemoteError, match="timed out before the model host had finished") as caught:
        Call(host, uri, "the passage", WORD, seconds=0.5).reply()
    assert caught.value.sqlstate == "57014"
    assert terminated(host, least=2)
    for one in (uri, good):
        assert embed(host, one, "the passage") is not None
    assert host.status()["pid"] == before


def test_a_run_without_an_end_holds_up_its_own_callers_only(host: Host, good: str, tmp_path: Path) -> None:
    uri = looping(host, tmp_path)
    with under_way(host, uri, WORD) as call:
        assert embed(host, good, "the passage") is not None
        assert embed(host, good, *["the passage"] * 300) is not None
        with under_way(host, uri, "the passage") as behind:
            assert embed(host, good, "the passage") is not None
            assert not call.answered()
            call.leave()
            assert isinstance(behind.reply(), np.ndarray)
    assert idle(host)


def test_a_host_with_a_run_without_an_end_can_be_stopped(host: Host, tmp_path: Path) -> None:
    with under_way(host, looping(host, tmp_path), WORD):
        host.process.terminate()
        assert wait_for(lambda: not host.process.is_running(), timeout=PATIENCE)


# Graphs that take memory


def hungry(host: Host, folder: Path, size: int) -> str:
    """The URI of a model that passes its trial, and makes a tensor of `size` bytes where a text has that word."""
    token = tiny.tokenizer().token_to_id(WORD)
    nodes = [
        *seeking(token),
        constant("floats", [size // 4]),
        helper.make_node("Mul", ["floats", "any"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["rows", "nothing"], ["last_hidden_state"]),
    ]
    uri = register(host, "hungry", write(folder, encoder(nodes)))
    assert embed(host, uri, "the passage") is not None
    return uri


@pytest.mark.parametrize("limit", [500_000_000, None])
def test_a_run_that_takes_all_memory_ends_its_own_call(
    start: Callable[..., Host], home: Home, tmp_path: Path, limit: int | None
) -> None:
    home.models.unlink()
    home.models.mkdir()
    host = start(memory_limit=limit)
    good = register(host, "good", tiny.write(tmp_path / "good"))
    uri = hungry(host, tmp_path / "hungry", process_limit(limit))
    before = host.process.pid
    for _ in range(3):
        error = host.refused(Kind.EMBED, Embed(uri, ["the passage", WORD]).pack())
        assert (error.sqlstate, error.message) == ("53200", "the memory does not suffice to run the model")
        assert "--model-memory" in error.hint
        for one in (uri, good):
            assert embed(host, one, *["the passage"] * 300) is not None
    assert host.status()["pid"] == before
    assert host.anonymous < 1 << 30


# SQL


@pytest.fixture
def server() -> Iterator[Instance]:
    """A server whose home has a model store of its own, with a good model, a slow and a looping one."""
    home = new_home()
    home.models.unlink()
    instance = Instance("slow", home=home)
    instance.up(Wishes(durable=False))
    instance.set_parameter("azure.extensions", "azure_local_ai")
    tiny.write(instance.home.models / "good")
    changed(tiny.write(instance.home.models / "slow"), panicking())
    write(instance.home.models / "looping", endless(tiny.tokenizer().token_to_id(WORD)))
    with instance.connect(autocommit=True) as connection:
        connection.execute("CREATE EXTENSION azure_local_ai")
        for name in ("good", "slow", "looping"):
            connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [f"{name}:v1", name])
    yield instance
    remove_home(home)


@pytest.mark.parametrize(("uri", "text"), [("slow:v1", SLOW), ("looping:v1", WORD)])
def test_sessions_go_on_and_a_statement_without_an_end_is_ended(
    server: Instance, uri: str, text: str
) -> None:
    embed_within = "SELECT azure_local_ai.create_embeddings(%s, %s, timeout_ms => %s)"
    with (
        server.connect(autocommit=True) as caller,
        server.connect(autocommit=True) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        call = thread.submit(caller.execute, embed_within, [uri, text, 3_600_000])
        assert wait_for(lambda: waiting(server) == 1, timeout=PATIENCE)
        assert other.execute(embed_within, ["good:v1", "the passage", 60_000]).fetchone() is not None
        shown = command_line.run("status", "slow", AZPG_HOME=str(server.home.home.root)).stdout
        assert shown.startswith("slow is running")
        with pytest.raises(psycopg.errors.QueryCanceled, match="timed out"):
            other.execute(embed_within, [uri, text, 200])
        assert not call.done(), "the text is too easy for this machine"
        caller.cancel_safe()
        assert isinstance(call.exception(PATIENCE), psycopg.errors.QueryCanceled)
        assert wait_for(lambda: waiting(server) == 0, timeout=PATIENCE)
        assert other.execute(embed_within, ["good:v1", "the passage", 60_000]).fetchone() is not None


def waiting(server: Instance) -> int:
    """The calls that the model host of a server is working on."""
    status = host_status(server.home.host_socket, timeout=PATIENCE)
    assert status is not None
    return int(status["waiting"])
