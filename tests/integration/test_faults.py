"""What can go wrong around the model host: PostgreSQL goes on, the next statement works, nothing is left."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import errors

from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import MODEL, URI
from tests.integration.calls import (
    EMBED,
    PATIENCE,
    Connection,
    computes_nothing,
    counters,
    embeds,
    family,
    host_status,
    new_twin,
    postmaster,
    registry,
    running,
    sockets,
)
from tests.support.servers import Server
from tests.unit import tiny

pytestmark = [pytest.mark.every_major, pytest.mark.vector]

BRIEF = f"SELECT azure_local_ai.create_embeddings('{URI}', 'a text', timeout_ms => 300)"
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@pytest.fixture(scope="module")
def harmed(postgres_server: Server, minilm: StoredModel) -> Iterator[Instance]:
    with new_twin(postgres_server) as instance:
        yield instance


@pytest.fixture(scope="module")
def harmed_18(minilm: StoredModel) -> Iterator[Instance]:
    """For what does not concern the shim."""
    with new_twin() as instance:
        yield instance


@contextlib.contextmanager
def whole(instance: Instance) -> Iterator[Instance]:
    """The twin works before the test and after it, with the same postmaster."""
    instance.up()
    server = postmaster(instance)
    with instance.connect(autocommit=True) as before:
        assert embeds(before)
        yield instance
        assert postmaster(instance) == server
        assert embeds(before), "a session of before the fault goes on"
    with instance.connect(autocommit=True) as session:
        assert embeds(session)


@pytest.fixture
def instance(harmed: Instance) -> Iterator[Instance]:
    with whole(harmed) as instance:
        yield instance


@pytest.fixture
def instance_18(harmed_18: Instance) -> Iterator[Instance]:
    with whole(harmed_18) as instance:
        yield instance


def host_process(instance: Instance) -> psutil.Process:
    return psutil.Process(host_status(instance)["pid"])


def ended(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def refused(session: Connection, query: str, *parameters: object) -> psycopg.errors.Diagnostic:
    with pytest.raises(psycopg.Error) as caught:
        session.execute(query, parameters)
    return caught.value.diag


# Killed


def test_a_killed_host_is_replaced_and_the_next_call_works(instance: Instance) -> None:
    with instance.connect(autocommit=True) as session:
        for _ in range(3):
            assert embeds(session)
            host = host_process(instance)
            host.kill()
            # Gone, not only a zombie: its last thread holds the connections open.
            assert wait_for(lambda: not psutil.pid_exists(host.pid), timeout=PATIENCE)  # noqa: B023
            assert embeds(session)
            assert host_process(instance) != host


def test_ten_sessions_embed_when_the_host_is_killed(instance: Instance) -> None:
    with contextlib.ExitStack() as stack:
        calls = [stack.enter_context(running(instance)) for _ in range(10)]
        # Two rounds of each are with the host then; a session that comes later would find the next host.
        assert wait_for(lambda: host_status(instance)["waiting"] == 20, timeout=PATIENCE)
        host_process(instance).kill()
        for call in calls:
            said = call.error().diag
            assert said.sqlstate == "08006"
            assert said.message_primary == (
                "azure_local_ai.create_embeddings: the model host ended the connection before it answered"
            )
            assert "can be repeated" in (said.message_hint or "")
        for call in calls:
            assert embeds(call.connection)


def test_a_killed_supervisor_takes_its_host_along_and_up_heals(instance: Instance) -> None:
    host = host_process(instance)
    supervisor = host.parent()
    assert supervisor is not None
    supervisor.kill()
    assert wait_for(lambda: ended(host), timeout=PATIENCE)
    with instance.connect(autocommit=True) as session:
        # Its last thread may hold the connection open for a moment.
        assert wait_for(lambda: refused(session, BRIEF).sqlstate == "08001", timeout=PATIENCE)
        said = refused(session, EMBED, URI, "nobody there")
        assert "the model host cannot be reached: " in (said.message_primary or "")
        assert "azpg up" in (said.message_hint or "")
        assert instance.status().state == "degraded"
        assert instance.up()
        assert embeds(session)


def test_postgres_is_killed_while_sessions_embed(harmed: Instance) -> None:
    """Its sessions end, the host stops computing for them, and `up` starts it with its data."""
    instance = harmed
    instance.up()
    host = host_process(instance)
    with instance.connect(autocommit=True) as session:
        session.execute("CREATE TABLE IF NOT EXISTS kept (n serial, v vector(384))")
        session.execute(
            "INSERT INTO kept (v) SELECT azure_local_ai.create_embeddings(%s, 'a text ' || n)"
            " FROM generate_series(1, 20) AS n",
            [URI],
        )
        # What is not durable reaches the disk with the next checkpoint.
        with instance.superuser() as superuser:
            superuser.execute("CHECKPOINT")
        server = postmaster(instance)
        before = counters(instance)
        with running(instance) as one, running(instance) as other:
            backends = server.children()
            assert {one.connection.info.backend_pid} <= {process.pid for process in backends}
            one.computing()
            server.kill()
            for call in (one, other):
                assert isinstance(call.error(), psycopg.OperationalError)
        for process in (server, *backends):
            assert wait_for(lambda: ended(process), timeout=PATIENCE), process  # noqa: B023
    assert wait_for(lambda: computes_nothing(instance), timeout=PATIENCE)
    assert counters(instance)["dropped_texts"] > before["dropped_texts"]
    assert instance.status().state == "degraded"
    assert instance.up()
    assert host_process(instance) == host
    with instance.connect(autocommit=True) as session:
        assert session.execute("SELECT count(*) >= 20 FROM kept WHERE v IS NOT NULL").fetchone() == (True,)
        session.execute("DROP TABLE kept")
        assert embeds(session)


# Stopped


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    assert wait_for(lambda: process.status() == psutil.STATUS_STOPPED, timeout=PATIENCE)
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


@contextlib.contextmanager
def silenced(host: psutil.Process) -> Iterator[None]:
    """A host that is stopped, and not replaced: nor does its supervisor go on."""
    supervisor = host.parent()
    assert supervisor is not None
    with stopped(supervisor), stopped(host):
        yield


def test_a_host_that_hangs_is_replaced_and_the_next_call_works(instance: Instance) -> None:
    host = host_process(instance)
    with instance.connect(autocommit=True) as old, instance.connect(autocommit=True) as new:
        assert embeds(old)
        with stopped(host):
            assert embeds(new)  # it waited for the next host
        assert ended(host)
        assert embeds(old)
    assert "supervisor: the model host hangs; ending it" in instance.home.host_log.read_text()


def test_calls_to_a_stopped_host_end_by_their_time_or_a_cancel(instance: Instance) -> None:
    host = host_process(instance)
    with instance.connect(autocommit=True) as old, running(instance) as call:
        assert embeds(old)
        call.computing()
        with silenced(host), instance.connect(autocommit=True) as new:
            for session in (old, new, old):
                said = refused(session, BRIEF)
                assert said.sqlstate == "57014"
                assert said.message_primary == (
                    "azure_local_ai.create_embeddings: timed out after 300 ms, without a word from the model host"
                )
                assert "azpg status" in (said.message_hint or "")
                session.execute("SET statement_timeout = 200")
                assert "statement timeout" in (refused(session, EMBED, URI, "a text").message_primary or "")
                session.execute("RESET statement_timeout")
            call.connection.cancel_safe()
            assert call.error().sqlstate == "57014"
            assert old.execute("SELECT 1").fetchone() == (1,)
        assert wait_for(lambda: computes_nothing(instance), timeout=PATIENCE)
        assert embeds(old)
        assert host_process(instance) == host


def test_many_calls_to_a_stopped_host_end_nevertheless(instance_18: Instance) -> None:
    """Each abandoned one leaves a connection in the host's queue of those to be accepted."""
    with silenced(host_process(instance_18)), instance_18.connect(autocommit=True) as session:
        session.execute("SET statement_timeout = 5")
        for _ in range(1100):
            refused(session, EMBED, URI, "a text")
        session.execute("RESET statement_timeout")
        assert refused(session, BRIEF).sqlstate == "57014"


def azpg(instance: Instance, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "azpg", *arguments],
        env={**os.environ, "AZPG_HOME": str(instance.home.home.root)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_status_says_that_a_stopped_host_does_not_answer(instance_18: Instance) -> None:
    with silenced(host_process(instance_18)):
        said = azpg(instance_18, "status", instance_18.name)
        assert said.returncode == 0, said.stderr
        assert "is degraded" in said.stdout
        assert "model host  does not answer" in said.stdout
        assert instance_18.status().host_state == "silent"
    assert wait_for(lambda: instance_18.status().host_state == "running", timeout=PATIENCE)


def test_up_replaces_a_host_that_does_not_answer(instance_18: Instance) -> None:
    host = host_process(instance_18)
    said: list[str] = []
    with silenced(host):
        assert instance_18.up(say=said.append)
        assert ended(host)
    assert [one for one in said if "runs as root" not in one] == [
        "The model host does not answer; starting another"
    ]


# Files and limits


def test_the_socket_is_removed(instance: Instance) -> None:
    """Sessions that have a connection keep it; the others are told, and `up` mends it."""
    with instance.connect(autocommit=True) as old, instance.connect(autocommit=True) as new:
        assert embeds(old)
        instance.home.host_socket.unlink()
        assert embeds(old)
        said = refused(new, EMBED, URI, "a text")
        assert said.sqlstate == "08001"
        assert said.message_primary == (
            "azure_local_ai.create_embeddings: the model host cannot be reached: No such file or directory"
        )
        assert "azpg up" in (said.message_hint or "")
        assert instance.status().state == "degraded"
        assert instance.up()
        assert embeds(new)
        assert embeds(old)


@contextlib.contextmanager
def limited(process: psutil.Process, what: int, amount: int) -> Iterator[None]:
    """A process for which a resource is limited for a while."""
    limit(process, what, (amount, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        limit(process, what, UNLIMITED)


def limit(process: psutil.Process, what: int, limits: tuple[int, int]) -> None:
    """As the process's own user: root may be without the right to change limits of others."""
    program = "import resource, sys; pid, what, *limits = map(int, sys.argv[1:]); resource.prlimit(pid, what, limits)"
    numbers = map(str, (process.pid, what, *limits))
    own = process.uids().effective == os.geteuid()
    user = {} if own else {"user": process.uids().real, "group": process.gids().real, "extra_groups": []}
    subprocess.run([sys.executable, "-c", program, *numbers], check=True, cwd="/", **user)


def store_of(instance: Instance) -> Path:
    """Where the host puts what it takes in: root's server has a user for it, which may not write everybody's."""
    own = host_process(instance).uids().real != os.geteuid()
    return instance.home.host / "store" if own else instance.home.home.models


def folder_of(path: Path) -> set[str]:
    return {str(entry.relative_to(path)) for entry in path.rglob("*")}


@contextlib.contextmanager
def small_model(instance: Instance, seed: int) -> Iterator[str]:
    """A model below the models folder; what has another seed has other content."""
    folder = instance.home.models / "small"
    tiny.write(folder, tiny.files(seed=seed))
    try:
        yield "small/"
    finally:
        shutil.rmtree(folder)


REGISTER = "SELECT azure_local_ai.model_register(%s, %s)"


@pytest.mark.parametrize("size", [0, 1000, 20_000])
def test_the_disk_is_full_when_a_model_is_taken_in(instance_18: Instance, size: int) -> None:
    store = store_of(instance_18)
    uri = f"room-for-{size}:v1"
    host, before, files = host_process(instance_18), registry(instance_18), folder_of(store) | {"content"}
    with instance_18.connect(autocommit=True) as session, small_model(instance_18, size + 7) as path:
        with limited(host, resource.RLIMIT_FSIZE, size):
            said = refused(session, REGISTER, uri, path)
        assert said.sqlstate == "53100", said
        assert (said.message_primary or "").startswith(
            f"azure_local_ai.model_register: could not write to the model store {store}: "
        )
        assert "Free some space" in (said.message_hint or "")
        assert (registry(instance_18), folder_of(store) | {"content"}) == (before, files)
        assert refused(session, "SELECT azure_local_ai.model_loaded(%s)", uri).sqlstate == "42704"
        assert host_process(instance_18) == host
        session.execute(REGISTER, [uri, path])
        session.execute("SELECT azure_local_ai.model_unregister(%s)", [uri])


WORDS = {"registry.json": "the model registry", "settings.json": "the settings file"}

CHANGES = {
    "register": ("model_register", "'new:v1', 'all-minilm-l6-v2'", "registry.json"),
    "unregister": ("model_unregister", "'second:v1'", "registry.json"),
    "set": ("set_setting", "'inter_op_parallelism', '2'", "settings.json"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_disk_is_full_when_the_hosts_own_files_are_written(instance_18: Instance, change: str) -> None:
    function, arguments, file = CHANGES[change]
    host = host_process(instance_18)
    state = "SELECT azure_local_ai.model_metadata('second:v1'), azure_local_ai.get_setting()"
    with instance_18.connect(autocommit=True) as session:
        session.execute(REGISTER, ["second:v1", MODEL])
        before = session.execute(state).fetchone(), registry(instance_18), folder_of(instance_18.home.host)
        with limited(host, resource.RLIMIT_FSIZE, 10):
            said = refused(session, f"SELECT azure_local_ai.{function}({arguments})")
        assert said.sqlstate == "53100"
        assert said.message_primary == (
            f"azure_local_ai.{function}: could not write {WORDS[file]} {instance_18.home.host / file}: "
            "File too large"
        )
        assert "Free some space" in (said.message_hint or "")
        after = session.execute(state).fetchone(), registry(instance_18), folder_of(instance_18.home.host)
        assert after == before
        assert refused(session, "SELECT azure_local_ai.model_loaded('new:v1')").sqlstate == "42704"
        assert host_process(instance_18) == host
        session.execute(f"SELECT azure_local_ai.{function}({arguments})")
        session.execute("SELECT azure_local_ai.set_setting('inter_op_parallelism', '1')")
        with contextlib.suppress(errors.UndefinedObject):
            session.execute("SELECT azure_local_ai.model_unregister('new:v1')")


def test_no_memory_is_left_for_a_load(instance_18: Instance) -> None:
    host = host_process(instance_18)
    with instance_18.connect(autocommit=True) as session, small_model(instance_18, 1) as path:
        session.execute(REGISTER, ["small:v1", path])
        session.execute("SELECT azure_local_ai.model_unload(%s)", [URI])
        with limited(host, resource.RLIMIT_AS, host.memory_info().vms + 8 * 1024 * 1024):
            for _ in range(3):
                said = refused(session, EMBED, URI, "a text")
                assert said.sqlstate == "53200", said.message_primary
                assert "which the system does not give" in (said.message_primary or "")
                row = session.execute(EMBED, ["small:v1", "a text"]).fetchone()
                assert row is not None
                assert len(row[0]) == tiny.HIDDEN
                assert session.execute("SELECT azure_local_ai.model_loaded(%s)", [URI]).fetchone() == (False,)
        assert host_process(instance_18) == host
        assert embeds(session)
        session.execute("SELECT azure_local_ai.model_unregister('small:v1')")


# Down


def kill_host(instance: Instance) -> None:
    host_process(instance).kill()


def stop_host(instance: Instance) -> None:
    host_process(instance).suspend()


def kill_supervisor(instance: Instance) -> None:
    host_process(instance).parent().kill()  # type: ignore[union-attr]


def stop_supervisor(instance: Instance) -> None:
    host_process(instance).parent().suspend()  # type: ignore[union-attr]


def kill_postgres(instance: Instance) -> None:
    postmaster(instance).kill()


def remove_socket(instance: Instance) -> None:
    instance.home.host_socket.unlink()


@pytest.mark.parametrize(
    "fault", [kill_host, stop_host, kill_supervisor, stop_supervisor, kill_postgres, remove_socket]
)
def test_down_after_a_fault_leaves_nothing_behind(
    harmed_18: Instance, fault: Callable[[Instance], None]
) -> None:
    instance = harmed_18
    instance.up()
    with instance.connect(autocommit=True) as session:
        assert embeds(session)
    with running(instance) as call:
        call.computing()
        fault(instance)
        done = azpg(instance, "down", instance.name)
        assert (done.returncode, done.stderr) == (0, "")
        call.error()
    assert family(instance.home.home) == []
    assert sockets(instance) == []
    assert not instance.home.runtime.exists()
    assert instance.status().state == "stopped"
    assert instance.up()
    with instance.connect(autocommit=True) as session:
        assert embeds(session)
