"""The model host as a process: one copy of the model, killed and replaced, ended with the instance."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from azpg_runtime.errors import HostError
from azpg_runtime.home import Home
from azpg_runtime.host import protocol
from azpg_runtime.host.client import HostClient, host_status
from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import MODEL, URI
from tests.integration.calls import family

EMBED = "SELECT azure_local_ai.create_embeddings(%s, %s)"
LONG = "SELECT count(*) FROM azure_local_ai.create_embeddings(%s, array_fill(repeat('many words here ', 100), ARRAY[5000]))"


@pytest.fixture(scope="module")
def instance(minilm: StoredModel) -> Iterator[Instance]:
    """A twin whose host these tests may kill."""
    from tests.conftest import new_home, remove_home  # noqa: PLC0415

    home = new_home()
    instance = Instance("host", home=home)
    try:
        instance.up()
        instance.set_parameter("azure.extensions", "azure_local_ai")
        with instance.connect(autocommit=True) as connection:
            connection.execute("CREATE EXTENSION azure_local_ai")
            connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [URI, MODEL])
        yield instance
    finally:
        remove_home(home)


def host_of(instance: Instance) -> dict[str, Any]:
    status = host_status(instance.home.host_socket, timeout=20)
    assert status is not None
    return status


def test_ten_sessions_share_one_copy_of_the_model(instance: Instance, minilm: StoredModel) -> None:
    weights = (minilm.folder / "weights.bin").stat().st_size
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(instance.connect(autocommit=True)) for _ in range(10)]
        for session in sessions:
            session.execute(EMBED, [URI, "warm"])
        for session in sessions:
            backend = psutil.Process(session.info.backend_pid).memory_full_info()
            assert backend.uss < weights / 4
        # Half of the weights are a table that is mapped, not copied.
        large = [process for process in family(instance.home) if process.memory_full_info().uss > weights / 2]
        assert [process.pid for process in large] == [host_of(instance)["pid"]]


def test_a_first_call_finds_the_model_loaded(instance: Instance) -> None:
    """How long it takes is measured by `make bench`; that nothing is loaded for it holds always."""
    instance.down()
    instance.up()
    assert wait_for(lambda: all(model["loaded"] for model in host_of(instance)["models"]), timeout=30)
    before = host_of(instance)["pid"]
    with instance.connect(autocommit=True) as connection:
        connection.execute(EMBED, [URI, "first"])
    assert host_of(instance)["pid"] == before


def test_garbage_ends_only_its_own_connection(instance: Instance) -> None:
    pid = host_of(instance)["pid"]
    with HostClient(instance.home.host_socket) as good, HostClient(instance.home.host_socket) as bad:
        bad._socket.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        with pytest.raises(HostError):
            bad.status()
        assert good.status()["pid"] == pid


def test_a_client_that_does_not_read_its_replies_is_not_read_from(instance: Instance) -> None:
    many = protocol.encode(protocol.Frame(protocol.Kind.STATUS, 1, b"")) * 1000
    sent, answered = 0, 0
    with HostClient(instance.home.host_socket) as client:
        client._socket.setblocking(False)
        # The host reads on within milliseconds, or not at all.
        while select.select([], [client._socket], [], 1)[1]:
            sent += client._socket.send(many)
            assert sent < 64 * len(many), "the host keeps replies that nobody reads"
        decoder = protocol.FrameDecoder()
        while answered < sent // protocol.HEADER_SIZE:
            assert select.select([client._socket], [], [], 30)[0]
            answered += sum(1 for _ in decoder.feed(client._socket.recv(65536)))


def test_another_user_may_not_use_the_host(home: Home) -> None:
    """The socket's mode keeps others out; should they get past it, their user id does."""
    instance = Instance("users", home=home)
    instance.up()
    mode = instance.home.host_socket.stat().st_mode
    assert mode & 0o077 == 0
    assert Path(instance.home.runtime).stat().st_mode & 0o066 == 0
