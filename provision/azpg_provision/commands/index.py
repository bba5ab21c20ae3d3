"""`azpg index`: how good an approximate index is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from azpg.errors import UsageError
from azpg.output import counting, out, print_json, print_table, say
from azpg_provision.commands import arguments as a
from azpg_provision.target.where import Where

if TYPE_CHECKING:
    from azpg_provision.index.evaluation import Evaluation, Point

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Judge approximate indexes.")


@app.callback()
def index() -> None:
    """Judge approximate indexes."""


@app.command()
@a.names_target
def evaluate(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A vectorized table, or SCHEMA.TABLE.")],
    *,
    flags: Where,
    column: Annotated[
        str | None, typer.Option("--column", "-c", metavar="NAME", help="The column, if there are several.")
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions", metavar="FILE", help="Questions, one a line. [default: a sample of rows]"
        ),
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="How many rows to ask with.")] = 100,
    values: Annotated[
        str | None,
        typer.Option("--values", metavar="N,N…", help="Values of ef_search or probes. \\[default: a range]"),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw it into this file: .svg, .png or .pdf."),
    ] = None,
    spec: a.SpecOption = None,
    database: a.Database = None,
    json: a.Json = False,
) -> None:
    """Hold approximate search against exact search: recall@10 and milliseconds for a range of its setting.

    Example: azpg index evaluate products --values 10,40,160
    """
    from azpg_provision.commands.databases import place_of  # noqa: PLC0415
    from azpg_provision.commands.place import open_place  # noqa: PLC0415
    from azpg_provision.index.evaluation import evaluate as evaluate_column  # noqa: PLC0415
    from azpg_provision.index.plot import draw, writable  # noqa: PLC0415

    numbers, texts = _numbers(values), _lines(questions)
    if plot is not None:
        writable(plot)
    target, found = open_place(flags, spec)
    place = place_of(target, found, database=database, table=table, column=column)
    with place.connect() as connection, counting("search", None) as tell:
        evaluations = evaluate_column(
            connection,
            place.column,
            questions=texts,
            sample=sample,
            values=numbers,
            tell=tell,
            remark=say,
        )
    if plot is not None:
        draw(evaluations, plot, place.column.name)
    if json:
        figure = None if plot is None else str(plot)
        print_json({"version": 1, "plot": figure, "indexes": [_as_json(one) for one in evaluations]})
        return
    for one in evaluations:
        _print(one)
    say("`--plot FILE` draws it." if plot is None else f"The figure is {plot}.")


def _numbers(text: str | None) -> list[int]:
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= 1000 for part in parts):
        raise UsageError(f"--values {text!r}: use numbers from 1 to 1000, such as 10,40,160.")
    return sorted({int(part) for part in parts})


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError:
        raise UsageError(f"--questions {path} is not UTF-8 text: write one question a line.") from None
    if not any(lines):
        raise UsageError(f"--questions {path} holds no question: write one a line.")
    return [line for line in lines if line]


def _print(found: Evaluation) -> None:
    definition = found.definition
    options = ", ".join(f"{name} {value}" for name, value in sorted(definition.parameters.items()))
    out().print(
        f"{found.index}: {definition.method}, {definition.opclass}{', ' * bool(options)}{options}; "
        f"{found.rows:,} rows, {found.questions} questions",
        markup=False,
    )
    right = {"justify": "right"}
    table = Table(
        *(Column(header, **right) for header in (found.setting, "recall@10", "median ms", "p95 ms")),  # type: ignore[arg-type]
        box=None,
        pad_edge=False,
    )
    for point in (*found.points, found.exact):
        table.add_row(
            "exact" if point.value is None else str(point.value),
            f"{point.recall:.3f}",
            f"{point.median:.2f}",
            f"{point.p95:.2f}",
        )
    print_table(table)


def _as_json(found: Evaluation) -> dict[str, Any]:
    return {
        "name": found.index,
        "method": found.definition.method.value,
        "opclass": found.definition.opclass,
        "parameters": dict(found.definition.parameters),
        "setting": found.setting,
        "rows": found.rows,
        "questions": found.questions,
        "exact": _point(found.exact),
        "points": [_point(point) for point in found.points],
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "value": point.value,
        "recall": round(point.recall, 4),
        "median_ms": round(point.median, 3),
        "p95_ms": round(point.p95, 3),
    }
