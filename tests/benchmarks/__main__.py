"""What the way through SQL costs, as ratios: ``make bench``.

Each figure is the median of several rounds in which both sides take turns, so that a machine whose speed
drifts gives the same answer. Nothing here passes or fails; the targets stand beside the figures.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from azpg.output import out
from azpg_runtime.demonstration.passages import language_reference
from azpg_runtime.embedding import Embedder
from azpg_runtime.models import ModelStore
from azpg_runtime.models.pull import pull
from azpg_runtime.postgres.instance import Instance
from tests.benchmarks import front
from tests.conftest import CACHE, MODEL, URI, new_home, remove_home

TEXTS = 2000
ROUNDS = 5
CONNECTIONS = 30


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
        front.run(instance)
    finally:
        remove_home(home)


if __name__ == "__main__":
    main()
