"""What the host's process takes of the machine's memory, and what it gives back."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from azpg_runtime.embedding import Embedder
from azpg_runtime.home import Home
from azpg_runtime.host import protocol
from azpg_runtime.host.client import HostClient
from azpg_runtime.host.control import HostControl
from azpg_runtime.host.protocol import Embed, Kind, Register, RemoteError
from azpg_runtime.models import StoredModel
from azpg_runtime.wait import wait_for
from tests.conftest import MODEL, URI
from tests.unit import tiny

PATIENCE = 60.0
WORDS = ["the quick brown fox", "jumps over", "the lazy dog and runs away from it"]


class Host:
    """A host without a server: a process of its own."""

    def __init__(self, home: Home, *, memory_limit: int | None = None) -> None:
        self.home = home.instance("memory")
        self.home.models.mkdir(parents=True, exist_ok=True)
        self.home.create_runtime()
        self._control = HostControl(self.home, server_uid=os.geteuid(), memory_limit=memory_limit)
        self._control.launch()
        self._control.wait_until_ready()
        self.process = psutil.Process(self.status()["pid"])

    def client(self) -> HostClient:
        return HostClient(self.home.host_socket, timeout=PATIENCE)

    def request(self, kind: Kind, body: bytes) -> Any:
        with self.client() as client:
            return client.request(kind, body)

    def status(self) -> dict[str, Any]:
        with self.client() as client:
            return client.status()

    def metadata(self, uri: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.request(Kind.METADATA, protocol.pack_string(uri)))
        return found

    def refused(self, kind: Kind, body: bytes) -> RemoteError:
        with pytest.raises(RemoteError) as caught:
            self.request(kind, body)
        return caught.value

    @property
    def resident(self) -> int:
        return int(self.process.memory_info().rss)

    def stop(self) -> None:
        self._control.stop()
        shutil.rmtree(self.home.runtime)


@pytest.fixture
def start(home: Home) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def start(**options: Any) -> Host:
        hosts.append(Host(home, **options))
        return hosts[-1]

    yield start
    for host in hosts:
        host.stop()


@contextmanager
def long_call(host: Host, uri: str, texts: list[str]) -> Iterator[list[Any]]:
    """A request that computes while the block runs; its answer, or its error, is there afterwards."""
    found: list[Any] = []

    def call() -> None:
        try:
            found.append(host.request(Kind.EMBED, Embed(uri, texts).pack()))
        except RemoteError as error:
            found.append(error)

    before = host.status()["counters"]["runs"]
    thread = threading.Thread(target=call)
    thread.start()
    assert wait_for(lambda: host.status()["counters"]["runs"] > before, timeout=PATIENCE)
    yield found
    assert not found, "the call was over before the block was"
    thread.join()


def test_an_unloaded_model_gives_its_memory_back_when_the_calls_that_use_it_are_over(
    start: Callable[..., Host], minilm: StoredModel
) -> None:
    host = start()
    uri = protocol.pack_string(URI)
    every_token = [" ".join(WORDS)] * 3
    host.request(Kind.REGISTER, Register(URI, MODEL).pack())
    host.request(Kind.EMBED, Embed(URI, every_token).pack())
    host.request(Kind.UNLOAD, uri)
    texts = [f"{number} {WORDS[number % 3]}" for number in range(800)]
    expected = Embedder(minilm).embed(texts)
    # The first turn brings in what stays for good, such as the libraries' own pages.
    sizes = []
    for _ in range(3):
        host.request(Kind.EMBED, Embed(URI, every_token).pack())
        loaded = host.resident
        with long_call(host, URI, texts) as answers:
            host.request(Kind.UNLOAD, uri)
            assert host.request(Kind.LOADED, uri) is False
            assert host.metadata(URI)["memory"] == 0
            assert host.status()["memory"]["in_use"] == minilm.memory, "it is still needed"
        assert np.abs(answers[0] - expected).max() < 1e-5
        assert host.status()["memory"]["in_use"] == 0
        least = [host.resident]

        def given_back(loaded: int = loaded, least: list[int] = least) -> bool:
            least.append(min(least[-1], host.resident))
            return loaded - least[-1] > 0.35 * minilm.memory

        # Of the table of tokens, which is half the model, only the pages of these few tokens were there.
        assert wait_for(given_back, timeout=PATIENCE), (loaded, least[-1])
        sizes.append(least[-1])
    assert sizes[-1] - sizes[0] < 0.1 * minilm.memory, sizes


def test_two_models_at_once_and_a_third_that_makes_the_idle_one_go(
    start: Callable[..., Host], home: Home, minilm: StoredModel
) -> None:
    """Sizes are those of the real model: a tiny one is loaded beside it within a limit of little more."""
    host = start(memory_limit=minilm.memory + 5_000_000)
    for seed, name in enumerate(("one", "two"), 1):
        tiny.write(host.home.models / name, tiny.files(seed=seed))
        host.request(Kind.REGISTER, Register(name, name + "/").pack())
    host.request(Kind.REGISTER, Register(URI, MODEL).pack())
    vectors = [host.request(Kind.EMBED, Embed(uri, ["a"]).pack()) for uri in ("one", "two", URI)]
    assert [found.shape for found in vectors] == [(1, tiny.HIDDEN), (1, tiny.HIDDEN), (1, 384)]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert all(model["loaded"] for model in host.status()["models"])
    assert host.status()["memory"]["in_use"] <= minilm.memory + 5_000_000


def test_a_load_beyond_the_limit_is_refused_while_the_other_model_is_busy(
    start: Callable[..., Host], minilm: StoredModel
) -> None:
    host = start(memory_limit=minilm.memory)
    tiny.write(host.home.models / "tiny")
    host.request(Kind.REGISTER, Register("tiny", "tiny/").pack())
    host.request(Kind.REGISTER, Register(URI, MODEL).pack())
    assert [one["loaded"] for one in host.status()["models"]] == [False, True]
    with long_call(host, URI, [" ".join(WORDS)] * 1000) as answers:
        error = host.refused(Kind.EMBED, Embed("tiny", ["a"]).pack())
        again = host.refused(Kind.REGISTER, Register("other", "tiny/").pack())
    assert (error.sqlstate, again.sqlstate) == ("53200", "53200")
    assert error.message == "model tiny:v1 needs 0 MB of memory, which those in use do not leave"
    assert error.detail == (
        f"The limit for all models is {minilm.memory / 1e6:,.0f} MB; {minilm.memory / 1e6:,.0f} MB are taken. "
        f"In use: {URI} ({minilm.memory / 1e6:,.0f} MB, 1 request)."
    )
    assert answers[0].shape == (1000, 384)
    assert host.refused(Kind.LOADED, protocol.pack_string("other")).sqlstate == "42704"
    assert host.request(Kind.EMBED, Embed("tiny", ["a"]).pack()).shape == (1, tiny.HIDDEN)
    assert [one["loaded"] for one in host.status()["models"]] == [True, False]


def test_after_a_restart_models_are_loaded_in_advance_as_far_as_there_is_room(
    start: Callable[..., Host], minilm: StoredModel
) -> None:
    host = start(memory_limit=minilm.memory)
    tiny.write(host.home.models / "tiny")
    host.request(Kind.REGISTER, Register(URI, MODEL).pack())
    host.request(Kind.REGISTER, Register("tiny", "tiny/").pack())
    host.process.kill()
    assert wait_for(lambda: host.status()["pid"] != host.process.pid, timeout=PATIENCE)
    assert wait_for(lambda: host.status()["models"][0]["loaded"], timeout=PATIENCE)
    assert not host.status()["models"][1]["loaded"]
    assert "no room to load tiny:v1 in advance" in Path(host.home.host_log).read_text()
