"""What the host's process takes of the machine's memory, and what it gives back."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from azpg_runtime.embedding import Embedder
from azpg_runtime.home import Home
from azpg_runtime.host import protocol
from azpg_runtime.host.protocol import Embed, Kind, Register, RemoteError
from azpg_runtime.models import StoredModel
from azpg_runtime.wait import wait_for
from tests.conftest import MODEL, URI
from tests.integration.hosts import PATIENCE, Host
from tests.unit import tiny

WORDS = ["the quick brown fox", "jumps over", "the lazy dog and runs away from it"]


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
        loaded = host.anonymous
        assert host.maps(minilm.digest)
        with long_call(host, URI, texts) as answers:
            host.request(Kind.UNLOAD, uri)
            assert host.request(Kind.LOADED, uri) is False
            assert host.metadata(URI)["memory"] == 0
            assert host.status()["memory"]["in_use"] == minilm.memory, "it is still needed"
        assert np.abs(answers[0] - expected).max() < 1e-5
        assert host.status()["memory"]["in_use"] == 0
        least = [host.anonymous]

        def given_back(loaded: int = loaded, least: list[int] = least) -> bool:
            least.append(min(least[-1], host.anonymous))
            return loaded - least[-1] > 0.2 * minilm.memory and not host.maps(minilm.digest)

        # The weights are mapped, and the system takes back what is idle of that when it likes; what ONNX
        # Runtime has made of them is its own memory.
        assert wait_for(given_back, timeout=PATIENCE), (loaded, least[-1])
        sizes.append(least[-1])
    # Each copy that stayed would be more than that; how much lies about in freed pieces is chance.
    assert sizes[-1] - sizes[0] < 0.4 * minilm.memory, sizes


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
    host.restart()
    assert wait_for(lambda: host.status()["models"][0]["loaded"], timeout=PATIENCE)
    assert not host.status()["models"][1]["loaded"]
    assert "no room to load tiny:v1 in advance" in Path(host.home.host_log).read_text()


def peak(host: Host) -> int:
    """The most memory that the host's process has had since it started, in bytes."""
    lines = Path(f"/proc/{host.process.pid}/status").read_text().splitlines()
    (kilobytes,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(kilobytes)


def test_requests_of_64_mb_do_not_take_more_memory_than_they_may(
    start: Callable[..., Host], minilm: StoredModel
) -> None:
    """Many short texts, whose vectors are large, and long ones, whose bodies and token ids are."""
    host = start()
    host.request(Kind.REGISTER, Register(URI, MODEL).pack())
    short = [f"{number} short" for number in range(protocol.most_texts(384))]
    long = [("words of many kinds " * 80)[: 1460 + number % 9] for number in range(protocol.most_texts(384))]
    few = ["\N{GRINNING FACE}" + "word " * 3_000_000] * 4
    bodies = [Embed(URI, texts).pack() for texts in (short, long, few)]
    assert all(len(body) > 60_000_000 for body in bodies[1:])
    with contextlib.ExitStack() as stack:
        for body in bodies * 3:
            client = stack.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
            client.connect(str(host.home.host_socket))
            frame = protocol.encode(protocol.Frame(Kind.EMBED, 1, body))
            sending = threading.Thread(target=_send, args=[client, frame])
            sending.start()
            stack.callback(sending.join)
            stack.callback(client.shutdown, socket.SHUT_RDWR)
        # Each of the short requests has run a while; the few long texts are over or about to be.
        assert wait_for(lambda: host.status()["counters"]["texts"] > 1000, timeout=PATIENCE)
        assert host.request(Kind.EMBED, Embed(URI, ["a"]).pack()).shape == (1, 384)
        assert host.status()["waiting"] > 0
    assert wait_for(lambda: host.status()["waiting"] == 0, timeout=PATIENCE)
    assert peak(host) < minilm.memory + 300_000_000
    assert host.request(Kind.EMBED, Embed(URI, ["a"]).pack()).shape == (1, 384)


def _send(client: socket.socket, frame: bytes) -> None:
    with contextlib.suppress(OSError):  # shut down: the host reads no more of it than it has room for
        client.sendall(frame)
