"""Vectorizing a table against the engine alone: ``python -m tests.benchmarks.vectorize``.

The table has 20,000 rows of one sentence or two. A process vectorizes it, is killed three times at random, and
started again at once. The engine embeds the same texts in this process, with as many threads, a quarter of them
before and a quarter after.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
from psycopg import sql

from azpg.output import out
from azpg_runtime.demonstration.passages import language_reference
from azpg_runtime.embedding import Embedder
from azpg_runtime.host.client import host_status
from azpg_runtime.models import ModelStore
from azpg_runtime.models.pull import pull
from azpg_runtime.postgres.instance import Instance
from tests.conftest import CACHE, MODEL, URI, new_home, remove_home
from tests.integration import vectorizing
from tests.integration.vectorized import Table, vectorized

KILLS = 3


def sentences(count: int) -> list[str]:
    """Texts of the Python language reference, of which no two are the same."""
    found = [
        f"{one.title}: {sentence}"
        for one in language_reference()
        for sentence in re.split(r"(?<=[.!?])\s+", one.body)
    ]
    return [f"{found[number % len(found)]} ({number})" for number in range(count)]


def host(instance: Instance) -> dict[str, Any]:
    status = host_status(instance.home.host_socket, timeout=60)
    assert status is not None
    counters: dict[str, Any] = status["counters"]
    return counters


@dataclass(frozen=True)
class Speed:
    """Rows, or texts, a second, and the processors' time of each in milliseconds."""

    rate: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.rate:.1f} a second, {self.cpu:.2f} ms of processor each"


def engine(embedder: Embedder, texts: list[str]) -> Speed:
    """The engine alone, in this process."""
    started, used = time.perf_counter(), time.process_time()
    embedder.embed(texts)
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    return Speed(len(texts) / seconds, 1000 * cpu / len(texts))


def processor_time(instance: Instance) -> float:
    """Seconds of the model host, of PostgreSQL with all its backends, and of the processes started here."""
    first = psutil.Process(int((instance.home.data / "postmaster.pid").read_text().split()[0]))
    status = host_status(instance.home.host_socket, timeout=60)
    assert status is not None
    processes = [psutil.Process(status["pid"]), first, *first.children()]
    times = [process.cpu_times() for process in processes]
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    # What the postmaster has waited for counts as its children's.
    return (
        sum(one.user + one.system for one in times)
        + times[1].children_user
        + times[1].children_system
        + (ours.ru_utime + ours.ru_stime)
    )


def vectorize(instance: Instance, table: Table, workers: int, kills: list[int]) -> Speed:
    """Vectorizes the table; is killed when so many rows are done."""
    database = table.connection.info.dbname
    table.execute("UPDATE texts SET embedding = NULL")
    table.execute("VACUUM FULL texts")
    table.connection.execute(sql.SQL("TRUNCATE {}").format(table.column.state))
    table.execute("CHECKPOINT")
    before, used = host(instance), processor_time(instance)
    started = time.perf_counter()
    done = sql.SQL("SELECT count(*) FROM {}").format(table.column.state)
    for rows in kills:
        process = vectorizing.start("run", instance, database, workers)
        while table.connection.execute(done).fetchone()[0] < rows:  # type: ignore[index]
            time.sleep(0.05)
        process.kill()
        process.wait()
    process = vectorizing.start("run", instance, database, workers)
    assert process.wait() == 0
    seconds = time.perf_counter() - started
    after, used = host(instance), processor_time(instance) - used
    total, pending, failed = table.backlog()
    assert (pending, failed) == (0, 0)
    ran, lost = after["seconds"] - before["seconds"], after["texts"] - before["texts"] - total
    speed = Speed(total / seconds, 1000 * used / total)
    out().print(
        f"  {workers} worker(s), {len(kills)} kills: {seconds:.1f} s, {speed}; "
        f"the model ran for {ran / seconds:.1%} of the time; {lost} texts were embedded in vain"
    )
    return speed


def compare(what: str, ours: Speed, alone: list[Speed]) -> None:
    """Prints the ratios to the engine as it was before and after."""
    rate, cpu = (sum(getattr(one, name) for one in alone) / len(alone) for name in ("rate", "cpu"))
    out().print(
        f"{what} / Embedder.embed: {ours.rate / rate:.3f} of the rate, target at least 0.90; "
        f"{ours.cpu / cpu:.3f} of the processor's time"
    )


def main() -> None:
    """Runs it on a twin of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--check", action="store_true", help="also hold every vector against the engine's")
    parser.add_argument("--only-kills", action="store_true", help="leave out the runs without kills")
    arguments = parser.parse_args()
    texts = sentences(arguments.rows)
    embedder = Embedder(pull(MODEL, ModelStore(CACHE / "models")))
    embedder.embed(texts[:200])
    kills = sorted(random.sample(range(arguments.rows // 10, arguments.rows), KILLS))
    home = new_home()
    instance = Instance("bench", home=home)
    try:
        instance.up()
        instance.set_parameter("azure.extensions", "vector,azure_local_ai")
        with instance.connect(autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
        with instance.connect("bench", autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector; CREATE EXTENSION azure_local_ai")
            connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [URI, MODEL])
            table = vectorized(
                instance,
                connection,
                create="CREATE TABLE texts (id bigint PRIMARY KEY, body text, embedding vector(384))",
                table="texts",
                text="body",
            )
            with connection.cursor() as cursor, cursor.copy("COPY texts (id, body) FROM STDIN") as copy:
                for number, text in enumerate(texts):
                    copy.write_row((number, text))
            connection.execute("ANALYZE texts")
            quarter = len(texts) // 4
            parts = [texts[start : start + quarter] for start in range(0, 4 * quarter, quarter)]
            alone = [engine(embedder, parts[0])]
            killed = vectorize(instance, table, 2, kills)
            if arguments.check:
                check(table, embedder)
            alone.append(engine(embedder, parts[1]))
            out().print(f"  the engine alone: {', '.join(map(str, alone))}")
            compare(f"azpg vectorize, killed {KILLS} times,", killed, alone[:2])
            if arguments.only_kills:
                return
            two = vectorize(instance, table, 2, [])
            alone.append(engine(embedder, parts[2]))
            one = vectorize(instance, table, 1, [])
            compare("azpg vectorize", two, alone[1:3])
            out().print(f"two workers / one: {two.rate / one.rate:.3f}, target at least 1")
    finally:
        remove_home(home)


def check(table: Table, embedder: Embedder) -> None:
    """That every row has the vector of its text."""
    rows = table.connection.execute("SELECT body, embedding::real[] FROM texts").fetchall()
    expected = embedder.embed([body for body, _ in rows])
    np.testing.assert_allclose([vector for _, vector in rows], expected, atol=1e-6)
    out().print(f"  all {len(rows)} vectors are right")


if __name__ == "__main__":
    main()
