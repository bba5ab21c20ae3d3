"""However a statement ends early, it ends at once, and the host stops computing for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from azpg_runtime.host import protocol
from azpg_runtime.host.client import HostClient
from azpg_runtime.host.protocol import Embed, Frame, Kind
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI
from tests.integration.calls import (
    EMBED,
    LONG,
    NO_TIMEOUT,
    PATIENCE,
    TEXTS,
    Running,
    computes_nothing,
    counters,
    embeds,
    hang_up,
    host_status,
    running,
)

pytestmark = pytest.mark.every_major

Connection = psycopg.Connection[Any]
PROMPT = TEXTS // 20
"""Texts that the host may still compute after a statement was told to end: seconds of minutes."""


def gone(connection: Connection, pid: int) -> bool:
    """Whether a backend has ended."""
    return not connection.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]).fetchall()


def pg_cancel_backend(other: Connection, call: Running) -> None:
    other.execute("SELECT pg_cancel_backend(%s)", [call.connection.info.backend_pid])


def pg_terminate_backend(other: Connection, call: Running) -> None:
    other.execute("SELECT pg_terminate_backend(%s)", [call.connection.info.backend_pid])


def cancel_request(_: Connection, call: Running) -> None:
    call.connection.cancel_safe()


@pytest.mark.parametrize(
    ("end", "state", "message"),
    [
        (pg_cancel_backend, "57014", "canceling statement due to user request"),
        (cancel_request, "57014", "canceling statement due to user request"),
        (pg_terminate_backend, "57P01", "terminating connection due to administrator command"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_statement_that_is_told_to_end(
    twin: Instance, database: str, connection: Connection, end: Callable[..., None], state: str, message: str
) -> None:
    before = counters(twin)
    with running(twin, database=database) as call:
        told = call.computing()
        end(connection, call)
        error = call.error()
        done = counters(twin)["texts"] - told["texts"]
    assert (error.sqlstate, message in str(error)) == (state, True), error
    assert done < PROMPT
    assert wait_for(lambda: computes_nothing(twin), timeout=PATIENCE)
    assert counters(twin)["dropped_texts"] > before["dropped_texts"]
    assert embeds(connection)


@pytest.mark.parametrize("setup", ["", "SET client_connection_check_interval = '50ms'"], ids=["", "checked"])
def test_a_client_that_leaves(twin: Instance, database: str, connection: Connection, setup: str) -> None:
    """The extension looks by itself whether the client is there; PostgreSQL's own setting changes nothing."""
    before = counters(twin)
    with running(twin, database=database, setup=setup) as call:
        told, pid = call.computing(), call.connection.info.backend_pid
        hang_up(call.connection)
        assert wait_for(lambda: gone(connection, pid), timeout=PATIENCE)
        done = counters(twin)["texts"] - told["texts"]
    assert done < PROMPT
    assert wait_for(lambda: computes_nothing(twin), timeout=PATIENCE)
    assert counters(twin)["dropped_texts"] > before["dropped_texts"]


def test_a_client_that_leaves_during_many_short_calls(
    twin: Instance, database: str, connection: Connection
) -> None:
    """Each call waits only for a moment; the statement ends nevertheless."""
    before = counters(twin)
    query = f"SELECT azure_local_ai.create_embeddings(%s, 'text ' || n) FROM generate_series(1, {TEXTS}) AS n"
    with running(twin, query, (URI,), database=database) as call:
        call.computing()
        pid = call.connection.info.backend_pid
        hang_up(call.connection)
        assert wait_for(lambda: gone(connection, pid), timeout=PATIENCE)
    assert counters(twin)["texts"] - before["texts"] < TEXTS


def test_a_client_that_leaves_undoes_its_statement(
    twin: Instance, database: str, connection: Connection
) -> None:
    connection.execute("CREATE TABLE t (n integer)")
    with running(twin, f"INSERT INTO t {LONG} RETURNING n", database=database) as call:
        call.computing()
        pid = call.connection.info.backend_pid
        hang_up(call.connection)
        assert wait_for(lambda: gone(connection, pid), timeout=PATIENCE)
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


@pytest.mark.parametrize(
    ("setup", "timeout_ms", "message"),
    [
        ("", 1500, "azure_local_ai.create_embeddings: timed out"),
        ("SET statement_timeout = '1500ms'", NO_TIMEOUT, "canceling statement due to statement timeout"),
    ],
    ids=["timeout_ms", "statement_timeout"],
)
def test_a_statement_whose_time_is_over(
    twin: Instance, database: str, connection: Connection, setup: str, timeout_ms: int, message: str
) -> None:
    before = counters(twin)
    connection.execute(setup or "SELECT")
    with pytest.raises(errors.QueryCanceled) as caught:
        connection.execute(LONG, [URI, timeout_ms])
    assert message in str(caught.value)
    connection.execute("RESET statement_timeout")
    ended = counters(twin)
    assert ended["texts"] - before["texts"] < PROMPT
    assert wait_for(lambda: computes_nothing(twin), timeout=PATIENCE)
    # On a slow machine it may end while its texts are still being tokenised.
    if ended["texts"] > before["texts"]:
        assert counters(twin)["dropped_texts"] > before["dropped_texts"]
    assert embeds(connection)


def test_a_run_of_the_model_is_broken_off(twin: Instance, database: str, connection: Connection) -> None:
    """What runs at the moment of the cancel is not computed to its end, unless it was just about to."""
    before = counters(twin)

    def broken_off() -> bool:
        with running(twin, database=database) as call:
            call.computing()
            pg_cancel_backend(connection, call)
            call.error()
        assert wait_for(lambda: host_status(twin)["waiting"] == 0, timeout=PATIENCE)
        return counters(twin)["terminated_runs"] > before["terminated_runs"]

    assert wait_for(broken_off, timeout=PATIENCE)


@contextlib.contextmanager
def crowd(twin: Instance, requests: int) -> Iterator[None]:
    """So many requests in the host's queue, each of a micro-batch of its own, of a client that then leaves."""
    body = Embed(URI, ["many words here " * 100] * 2).pack()
    frames = b"".join(protocol.encode(Frame(Kind.EMBED, number, body)) for number in range(requests))
    with HostClient(twin.home.host_socket, timeout=PATIENCE) as client:
        client._socket.sendall(frames)
        assert wait_for(lambda: host_status(twin)["waiting"] > requests // 2, timeout=PATIENCE)
        yield
    assert wait_for(lambda: computes_nothing(twin), timeout=PATIENCE)


@pytest.mark.parametrize("texts", [1, 2], ids=["scalar", "array"])
def test_time_in_the_queue_counts(twin: Instance, database: str, connection: Connection, texts: int) -> None:
    """A call behind others ends by its own time, without a text of it having been computed."""
    scalar = "SELECT azure_local_ai.create_embeddings(%s, repeat('much to say ', 200), timeout_ms => 5)"
    array = (
        "SELECT count(*) FROM azure_local_ai.create_embeddings(%s,"
        " array_fill(repeat('much to say ', 200), ARRAY[2]), timeout_ms => 5)"
    )
    with crowd(twin, 60):
        with pytest.raises(errors.QueryCanceled, match="timed out") as caught:
            connection.execute(scalar if texts == 1 else array, [URI])
        assert "timeout_ms" in (caught.value.diag.message_hint or "")
        # Most of those that came earlier still wait.
        assert host_status(twin)["waiting"] > 10
    assert embeds(connection)


def test_a_call_that_waits_for_its_turn_can_be_cancelled(
    twin: Instance, database: str, connection: Connection
) -> None:
    with crowd(twin, 60), running(twin, EMBED, (URI, "much to say " * 200), database=database) as call:
        active = "SELECT FROM pg_catalog.pg_stat_activity WHERE pid = %s AND state = 'active'"
        pid = call.connection.info.backend_pid
        assert wait_for(lambda: connection.execute(active, [pid]).fetchone() is not None, timeout=PATIENCE)
        assert wait_for(lambda: host_status(twin)["waiting"] > 0, timeout=PATIENCE)
        pg_cancel_backend(connection, call)
        if call.outcome.exception(timeout=PATIENCE) is not None:
            assert call.error().sqlstate == "57014"
    assert embeds(connection)


def test_an_error_caught_in_a_block_stops_the_computation(
    twin: Instance, database: str, connection: Connection
) -> None:
    """A subtransaction that ends gives its requests up; the transaction goes on."""
    caught = connection.execute(
        f"""
        CREATE FUNCTION pg_temp.ask() RETURNS text LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM count(*) FROM azure_local_ai.create_embeddings(
                '{URI}', array_fill(repeat('many words here ', 100), ARRAY[{TEXTS}]), timeout_ms => 300);
            RETURN 'no error';
        EXCEPTION WHEN query_canceled THEN
            RETURN SQLERRM;
        END $$;
        SELECT pg_temp.ask()
        """
    )
    while caught.nextset():
        pass
    row = caught.fetchone()
    assert row is not None
    assert "timed out" in row[0]
    assert wait_for(lambda: computes_nothing(twin), timeout=PATIENCE)
