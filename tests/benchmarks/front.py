"""What the TLS front costs, against PostgreSQL's own port."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import psutil
import psycopg

from azpg.output import out
from azpg_runtime.postgres.instance import Instance

ROUNDS = 7
TRIPS = 500
MEGABYTES = 128
IDLE = 60
_ROW = b"x" * 8191 + b"\n"

Connection = psycopg.Connection[Any]


def round_trip(connection: Connection) -> float:
    """Seconds of one short statement, at the median."""
    took = []
    for _ in range(TRIPS):
        started = time.perf_counter()
        connection.execute("SELECT 1")
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def copy_out(connection: Connection) -> float:
    """Seconds of reading much."""
    rows = MEGABYTES * 2**20 // len(_ROW)
    started = time.perf_counter()
    with connection.cursor().copy(
        f"COPY (SELECT repeat('x', 8191) FROM generate_series(1, {rows})) TO STDOUT"
    ) as copy:
        for _ in copy:
            pass
    return time.perf_counter() - started


def copy_in(connection: Connection) -> float:
    """Seconds of writing much, which PostgreSQL reads and throws away."""
    started = time.perf_counter()
    with connection.cursor().copy("COPY sink FROM STDIN WHERE false") as copy:
        for _ in range(MEGABYTES * 2**20 // len(_ROW) // 16):
            copy.write(_ROW * 16)
    return time.perf_counter() - started


def connect(dsn: str) -> float:
    """Seconds of one connection and its end."""
    started = time.perf_counter()
    psycopg.connect(dsn).close()
    return time.perf_counter() - started


def compare(what: str, measure: Callable[[Any], float], ways: dict[str, Any]) -> None:
    """Prints the direct way's median in milliseconds, and the other ways' as ratios to it."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, argument in ways.items():
            found[way].append(measure(argument))
    (direct, base), *others = found.items()
    line = f"{what}: {direct} {statistics.median(base) * 1000:.3f} ms"
    for way, took in others:
        ratios = [one / other for one, other in zip(took, base, strict=True)]
        line += f"; {way} / {direct} {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    out().print(line)


def memory(instance: Instance, dsn: str) -> None:
    """What an idle connection costs the front."""
    (process,) = (
        process
        for process in psutil.process_iter(["cmdline"])
        if "azpg_runtime.postgres.front" in (process.info["cmdline"] or [])
        and "--fd" in process.info["cmdline"]
        and str(instance.home.tls / "server.pem") in process.info["cmdline"]
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(psycopg.connect(dsn))
        before = process.memory_info().rss
        for _ in range(IDLE):
            stack.enter_context(psycopg.connect(dsn)).execute("SELECT 1")
        each = (process.memory_info().rss - before) / IDLE / 1024
    out().print(
        f"an idle TLS connection: {each:.0f} kB of the front, which has {before / 2**20:.0f} MB itself"
    )


def run(instance: Instance) -> None:
    """Compares the direct port, the front without and with TLS."""
    tls = instance.dsn(tls=True)
    dsns = {
        "direct": instance.dsn(tcp=True),
        "plain": tls.replace("sslmode=verify-full", "sslmode=disable"),
        "TLS": tls,
    }
    compare("connecting", connect, dsns)
    memory(instance, tls)
    with contextlib.ExitStack() as stack:
        ways = {}
        for way, dsn in dsns.items():
            ways[way] = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            ways[way].execute("CREATE TEMP TABLE sink (body text)")
        compare("round trip of SELECT 1", round_trip, ways)
        compare(f"COPY of {MEGABYTES} MB to the client", copy_out, ways)
        compare(f"COPY of {MEGABYTES} MB from the client", copy_in, ways)
