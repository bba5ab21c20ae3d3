"""The model host as a process: one copy of the model, killed and replaced, ended with the instance."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import errors

from azpg_runtime.errors import HostError
from azpg_runtime.home import Home
from azpg_runtime.host import protocol
from azpg_runtime.host.client import HostClient, host_status
from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import MODEL, URI

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


def postmaster(instance: Instance) -> int:
    pid = instance.status().postgres_pid
    assert pid is not None
    return pid


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
        family = [process for process in psutil.process_iter() if _mentions(process, str(instance.home.root))]
        large = [process for process in family if process.memory_full_info().uss > weights / 4]
        assert [process.pid for process in large] == [host_of(instance)["pid"]]


def _mentions(process: psutil.Process, folder: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(folder in part for part in process.cmdline())
    return False


def test_a_killed_host_is_replaced_and_the_next_call_works(instance: Instance) -> None:
    server = postmaster(instance)
    with instance.connect(autocommit=True) as connection:
        connection.execute(EMBED, [URI, "before"])
        for _ in range(3):
            pid = host_of(instance)["pid"]
            os.kill(pid, signal.SIGKILL)
            # Gone, not only a zombie: its last thread holds the connections open.
            assert wait_for(lambda: not psutil.pid_exists(pid), timeout=10)  # noqa: B023 - called at once
            row = connection.execute(EMBED, [URI, "after"]).fetchone()
            assert row is not None
            assert len(row[0]) == 384
            assert host_of(instance)["pid"] != pid
    assert postmaster(instance) == server


def test_calls_that_run_when_the_host_dies_get_a_clear_error(instance: Instance) -> None:
    server = postmaster(instance)
    before = host_of(instance)
    caught: list[psycopg.Error] = []

    def call() -> None:
        with instance.connect(autocommit=True) as connection:
            try:
                connection.execute(LONG, [URI])
            except psycopg.Error as error:
                caught.append(error)
            connection.execute(EMBED, [URI, "the same session goes on"])

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    # Rounds of all four wait, or run.
    assert wait_for(lambda: host_of(instance)["waiting"] >= 4, timeout=30)
    os.kill(before["pid"], signal.SIGKILL)
    for thread in threads:
        thread.join(timeout=60)
    assert [error.sqlstate for error in caught] == ["08006"] * 4
    assert all("model host ended the connection" in str(error) for error in caught)
    assert postmaster(instance) == server


def test_a_cancelled_statement_stops_the_computation(instance: Instance) -> None:
    with instance.connect(autocommit=True) as connection, instance.connect(autocommit=True) as other:
        before = host_of(instance)["counters"]

        def cancel() -> None:
            wait_for(lambda: host_of(instance)["counters"]["runs"] > before["runs"], timeout=30)
            other.execute("SELECT pg_cancel_backend(%s)", [connection.info.backend_pid])

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(errors.QueryCanceled):
            connection.execute(LONG, [URI])
        thread.join()

        def idle() -> bool:
            first = host_of(instance)["counters"]
            other.execute(EMBED, [URI, "one text"])
            return bool(host_of(instance)["counters"]["texts"] == first["texts"] + 1)

        assert wait_for(idle, timeout=30)
        after = host_of(instance)["counters"]
        assert after["texts"] - before["texts"] < 5000
        assert after["dropped_texts"] > before["dropped_texts"]
        connection.execute(EMBED, [URI, "the same session goes on"])


def test_a_client_that_leaves_stops_the_computation(instance: Instance) -> None:
    before = host_of(instance)["counters"]
    connection = instance.connect(autocommit=True)
    thread = threading.Thread(target=lambda: _ignore(connection, LONG))
    thread.start()
    wait_for(lambda: host_of(instance)["counters"]["runs"] > before["runs"], timeout=30)
    with instance.superuser() as superuser:
        superuser.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
    thread.join(timeout=30)
    assert wait_for(lambda: host_of(instance)["waiting"] == 0, timeout=30)
    assert host_of(instance)["counters"]["dropped_texts"] > before["dropped_texts"]


def _ignore(connection: psycopg.Connection[Any], query: str) -> None:
    with contextlib.suppress(psycopg.Error), connection:
        connection.execute(query, [URI])


def test_a_killed_supervisor_takes_its_host_along_and_up_heals(instance: Instance) -> None:
    pid = host_of(instance)["pid"]
    supervisor = psutil.Process(pid).ppid()
    os.kill(supervisor, signal.SIGKILL)
    assert wait_for(lambda: not _alive(pid), timeout=10)
    with instance.connect(autocommit=True) as connection:
        with pytest.raises(psycopg.OperationalError, match="azpg up"):
            connection.execute(EMBED, [URI, "nobody there"])
        assert instance.status().state == "degraded"
        assert instance.up() is True
        connection.execute(EMBED, [URI, "somebody there"])


def _alive(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


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


def test_the_deadline_ends_the_wait(instance: Instance) -> None:
    with instance.connect(autocommit=True) as connection:
        started = time.monotonic()
        with pytest.raises(errors.QueryCanceled):
            connection.execute(
                "SELECT count(*) FROM azure_local_ai.create_embeddings(%s,"
                " array_fill(repeat('many words here ', 100), ARRAY[50000]), timeout_ms => 200)",
                [URI],
            )
        # Embedding all of them takes minutes; only the order of magnitude is asserted.
        assert time.monotonic() - started < 60
