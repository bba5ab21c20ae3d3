"""`azpg demo`: the whole sequence of the Azure documents on real text, timed."""

from __future__ import annotations

import contextlib
import textwrap
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from azpg.errors import UsageError
from azpg.output import counting, out, print_json, working
from azpg.process import called
from azpg_runtime.commands.arguments import Json
from azpg_runtime.commands.models import fetch

if TYPE_CHECKING:
    from azpg_runtime.demonstration.steps import Answer
    from azpg_runtime.postgres.instance import Instance

_INSTANCE = "demo"
_EXCERPT = 240
_WIDTH = 100
_INDENT = " " * 5


def demo(
    *,
    question: Annotated[
        list[str] | None, typer.Option("--question", "-q", help="Ask this instead; repeatable.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Reuse the vectors of an earlier run, if there are any.")
    ] = False,
    json: Json = False,
) -> None:
    """Answer questions by semantic search over the Python language reference, on a local server."""
    from azpg_runtime.demonstration import steps  # noqa: PLC0415
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    questions = question or list(steps.QUESTIONS)
    if not all(one.strip() for one in questions):
        raise UsageError("a question has words: name one, or leave --question out for five of ours.")
    report = _Report(quiet=json)
    instance = Instance(_INSTANCE)
    _prepare(instance, report)
    with contextlib.ExitStack() as stack:
        connection = _kept(instance) if keep else None
        if connection is not None:
            stack.enter_context(connection)
            report.note(
                f"Reusing the vectors that an earlier run left in database {steps.DATABASE!r} (--keep)."
            )
        else:
            with report.phase("create the database"):
                _new_database(instance)
            connection = stack.enter_context(instance.connect(steps.DATABASE, autocommit=True))
            _fill(connection, report)
        with report.phase(f"answer {len(questions)} question{'s' if len(questions) > 1 else ''}"):
            answers = [(one, steps.search(connection, one)) for one in questions]
        statement = steps.search_statement(questions[0]).as_string(connection)
        report.sql("Search", statement)
    if json:
        found = [{"question": one, "passages": [asdict(answer) for answer in best]} for one, best in answers]
        reused = "vectorize" not in report.seconds
        print_json({"version": 1, "answers": found, "seconds": report.seconds, "reused": reused})
        return
    for one, best in answers:
        _print_answers(report.console, one, best)
    report.times()
    azpg = escape(called())
    report.console.print(f"\nThe server stays up: [bold]{azpg} psql {_INSTANCE} -d {steps.DATABASE}[/]")
    report.console.print(f"Stop it: [bold]{azpg} down {_INSTANCE}[/]")


class _Report:
    """What the demonstration shows: statements, phases and their times."""

    def __init__(self, *, quiet: bool) -> None:
        self.console = Console(quiet=True) if quiet else out()
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str, *, shows_itself: bool = False) -> Iterator[None]:
        """Times a step, and shows that it is going on unless it does so itself."""
        started = time.perf_counter()
        with contextlib.nullcontext() if shows_itself else working(name):
            yield
        self.seconds[name] = round(time.perf_counter() - started, 3)

    def note(self, text: str) -> None:
        self.console.print(Text(text))

    def sql(self, title: str, statement: str) -> None:
        self.console.print(Text(f"-- {title}", style="dim"))
        # In the terminal's own colours. It also wraps: a line break of ours in a literal could not be pasted.
        shown = Syntax("", "postgresql", theme="ansi_dark", background_color="default").highlight(statement)
        shown.rstrip()
        self.console.print(shown, soft_wrap=True)
        self.console.print()

    def times(self) -> None:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="dim")
        table.add_column(justify="right")
        for name, seconds in self.seconds.items():
            table.add_row(name, f"{seconds:.2f} s")
        table.add_row("together", f"{sum(self.seconds.values()):.2f} s", style="bold")
        self.console.print(table)


def _prepare(instance: Instance, report: _Report) -> None:
    """Server, model and allow-list: what on Azure the portal and `az` do."""
    from azpg_runtime.demonstration.steps import MODEL  # noqa: PLC0415

    with report.phase("start the server"):
        instance.up()
    with report.phase(f"have the model {MODEL}", shows_itself=True):
        fetch(MODEL)
    with report.phase("allow-list the extensions"):
        instance.set_parameter("azure.extensions", "vector,azure_local_ai")
    report.sql(
        "Allow-list, outside of SQL as on Azure",
        f"-- azpg server parameter set azure.extensions vector,azure_local_ai --local {instance.name}",
    )


def _new_database(instance: Instance) -> None:
    from psycopg import sql  # noqa: PLC0415

    from azpg_runtime.demonstration.steps import DATABASE  # noqa: PLC0415

    name = sql.Identifier(DATABASE)
    with instance.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))


def _kept(instance: Instance) -> Any:
    """A connection to an earlier run's database, or None where there is none that is complete."""
    import psycopg  # noqa: PLC0415

    from azpg_runtime.demonstration.steps import DATABASE  # noqa: PLC0415

    try:
        connection = instance.connect(DATABASE, autocommit=True)
    except psycopg.OperationalError:
        return None
    try:
        row = connection.execute(
            "SELECT count(*) > 0 AND bool_and(embedding IS NOT NULL) FROM passages"
        ).fetchone()
        if row is not None and row[0]:
            return connection
    except psycopg.errors.UndefinedTable:
        pass
    except psycopg.errors.UndefinedColumn:
        pass
    connection.close()
    return None


def _fill(connection: Any, report: _Report) -> None:
    from azpg_runtime.demonstration import steps  # noqa: PLC0415
    from azpg_runtime.demonstration.passages import language_reference  # noqa: PLC0415

    with report.phase("create the extensions"):
        for statement in steps.CREATE_EXTENSIONS.splitlines():
            connection.execute(statement)
    report.sql("Extensions", steps.CREATE_EXTENSIONS)
    with report.phase("register the model"):
        connection.execute(steps.REGISTER)
    report.sql("Model", steps.REGISTER)
    with report.phase("load the passages"):
        passages = language_reference()
        steps.load(connection, passages)
    report.sql(f"Table, filled with {len(passages)} passages by COPY", steps.CREATE_TABLE)
    connection.execute(steps.ADD_COLUMN)
    report.sql("Vector column", steps.ADD_COLUMN)
    report.sql("Vectorize, repeated until no row is left", steps.VECTORIZE)
    with report.phase("vectorize", shows_itself=True), counting("vectorize", len(passages)) as tell:
        done = 0
        for more in steps.vectorize(connection):
            done += more
            tell(done)
    with report.phase("create the index"):
        connection.execute(steps.CREATE_INDEX)
    report.sql("Index", steps.CREATE_INDEX)


def _print_answers(console: Console, question: str, answers: list[Answer]) -> None:
    console.print(Text(question, style="bold cyan"))
    width = min(console.width, _WIDTH) - len(_INDENT)
    for place, answer in enumerate(answers, start=1):
        heading = Text.assemble(
            f"  {place}. ", (f"{answer.score:.3f}  ", "green"), (answer.title, "bold"), f"  ({answer.topic})"
        )
        console.print(heading)
        excerpt = textwrap.shorten(answer.body, _EXCERPT, placeholder=" …")
        console.print(Text(textwrap.indent(textwrap.fill(excerpt, width), _INDENT), style="dim"))
    console.print()
