"""Approximate indexes on a real pgvector: built, interrupted, searched and judged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import ledger
from azpg_provision.column import Key, Sync, VectorColumn
from azpg_provision.errors import ApplyFailed, PlanRefused, TargetUnreachable
from azpg_provision.index import building
from azpg_provision.index.building import Progress, create, valid
from azpg_provision.index.catalog import indexes
from azpg_provision.index.definition import Method, VectorIndex
from azpg_provision.index.evaluation import K, evaluate
from azpg_provision.index.plot import draw
from azpg_provision.index.search import search
from azpg_provision.target.local import LocalTarget
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI
from tests.integration.vectorized import kept

Connection = psycopg.Connection[Any]
pytestmark = pytest.mark.vector
SLOW = VectorIndex(parameters={"m": 64, "ef_construction": 512})


@pytest.fixture
def connect(twin: Instance, database: str) -> Callable[[], Connection]:
    return lambda: twin.connect(database, autocommit=True)


def column(table: str = "t", name: str = "e", *, dimensions: int = 8, prefix: str = "") -> VectorColumn:
    return VectorColumn(
        id=1,
        schema="public",
        table=table,
        column=name,
        keys=(Key("id", "integer"),),
        text="body",
        model=URI,
        prefix=prefix,
        dimensions=dimensions,
        fingerprint=bytes(32),
        sync=Sync.NONE,
    )


def fill(connection: Connection, of: VectorColumn, rows: int) -> None:
    """A table of random vectors."""
    vector = sql.SQL("(SELECT array_agg(random()) FROM generate_series(1, {}) WHERE n > 0)::vector").format(
        sql.Literal(of.dimensions)
    )
    connection.execute(
        sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, body text, {} vector({}))").format(
            of.relation, sql.Identifier(of.column), sql.Literal(of.dimensions)
        )
    )
    connection.execute(
        sql.SQL("INSERT INTO {} SELECT n, n::text, {} FROM generate_series(1, {}) AS n").format(
            of.relation, vector, sql.Literal(rows)
        )
    )


@pytest.mark.every_major
@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (VectorIndex(), "USING hnsw (e vector_cosine_ops)"),
        (
            VectorIndex(opclass="vector_l1_ops", parameters={"m": 8, "ef_construction": 32}),
            "USING hnsw (e vector_l1_ops) WITH (ef_construction='32', m='8')",
        ),
        (
            VectorIndex(Method.IVFFLAT, "vector_ip_ops", {"lists": 4}),
            "USING ivfflat (e vector_ip_ops) WITH (lists='4')",
        ),
    ],
)
def test_an_index_is_built_as_it_is_described(
    connection: Connection, connect: Callable[[], Connection], index: VectorIndex, expected: str
) -> None:
    of = column()
    fill(connection, of, 300)
    built = create(connect, of, index)
    assert connection.execute(
        "SELECT indexdef FROM pg_indexes WHERE indexname = %s", [built.name]
    ).fetchone() == (f"CREATE INDEX {built.name} ON public.t {expected}",)
    assert indexes(connection, of) == {built.name: index}


@pytest.mark.parametrize("name", ['a"b', "100%s", "{}", "SELECT", "ä" * 31])
def test_names_that_must_be_quoted(
    connection: Connection, connect: Callable[[], Connection], name: str
) -> None:
    of = column(name, name)
    fill(connection, of, 20)
    built = create(connect, of, VectorIndex())
    assert len(built.name.encode()) <= 63
    assert valid(connection, of, built.name)
    (evaluation,) = evaluate(connection, of, sample=3, values=[100])
    assert evaluation.points[0].recall == 1


def test_pgvector_in_a_schema_of_its_own(twin: Instance, empty_database: str) -> None:
    def connect() -> Connection:
        return twin.connect(empty_database, autocommit=True, options="-c search_path=pg_catalog")

    of = column(dimensions=3)
    with connect() as connection:
        connection.execute("CREATE SCHEMA ext")
        connection.execute("CREATE EXTENSION vector SCHEMA ext")
        connection.execute("CREATE TABLE public.t (id int PRIMARY KEY, body text, e ext.vector(3))")
        connection.execute(
            "INSERT INTO public.t SELECT n, n::text, format('[%s,1,2]', n)::ext.vector FROM generate_series(1, 20) AS n"
        )
        create(connect, of, VectorIndex(opclass="vector_l2_ops"))
        assert evaluate(connection, of, sample=3)[0].points[-1].recall == 1


def test_without_pgvector(twin: Instance, empty_database: str) -> None:
    def connect() -> Connection:
        return twin.connect(empty_database, autocommit=True)

    with connect() as connection:
        connection.execute("CREATE TABLE t (id int, e real[])")
        with pytest.raises(
            PlanRefused, match="does not have the extension vector: list it under `extensions`"
        ):
            create(connect, column(), VectorIndex())


@pytest.mark.every_major
def test_an_interrupted_build_is_replaced(
    connection: Connection, connect: Callable[[], Connection], twin: Instance, database: str
) -> None:
    of = column()
    fill(connection, of, 50)
    name = create(connect, of, VectorIndex()).name
    with twin.superuser(database) as superuser:
        superuser.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [f"public.{name}"]
        )
    assert valid(connection, of, name) is False
    assert indexes(connection, of) == {}
    create(connect, of, VectorIndex())
    assert valid(connection, of, name)


def test_a_build_that_is_cancelled_leaves_nothing(
    connection: Connection, connect: Callable[[], Connection]
) -> None:
    of = column(dimensions=64)
    fill(connection, of, 20_000)
    begun = threading.Event()

    def tell(progress: Progress) -> None:
        if not begun.is_set():
            begun.set()
            connection.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index")

    with pytest.raises(
        ApplyFailed,
        match=r"^the index 't_e_hnsw' could not be built: canceling statement due to user request\.$",
    ):
        create(connect, of, SLOW, tell=tell)
    assert begun.is_set()
    assert valid(connection, of, "t_e_hnsw") is None


def test_progress_is_what_the_server_says(connection: Connection, connect: Callable[[], Connection]) -> None:
    of = column(dimensions=64)
    fill(connection, of, 1_500)
    told: list[Progress] = []
    create(connect, of, SLOW, tell=told.append)
    loading = [one for one in told if one.phase == "building index: loading tuples"]
    assert loading
    assert all(0 <= one.done <= one.total for one in loading if one.total)
    assert loading == sorted(loading, key=lambda one: one.done)


def test_a_build_that_the_server_refuses(connection: Connection, connect: Callable[[], Connection]) -> None:
    of = column()
    fill(connection, of, 50)
    with pytest.raises(
        ApplyFailed,
        match=r'^the index \'t_e_ivfflat\' could not be built: operator class "public.vector_l1_ops" does not exist '
        r'for access method "ivfflat"\.$',
    ):
        create(connect, of, VectorIndex(Method.IVFFLAT, "vector_l1_ops"))
    assert indexes(connection, of) == {}


def test_a_name_that_is_taken(connection: Connection, connect: Callable[[], Connection]) -> None:
    of = column()
    fill(connection, of, 20)
    connection.execute("CREATE TABLE t_e_hnsw ()")
    with pytest.raises(
        ApplyFailed, match=r"the name 't_e_hnsw' that the index of public\.t\.e needs is taken"
    ):
        create(connect, of, VectorIndex())
    connection.execute("DROP TABLE t_e_hnsw")
    create(connect, of, VectorIndex())
    with pytest.raises(ApplyFailed, match="there is an index 't_e_hnsw' already: nothing was built"):
        create(connect, of, VectorIndex())


def test_memory_that_does_not_suffice_is_remarked(
    connection: Connection, connect: Callable[[], Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building.memory, "given", lambda *_, **__: 1 << 20)
    of = column(dimensions=256)
    fill(connection, of, 2_000)
    built = create(connect, of, VectorIndex(parameters={"m": 4, "ef_construction": 16}))
    assert any("no longer fits into maintenance_work_mem" in remark for remark in built.remarks)


@pytest.mark.every_major
def test_search_finds_what_is_meant(connection: Connection, connect: Callable[[], Connection]) -> None:
    texts = ["a cat sleeps on the sofa", "interest rates rose again", "how to bake bread", "100% {} %s"]
    of = column('it"s %s', "the vector", dimensions=384, prefix="passage: ")
    connection.execute(
        sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, body text, {} vector(384))").format(
            of.relation, sql.Identifier(of.column)
        )
    )
    ledger.create(connection)
    of = kept(connection, of)
    for number, text in enumerate(texts):
        connection.execute(
            sql.SQL("INSERT INTO {} VALUES ({}, {}, azure_local_ai.create_embeddings({}, {}))").format(
                of.relation, number, text, URI, of.prefix + text
            )
        )
    exact = search(connection, of, "pets at home", limit=2)
    assert (exact[0].key, exact[0].text) == ({"id": 0}, texts[0])
    assert exact[0].distance < exact[1].distance
    create(connect, of, VectorIndex())
    assert search(connection, of, "pets at home", limit=2) == exact
    # E5's two prefixes belong together; any other can be asked for.
    (same,) = search(connection, of, texts[1], limit=1, prefix=of.prefix)
    assert same.text == texts[1]
    assert same.distance == pytest.approx(0, abs=1e-6)
    (other,) = search(connection, of, texts[1], limit=1)
    assert other.text == texts[1]
    assert other.distance > 1e-3


# So sparse a graph that the narrowest search misses some neighbours of random vectors, and the widest none.
SPARSE = VectorIndex(parameters={"m": 6, "ef_construction": 32})


@pytest.mark.parametrize("index", [SPARSE, VectorIndex(Method.IVFFLAT, parameters={"lists": 10})])
def test_evaluation_finds_the_trade(
    connection: Connection, connect: Callable[[], Connection], index: VectorIndex, tmp_path: Path
) -> None:
    of = column(dimensions=32)
    fill(connection, of, 2_000)
    create(connect, of, index)
    told: list[tuple[int, int]] = []
    (found,) = evaluate(connection, of, sample=20, tell=lambda done, total: told.append((done, total)))
    assert (found.rows, found.questions, found.exact.recall) == (2_000, 20, 1)
    recalls = [point.recall for point in found.points]
    assert recalls[0] < recalls[-1]
    assert recalls[-1] == pytest.approx(1, abs=0.02)
    assert all(0 < point.median <= point.p95 for point in (found.exact, *found.points))
    assert told[-1] == (20 * (1 + len(found.points)),) * 2
    assert connection.execute("SHOW enable_seqscan").fetchone() == ("on",)
    for name in ("plot.svg", "plot.png"):
        draw([found], tmp_path / name, of.name)
        assert (tmp_path / name).stat().st_size > 5_000
    assert (
        found.index in (tmp_path / "plot.svg").read_text() or "<path" in (tmp_path / "plot.svg").read_text()
    )


def test_an_index_that_the_server_does_not_use(
    connection: Connection, connect: Callable[[], Connection]
) -> None:
    of = column(dimensions=32)
    fill(connection, of, 500)
    create(connect, of, VectorIndex())
    connection.execute("CREATE INDEX other ON t USING hnsw (e vector_cosine_ops)")
    remarks: list[str] = []
    (judged,) = evaluate(connection, of, sample=5, values=[100], remark=remarks.append)
    left = {"other", "t_e_hnsw"} - {judged.index}
    assert remarks == [
        f"{left.pop()} is left out: the server searches by {judged.index} where it has the choice."
    ]
    assert judged.points[0].recall == 1


def test_evaluation_by_questions(connection: Connection, connect: Callable[[], Connection]) -> None:
    of = column(dimensions=384)
    fill(connection, of, 100)
    create(connect, of, VectorIndex())
    (found,) = evaluate(connection, of, questions=["one", "two"], values=[100])
    assert (found.questions, found.points[0].recall) == (2, 1)


def test_what_cannot_be_evaluated(connection: Connection, connect: Callable[[], Connection]) -> None:
    of = column()
    fill(connection, of, K)
    with pytest.raises(PlanRefused, match=r"public\.t\.e has no approximate index: say `index:` in the spec"):
        evaluate(connection, of)
    create(connect, of, VectorIndex())
    with pytest.raises(PlanRefused, match="recall@10 needs more than 10 embedded rows; there are 10"):
        evaluate(connection, of)


def test_the_watcher_is_gone_after_the_build(
    connection: Connection, connect: Callable[[], Connection]
) -> None:
    of = column()
    fill(connection, of, 20)
    create(connect, of, VectorIndex())
    assert "azpg-index-progress" not in {thread.name for thread in threading.enumerate()}
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    assert wait_for(lambda: connection.execute(sessions).fetchone() == (1,), timeout=10)


def test_a_build_goes_on_where_nobody_can_watch(
    connection: Connection, twin: Instance, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes the builder's session, and no further one."""
    raised: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    of = column()
    fill(connection, of, 2000)
    refused = threading.Event()

    def connect() -> Connection:
        try:
            return LocalTarget(twin).connect(database)
        except TargetUnreachable:
            refused.set()
            raise

    with twin.superuser() as superuser:
        limit = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
        superuser.execute(limit.format(sql.Identifier(database), sql.Literal(2)))
        built = create(connect, of, SLOW)
    assert refused.is_set(), "it was over before anybody could look"
    assert valid(connection, of, built.name)
    assert raised == []
