"""What the way through SQL costs, as ratios: ``make bench``.

Each figure is the median of several rounds in which both sides take turns, so that a machine whose speed
drifts gives the same answer. Nothing here passes or fails; the targets stand beside the figures.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from psycopg.errors import QueryCanceled

from azpg.output import out
from azpg_runtime.demonstration.passages import language_reference
from azpg_runtime.embedding import Embedder
from azpg_runtime.embedding.batching import RUN_OVERHEAD, TOKEN_BUDGET
from azpg_runtime.host.client import host_status
from azpg_runtime.models import ModelStore
from azpg_runtime.models.pull import pull
from azpg_runtime.postgres.instance import Instance
from tests.benchmarks import front
from tests.conftest import CACHE, MODEL, URI, new_home, remove_home

TEXTS = 2000
ROUNDS = 5
CONNECTIONS = 30
SCALAR_SESSIONS, ARRAY_SESSIONS, ARRAY = 48, 15, 50
SCALAR_CALLS = 20
"""Calls of each scalar session beside the huge call; all sessions together are 64."""


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def spread(values: list[float], unit: str = "") -> str:
    """Median, and the least and the greatest value."""
    return f"{statistics.median(values):.3f}{unit} ({min(values):.3f} to {max(values):.3f})"


def array_call(connection: Any, embedder: Embedder) -> None:
    """One statement over many texts, against the same texts in this process."""
    passages = language_reference()
    texts = [f"{one.title}\n{one.body}" for one in (passages * (TEXTS // len(passages) + 1))[:TEXTS]]
    query = "SELECT count(embedding) FROM azure_local_ai.create_embeddings(%s, %s::text[])"
    connection.execute(query, [URI, texts[:50]])
    embedder.embed(texts[:50])
    ratios = []
    for number in range(ROUNDS):
        in_process = seconds(lambda: embedder.embed(texts))
        in_sql = seconds(lambda: connection.execute(query, [URI, texts]))
        ratios.append(in_sql / in_process)
        out().print(f"  round {number + 1}: in process {in_process:.2f} s, in SQL {in_sql:.2f} s")
    out().print(
        f"create_embeddings over {TEXTS} texts / Embedder.embed: {spread(ratios)}, target at most 1.10"
    )


def first_call(instance: Instance) -> None:
    """The first call of a new connection, against its second."""
    query = "SELECT azure_local_ai.create_embeddings(%s, 'a short text')"
    extra = []
    for _ in range(CONNECTIONS):
        with instance.connect("bench", autocommit=True) as connection:
            first = seconds(lambda: connection.execute(query, [URI]))
            second = seconds(lambda: connection.execute(query, [URI]))
        extra.append(1000 * (first - second))
    out().print(f"first call of a connection - its second: {spread(extra, ' ms')}, target at most 50 ms")


def scalar_call(connection: Any, embedder: Embedder) -> None:
    """One text at a time, against the same in this process."""
    text = "a question of about ten words that somebody asks"
    query = "SELECT azure_local_ai.create_embeddings(%s, %s)"
    ratios, took = [], []
    for _ in range(200):
        in_process = seconds(lambda: embedder.embed([text]))
        in_sql = seconds(lambda: connection.execute(query, [URI, text]))
        ratios.append(in_sql / in_process)
        took.append(1000 * in_sql)
    out().print(f"scalar create_embeddings: {spread(took, ' ms')}; / Embedder.embed: {spread(ratios)}")


def host_of(instance: Instance) -> dict[str, Any]:
    status = host_status(instance.home.host_socket, timeout=60)
    assert status is not None
    return status


def micro_batch(before: dict[str, Any], after: dict[str, Any]) -> float:
    """What a full run of the model took on average between two states of the counters, in seconds."""
    runs, tokens, took = (after[key] - before[key] for key in ("runs", "padded_tokens", "seconds"))
    return float(took) / (tokens + RUN_OVERHEAD * runs) * (TOKEN_BUDGET + RUN_OVERHEAD)


@contextmanager
def repeated(instance: Instance, query: str, texts: list[str]) -> Iterator[None]:
    """One session that calls again and again while the block runs."""

    def call(connection: Any) -> None:
        with contextlib.suppress(QueryCanceled):
            while True:
                connection.execute(query, [URI, texts])

    with instance.connect("bench", autocommit=True) as connection:
        thread = threading.Thread(target=call, args=[connection])
        thread.start()
        try:
            yield
        finally:
            while thread.is_alive():
                connection.cancel_safe()
                thread.join(0.1)


def beside_a_huge_call(instance: Instance) -> None:
    """Scalar calls of many sessions, beside array calls and one huge one, against a micro-batch's time."""
    passages = [one.body for one in language_reference()]
    array = "SELECT count(*) FROM azure_local_ai.create_embeddings(%s, %s::text[])"
    scalar = "SELECT cardinality(azure_local_ai.create_embeddings(%s, %s))"
    took: list[float] = []

    def ask(connection: Any) -> None:
        for number in range(SCALAR_CALLS):
            question = f"how do I make my class number {number} iterable"
            took.append(seconds(lambda: connection.execute(scalar, [URI, question])))  # noqa: B023

    with contextlib.ExitStack() as sessions:
        sessions.enter_context(repeated(instance, array, passages * 10))
        for at in range(ARRAY_SESSIONS):
            part = passages[at * ARRAY : (at + 1) * ARRAY]
            sessions.enter_context(repeated(instance, array, part))
        asking = [
            sessions.enter_context(instance.connect("bench", autocommit=True)) for _ in range(SCALAR_SESSIONS)
        ]
        before = host_of(instance)
        threads = [threading.Thread(target=ask, args=[connection]) for connection in asking]
        for thread in threads:
            thread.start()
        peak = 0
        process = psutil.Process(before["pid"])
        while any(thread.is_alive() for thread in threads):
            peak = max(peak, process.memory_info().rss)
            threads[0].join(0.05)
        for thread in threads:
            thread.join()
        after = host_of(instance)
    one = micro_batch(before["counters"], after["counters"])
    median, late = statistics.median(took), statistics.quantiles(took, n=20)[-1]
    out().print(
        f"scalar calls of {SCALAR_SESSIONS} sessions beside {ARRAY_SESSIONS} with arrays and a huge one: "
        f"p50 {median / one:.2f}, p95 {late / one:.2f} micro-batches of {1000 * one:.0f} ms, target p95 at most 3"
    )
    over = peak - after["memory"]["in_use"]
    out().print(f"  the host's memory beside the model: at most {over / 1e6:.0f} MB, target below 300 MB")


def main() -> None:
    """Runs every benchmark on a twin of its own."""
    CACHE.mkdir(exist_ok=True)
    store = ModelStore(CACHE / "models")
    embedder = Embedder(pull(MODEL, store))
    home = new_home()
    instance = Instance("bench", home=home)
    try:
        instance.up()
        instance.set_parameter("azure.extensions", "vector,azure_local_ai")
        with instance.connect(autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
        with instance.connect("bench", autocommit=True) as connection:
            connection.execute("CREATE EXTENSION azure_local_ai")
            connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [URI, MODEL])
            scalar_call(connection, embedder)
            first_call(instance)
            array_call(connection, embedder)
        beside_a_huge_call(instance)
        front.run(instance)
    finally:
        remove_home(home)


if __name__ == "__main__":
    main()
