"""`azpg search` and `azpg index evaluate`, as a person types them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from azpg_provision import ledger
from azpg_provision.column import Key, Sync, VectorColumn
from azpg_provision.index.building import create
from azpg_provision.index.definition import VectorIndex
from azpg_runtime.postgres.instance import Instance
from tests.command_line import Run, against, machine
from tests.conftest import URI
from tests.integration.vectorized import kept

Connection = psycopg.Connection[Any]
pytestmark = pytest.mark.vector
TEXTS = ["a cat sleeps on the sofa", "interest rates rose again", "[bold]bread[/bold] is baked in the oven"]


@pytest.fixture
def azpg(twin: Instance, database: str, tmp_path: Path) -> Run:
    """Runs `azpg` in a folder of its own, with the test's database as its target."""
    return against(twin.dsn(database), database, tmp_path)


@pytest.fixture
def column(connection: Connection) -> VectorColumn:
    """A vectorized table, with everything in its place."""
    connection.execute("CREATE TABLE notes (id int PRIMARY KEY, body text, embedding vector(384))")
    ledger.create(connection)
    of = VectorColumn(
        id=0,
        schema="public",
        table="notes",
        column="embedding",
        keys=(Key("id", "integer"),),
        text="body",
        model=URI,
        prefix="",
        dimensions=384,
        fingerprint=bytes(32),
        sync=Sync.NONE,
    )
    return kept(connection, of)


def embed(connection: Connection, texts: list[str]) -> None:
    connection.execute(
        "INSERT INTO notes SELECT id, text, embedding::vector FROM unnest(%s::text[]) WITH ORDINALITY AS t (text, id) "
        "JOIN azure_local_ai.create_embeddings(%s, %s::text[], (SELECT array_agg(n) FROM generate_series(1, %s) AS n)) "
        "USING (id)",
        [texts, URI, texts, len(texts)],
    )


@pytest.mark.usefixtures("column")
def test_search(azpg: Run, connection: Connection) -> None:
    assert azpg("search", "notes", "pets").stderr == (
        "public.notes.embedding has no embedding yet: `azpg vectorize` makes them.\n"
    )
    embed(connection, TEXTS)
    head, first, *rest = azpg("search", "notes", "pets at home", "--limit", "2").stdout.splitlines()
    assert head.split() == ["distance", "id", "text"]
    assert first.split(maxsplit=2)[1:] == ["1", TEXTS[0]]
    assert len(rest) == 1
    found = machine(azpg("search", "public.notes", "what to eat", "--json"), "search")
    assert found["column"] == "public.notes.embedding"
    assert found["results"][0]["text"] == TEXTS[2]
    assert [one["distance"] for one in found["results"]] == sorted(
        one["distance"] for one in found["results"]
    )


@pytest.mark.usefixtures("column")
def test_a_row_writes_nothing_to_the_terminal(azpg: Run, connection: Connection) -> None:
    embed(connection, ["a cat\x1b[2J\x1b]0;title\x07 sleeps"])
    connection.execute('ALTER TABLE notes RENAME id TO "\x1b[31mid"')
    connection.execute(
        "UPDATE azpg.columns SET definition = pg_catalog.replace(definition::text, '\"id\"', '\"\\u001b[31mid\"')::jsonb"
    )
    shown = azpg("search", "notes", "pets").stdout
    assert {one for one in shown if not one.isprintable()} == {"\n"}
    assert "\\x1b[31mid" in shown
    assert "a cat\\x1b[2J\\x1b]0;title\\x07 sleeps" in shown
    (found,) = machine(azpg("search", "notes", "pets", "--json"), "search")["results"]
    assert found["text"] == "a cat\x1b[2J\x1b]0;title\x07 sleeps"


def test_evaluate(
    azpg: Run, connection: Connection, column: VectorColumn, twin: Instance, tmp_path: Path
) -> None:
    embed(connection, [f"{number} {text}" for number in range(40) for text in TEXTS])
    refused = azpg("index", "evaluate", "notes", status=1)
    assert "public.notes.embedding has no approximate index" in refused.stderr
    create(lambda: twin.connect(connection.info.dbname, autocommit=True), column, VectorIndex())
    done = azpg("index", "evaluate", "notes", "--values", "10,200", "--sample", "5")
    title, head, *lines = done.stdout.splitlines()
    assert title == "notes_embedding_hnsw: hnsw, vector_cosine_ops; 120 rows, 5 questions"
    assert head.split() == ["hnsw.ef_search", "recall@10", "median", "ms", "p95", "ms"]
    assert [line.split()[0] for line in lines] == ["10", "200", "exact"]
    assert done.stderr == "`--plot FILE` draws it.\n"
    assert list(tmp_path.iterdir()) == []
    arguments = ("--values", "10,200", "--sample", "5", "--plot", "notes.svg")
    assert azpg("index", "evaluate", "notes", *arguments).stderr == "The figure is notes.svg.\n"
    figure = (tmp_path / "notes.svg").read_text()
    assert figure.startswith("<?xml")
    assert "public.notes.embedding" in figure
    tmp_path.joinpath("questions").write_text("what do pets do\n\nmoney\n")
    arguments = ("--questions", "questions", "--values", "200", "--plot", "p.png", "--json")
    found = machine(azpg("index", "evaluate", "notes", *arguments), "index-evaluate")
    assert found["plot"] == "p.png"
    (one,) = found["indexes"]
    assert (one["questions"], one["points"][0]["recall"]) == (2, 1)


@pytest.mark.usefixtures("column")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--values", "10,x"], "--values '10,x': use numbers from 1 to 1000, such as 10,40,160."),
        (["--values", "0"], "--values '0': use numbers from 1 to 1000, such as 10,40,160."),
        (["--plot", "p.bmp"], "--plot p.bmp: a figure's file ends with .svg, .png, .pdf."),
        (["--plot", "no/p.svg"], "--plot no/p.svg cannot be written: name a file in a folder that you may write to."),
        (["--questions", "blank"], "--questions blank holds no question: write one a line."),
        (["--questions", "latin"], "--questions latin is not UTF-8 text: write one question a line."),
        (["--questions", "none"], "No such file or directory: none."),
        (["--column", "x"], "'notes' has no vectorized column 'x'; there is: embedding."),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(azpg: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    tmp_path.joinpath("blank").write_text("\n \n")
    tmp_path.joinpath("latin").write_bytes(b"\xe4\n")
    status = 1 if message.startswith("No such") else 2
    done = azpg("index", "evaluate", "notes", *arguments, status=status)
    assert done.stderr == f"azpg: {message}\n"


def test_the_database_is_that_of_the_connection_string(azpg: Run, twin: Instance, database: str) -> None:
    done = azpg("search", "notes", "pets", "--dsn", twin.dsn(database), status=1, target=False)
    assert f"the database '{database}' has no vectorized column" in done.stderr


def test_without_a_target(azpg: Run) -> None:
    done = azpg("search", "notes", "pets", status=1, target=False)
    assert done.stderr == "azpg: there is no instance 'default'. `azpg up default` makes it.\n"


@pytest.mark.usefixtures("column")
def test_a_local_server_is_looked_through_where_no_database_is_named(
    azpg: Run, connection: Connection, twin: Instance
) -> None:
    embed(connection, TEXTS)
    home = str(twin.home.home.root)
    where = ("--local", twin.name)
    done = azpg("search", "notes", "pets", *where, target=False, AZPG_HOME=home)
    assert TEXTS[0] in done.stdout
    refused = azpg("search", "note", "pets", *where, target=False, AZPG_HOME=home, status=2)
    assert "Did you mean notes?" in refused.stderr


def test_a_password_is_no_argument(azpg: Run) -> None:
    secret = "postgresql://me:hunter2@127.0.0.1/x"
    done = azpg("search", "notes", "pets", "--dsn", secret, status=2, target=False)
    assert "hunter2" not in done.stderr
    assert done.stderr.startswith(
        "azpg: --dsn holds a password, which belongs neither into a spec nor on a command line: put"
    )
    bad = azpg("search", "notes", "pets", "--dsn", "=hunter2", status=2, target=False)
    assert bad.stderr.startswith("azpg: --dsn is no connection string: use")
    assert "hunter2" not in bad.stderr


def test_two_targets(azpg: Run) -> None:
    done = azpg("search", "notes", "pets", "--local", "a", "--stack", "b", status=2, target=False)
    assert done.stderr == "azpg: --local and --stack name a target each: choose one of them.\n"


def test_a_server_that_is_not_there(azpg: Run) -> None:
    done = azpg("search", "notes", "pets", "--dsn", "host=127.0.0.1 port=1", status=1, target=False)
    assert done.stderr.startswith("azpg: dsn (127.0.0.1:1), database 'postgres': ")
    assert done.stderr.endswith(" Check the connection string and that the server is up.\n")
