"""What the tests of cancellation and faults share: calls that run beside the test, and what the host did."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from azpg_runtime.home import Home
from azpg_runtime.host.client import HostClient
from azpg_runtime.host.control import HostControl
from azpg_runtime.host.protocol import Embed, Kind
from azpg_runtime.postgres.instance import Instance, Wishes
from azpg_runtime.wait import wait_for
from tests.conftest import CACHE, MODEL, URI, new_home, remove_home
from tests.support.processes import processes_in
from tests.support.servers import DEFAULT, Server

Connection = psycopg.Connection[Any]

PATIENCE = 60.0
EMBED = "SELECT azure_local_ai.create_embeddings(%s, %s)"
TEXTS = 20_000
LONG = (
    "SELECT count(*) FROM azure_local_ai.create_embeddings(%s,"
    f" array_fill(repeat('many words here ', 100), ARRAY[{TEXTS}]), timeout_ms => %s)"
)
"""Minutes of work, whatever the machine: texts of the model's greatest length."""

NO_TIMEOUT = 3_600_000


def host_status(instance: Instance) -> dict[str, Any]:
    """What the host says about itself; it has to answer."""
    with HostClient(instance.home.host_socket, timeout=PATIENCE) as client:
        return client.status()


def counters(instance: Instance) -> dict[str, int]:
    found: dict[str, int] = host_status(instance)["counters"]
    return found


def host_control(instance: Instance) -> HostControl:
    """What starts and stops the model host of an instance."""
    return HostControl(instance.home, server_uid=instance.home.host_socket.stat().st_uid)


def embeds(connection: Connection, text: str = "the session goes on") -> bool:
    """Whether a call gets a vector."""
    row = connection.execute(EMBED, [URI, text]).fetchone()
    return row is not None and len(row[0]) == 384


def computes_nothing(instance: Instance) -> bool:
    """Whether the host has nothing to do: all that it does for a text of ours is that text."""
    with HostClient(instance.home.host_socket, timeout=PATIENCE) as client:
        before = client.status()["counters"]
        client.request(Kind.EMBED, Embed(URI, ["a text of ours"]).pack())
        after = client.status()
    return bool(after["waiting"] == 0 and after["counters"]["texts"] == before["texts"] + 1)


@dataclass
class Running:
    """A statement that runs on a thread and connection of its own."""

    connection: Connection
    outcome: Future[list[Any]]
    instance: Instance
    before: dict[str, int]

    def computing(self) -> dict[str, int]:
        """The host's counters, as soon as it has run the model since the statement began."""

        def ran() -> bool:
            if self.outcome.done():
                self.outcome.result()
                raise AssertionError("the statement was over before the test began")
            return counters(self.instance)["texts"] > self.before["texts"]

        assert wait_for(ran, timeout=PATIENCE)
        return counters(self.instance)

    def error(self) -> psycopg.Error:
        """What the statement failed with; it has to end."""
        error = self.outcome.exception(timeout=PATIENCE)
        assert isinstance(error, psycopg.Error), error
        return error


@contextlib.contextmanager
def running(
    instance: Instance,
    query: str = LONG,
    parameters: tuple[Any, ...] = (URI, NO_TIMEOUT),
    *,
    database: str = "postgres",
    setup: str = "",
    answers: bool = True,
) -> Iterator[Running]:
    """Runs a statement beside the block; at the block's end it must be over or is cut off.

    A host that does not answer cannot be asked what it had done before.
    """
    connection = instance.connect(database, autocommit=True)
    if setup:
        connection.execute(setup)
    before = counters(instance) if answers else {}
    outcome: Future[list[Any]] = Future()

    def run() -> None:
        try:
            outcome.set_result(connection.execute(query, parameters).fetchall())
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Running(connection, outcome, instance, before)
    finally:
        if not outcome.done():
            hang_up(connection)
        thread.join(timeout=PATIENCE)
        connection.close()
        assert not thread.is_alive()


def hang_up(connection: Connection) -> None:
    """Leaves as a client does that is killed: without a word, whatever the statement is at."""
    import socket  # noqa: PLC0415

    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


# Twins that are harmed


@contextlib.contextmanager
def new_twin(server: Server = DEFAULT) -> Iterator[Instance]:
    """A twin with the MiniLM model (the fixture `minilm`), whose processes and files may be harmed.

    What its model store is made of is shared with all tests, what is added to it is not.
    """
    home = new_home()
    home.models.unlink()
    shutil.copytree(CACHE / "models", home.models, copy_function=os.link)
    instance = Instance(f"faults-{server.name}", home=home)
    try:
        instance.up(Wishes(durable=False, **server.wishes))
        instance.set_parameter("azure.extensions", "vector,azure_local_ai")
        with instance.connect(autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector; CREATE EXTENSION azure_local_ai")
            connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [URI, MODEL])
        yield instance
    finally:
        for process in family(home):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        remove_home(home)


def family(home: Home) -> list[psutil.Process]:
    """Every process that belongs to the twins of a home."""
    return list(processes_in(home.root))


def postmaster(instance: Instance) -> psutil.Process:
    """PostgreSQL's first process; two are equal if pid and start time are."""
    first = instance.home.data / "postmaster.pid"
    return psutil.Process(int(first.read_text().split()[0]))


def sockets(instance: Instance) -> list[Path]:
    """The socket files of an instance that are there."""
    runtime = instance.home.runtime
    found = runtime.rglob("*") if runtime.exists() else iter(())
    return [path for path in found if stat.S_ISSOCK(path.lstat().st_mode)]


def registry(instance: Instance) -> dict[str, Any]:
    """What the host has on the disk about registrations."""
    found: dict[str, Any] = json.loads((instance.home.host / "registry.json").read_text())
    return found
