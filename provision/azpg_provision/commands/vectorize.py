"""`azpg vectorize`: rows without an up-to-date embedding get one."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from azpg.failures import FAILED, INTERRUPTED, TERMINATED
from azpg.output import complain, counting, out, print_json, print_table, working
from azpg_provision.commands import arguments as a
from azpg_provision.target.where import Where

if TYPE_CHECKING:
    from azpg_provision.commands.databases import Place
    from azpg_provision.commands.refused import Refused
    from azpg_provision.commands.stopping import Stop
    from azpg_provision.vectorize import Options

Spec = Annotated[Path | None, typer.Argument(metavar="SPEC", help="The spec; azpg.yaml, where there is one.")]
Workers = Annotated[
    int, typer.Option("--workers", "-w", min=1, max=64, help="Connections that work at the same time.")
]


@a.names_target
def vectorize(
    spec: Spec = None,
    *,
    flags: Where,
    database: a.Database = None,
    table: Annotated[
        str | None, typer.Option("--table", "-t", metavar="NAME", help="Only this table, or SCHEMA.TABLE.")
    ] = None,
    column: Annotated[
        str | None, typer.Option("--column", "-c", metavar="NAME", help="Only this column of --table.")
    ] = None,
    workers: Workers = 2,
    max_rate: Annotated[
        float | None, typer.Option("--max-rate", min=0.1, metavar="N", help="Rows a second, at most.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many rows wait, and how long they take.")
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only list the rows that got no embedding, and why.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try those again that got no embedding.")
    ] = False,
    json: a.Json = False,
) -> None:
    """Embed the rows that have no embedding of their present text; what is done stays, whatever happens.

    The exit code is 1 if rows have failed, or could not be written because others hold them locked, and if a
    column was refused; the others are done all the same.

    Example: azpg vectorize shop.yaml --table products --dry-run
    """
    from azpg_provision.commands.databases import places  # noqa: PLC0415
    from azpg_provision.commands.place import open_place  # noqa: PLC0415
    from azpg_provision.commands.refused import Refused  # noqa: PLC0415
    from azpg_provision.commands.stopping import stopping  # noqa: PLC0415
    from azpg_provision.vectorize import Options  # noqa: PLC0415

    target, wanted = open_place(flags, spec)
    found = places(target, wanted, database=database, table=table, column=column)
    refused = Refused(len(found))
    if failed:
        _list(found, refused, json=json)
        refused.end()
        return
    if dry_run:
        _estimate(found, refused, json=json)
        refused.end()
        return
    options = Options(workers=workers, max_rate=max_rate)
    done = []
    with stopping() as stop:
        for place in found:
            if not stop.is_set():
                with refused.noting(place):
                    done.append(_run(place, options, stop, retry=retry_failed, json=json))
    if json:
        print_json({"version": 1, "columns": done, "refused": refused.columns})
    if stop.is_set():
        raise typer.Exit(TERMINATED if stop.number == signal.SIGTERM else INTERRUPTED)
    if not json and done and not any(_to_tell(one) for one in done):
        out().print("Nothing waits in the other columns." if refused.columns else "Nothing waits.")
    refused.end()
    if any(one["failed"] or one["skipped"] for one in done):
        raise typer.Exit(FAILED)


def _run(place: Place, options: Options, stop: Stop, *, retry: bool, json: bool) -> dict[str, Any]:
    from azpg_provision.commands.refused import named  # noqa: PLC0415
    from azpg_provision.vectorize import backlog, run  # noqa: PLC0415
    from azpg_provision.vectorize.failures import forget  # noqa: PLC0415

    with working(f"Counting the rows of {place.column.name}"), place.connect() as connection:
        if retry:
            forget(connection, place.column)
        before = backlog(connection, place.column)
    began = time.monotonic()
    with counting(place.column.name, before.pending, unit="rows") as tell:
        outcome = run(
            place.connect,
            place.column,
            options,
            tell=lambda progress: tell(progress.embedded + progress.failed),
            say=lambda text: complain(f"{text}."),
            stop=stop,
        )
    seconds = time.monotonic() - began
    with place.connect() as connection:
        after = backlog(connection, place.column)
    found = named(place) | {
        "embedded": outcome.embedded,
        "skipped": outcome.skipped,
        "pending": after.pending,
        "failed": after.failed,
        "total": after.total,
        "seconds": round(seconds, 3),
    }
    if not json and _to_tell(found):
        rate = f" in {seconds:.1f} s, {outcome.embedded / seconds:.0f} a second" if outcome.embedded else ""
        parts = [f"{_rows(outcome.embedded)} embedded{rate}"]
        if outcome.skipped:
            parts.append(f"{_rows(outcome.skipped)} left out, which writers have locked")
        if after.pending:
            parts.append(f"{_rows(after.pending)} still without: run it again")
        if after.failed:
            parts.append(f"{_rows(after.failed)} failed: see `azpg vectorize --failed`")
        out().print(f"{place.database}: {place.column.name}: {'; '.join(parts)}.", markup=False)
    return found


def _to_tell(found: dict[str, Any]) -> bool:
    """Whether there is more to say of a column than that nothing waits."""
    return any(found[one] for one in ("embedded", "skipped", "pending", "failed"))


def _estimate(found: list[Place], refused: Refused, *, json: bool) -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Column, Table  # noqa: PLC0415

    from azpg_provision.commands.refused import named  # noqa: PLC0415
    from azpg_provision.target.connecting import begin_read_only  # noqa: PLC0415
    from azpg_provision.vectorize import backlog  # noqa: PLC0415
    from azpg_provision.vectorize.estimate import seconds  # noqa: PLC0415

    table = Table(
        *(Column(header, overflow="fold") for header in ("database", "column")),
        *(Column(header, justify="right") for header in ("rows", "wait", "failed", "seconds")),
        box=None,
        pad_edge=False,
    )
    columns = []
    for place in found:
        with refused.noting(place):
            with working(f"Counting the rows of {place.column.name}"), place.connect() as connection:
                begin_read_only(connection)
                one = backlog(connection, place.column)
                took = seconds(connection, place.column, one.pending)
            columns.append(
                named(place)
                | {
                    "total": one.total,
                    "pending": one.pending,
                    "failed": one.failed,
                    "seconds": None if took is None else round(took, 3),
                }
            )
            about = "" if took is None else f"about {took:.0f}"
            table.add_row(
                escape(place.database),
                escape(place.column.name),
                f"{one.total:,}",
                f"{one.pending:,}",
                f"{one.failed:,}",
                about,
            )
    if json:
        print_json({"version": 1, "columns": columns, "refused": refused.columns})
    elif columns:
        print_table(table)


def _list(found: list[Place], refused: Refused, *, json: bool) -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Column, Table  # noqa: PLC0415

    from azpg_provision.commands.refused import named  # noqa: PLC0415
    from azpg_provision.target.connecting import begin_read_only  # noqa: PLC0415
    from azpg_provision.vectorize.failures import failed  # noqa: PLC0415

    table = Table(
        *(Column(header, overflow="fold") for header in ("database", "column", "key")),
        Column("attempts", justify="right"),
        Column("why", overflow="fold"),
        box=None,
        pad_edge=False,
    )
    rows = []
    for place in found:
        with refused.noting(place), place.connect() as connection:
            begin_read_only(connection)
            for one in failed(connection, place.column):
                rows.append(
                    named(place)
                    | {
                        "key": one.key,
                        "reason": one.reason,
                        "sqlstate": one.sqlstate,
                        "attempts": one.attempts,
                        "at": one.at.isoformat(),
                    }
                )
                key = ", ".join(one.key)
                table.add_row(
                    escape(place.database),
                    escape(place.column.name),
                    escape(key),
                    str(one.attempts),
                    escape(one.reason),
                )
    if json:
        print_json({"version": 1, "failures": rows, "refused": refused.columns})
    elif rows:
        print_table(table)
    elif len(refused.columns) < len(found):
        out().print("No row of the other columns has failed." if refused.columns else "No row has failed.")


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"
