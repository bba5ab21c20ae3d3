"""`azpg worker`: rows that changed get their embedding soon after."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from azpg.failures import FAILED
from azpg.output import complain, print_json, say
from azpg_provision.commands import arguments as a
from azpg_provision.commands.vectorize import Spec, Workers
from azpg_provision.target.where import Where

if TYPE_CHECKING:
    from azpg_provision.vectorize.serve import Metrics


@a.names_target
def worker(
    spec: Spec = None,
    *,
    flags: Where,
    database: a.Database = None,
    workers: Workers = 4,
    once: Annotated[bool, typer.Option("--once", help="Leave when nothing waits any more.")] = False,
    every: Annotated[
        float, typer.Option("--every", min=1, metavar="SECONDS", help="How often to say what was done.")
    ] = 10.0,
    json: a.Json = False,
) -> None:
    """Embed the rows that wait in queues (sync: queue) until it is stopped; several may share the work.

    Example: azpg worker shop.yaml --workers 2
    """
    from azpg_provision.commands.databases import databases  # noqa: PLC0415
    from azpg_provision.commands.place import open_place  # noqa: PLC0415
    from azpg_provision.commands.stopping import stopping  # noqa: PLC0415
    from azpg_provision.vectorize import Options  # noqa: PLC0415
    from azpg_provision.vectorize.serve import Service  # noqa: PLC0415

    def tell(metrics: Metrics) -> None:
        if json:
            print_json({"version": 1, **asdict(metrics)}, lines=True)
        else:
            say(_line(metrics))

    target, wanted = open_place(flags, spec)
    service = Service(
        databases(target, wanted, database),
        Options(workers=workers),
        once=once,
        tell=tell,
        complain=complain,
        every=every,
    )
    with stopping() as stop:
        if not once:
            say(f"Waiting for rows that change on {target.name}; Ctrl-C ends it.")
        metrics = service.run(stop)
    tell(metrics)  # after what is said about the end
    if once and metrics.refused:
        number = len(metrics.refused)
        were = "was" if number == 1 else "were"
        complain(f"{_queues(number)} of {metrics.columns} {were} refused: see why above.")
        raise typer.Exit(FAILED)


def _line(metrics: Metrics) -> str:
    parts = [f"{metrics.embedded:,} embedded"]
    if metrics.failed:
        parts.append(f"{metrics.failed:,} failed")
    if metrics.oldest is None:
        parts.append("none waits")
    else:
        parts.append(f"{metrics.waiting:,} wait, the first for {metrics.oldest:.1f} s")
    refused = ", ".join(f"{one.database}: {one.schema}.{one.table}.{one.column}" for one in metrics.refused)
    end = f"; {len(metrics.refused)} refused: {refused}." if refused else "."
    return f"{_queues(metrics.columns)}: {', '.join(parts)}{end}"


def _queues(number: int) -> str:
    return f"{number} queue{'' if number == 1 else 's'}"
