"""A table that azpg refuses to act on is said, and keeps nobody from the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.errors import PlanRefused
from azpg_provision.vectorize import Options
from azpg_provision.vectorize.serve import Metrics, Service
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.command_line import Done, machine, run
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import connector
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = pytest.mark.vector
TABLES = f"""\
  tables:
  - name: products
    schema: shop
    embeddings: [{{column: embedding, source: [title], model: {URI}, sync: none}}]
  - name: notes
    schema: shop
    embeddings: [{{column: embedding, expression: "title || (10 / (id - 3))::text", model: {URI}, sync: none}}]
"""
HANG = """
CREATE FUNCTION m.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER t BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION m.t()
"""


@dataclass(frozen=True)
class Shop:
    """Two vectorized tables, of which the first is refused: somebody else's trigger hangs on it."""

    site: Site
    eve: Attacker
    connection: Connection

    def azpg(self, command: str, *options: str, status: int) -> Done:
        where = ["--dsn", self.site.twin.dsn(self.site.name)]
        return run(command, "azpg.yaml", *where, *options, status=status, cwd=self.site.folder)

    @property
    def why(self) -> str:
        return (
            'the trigger t of "shop"."products" depends on the function m.t(), which belongs to the role '
            f"'{self.eve.name}'"
        )

    @property
    def named(self) -> dict[str, str]:
        return {"database": self.site.name, "schema": "shop", "table": "products", "column": "embedding"}

    def embedded(self, table: str) -> int:
        row = self.connection.execute(f"SELECT count(embedding) FROM shop.{table}").fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def shop(twin: Instance, connection: Connection, database: str, tmp_path: Path) -> Iterator[Shop]:
    with attacker(twin, database) as eve:
        connection.execute(
            sql.SQL(
                "CREATE SCHEMA shop; CREATE SCHEMA m;"
                "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text);"
                "CREATE TABLE shop.notes (id bigint PRIMARY KEY, title text);"
                "GRANT USAGE, CREATE ON SCHEMA m TO {0}; GRANT USAGE ON SCHEMA shop TO {0};"
                "GRANT ALL ON shop.products TO {0}"
            ).format(eve.role)
        )
        site = Site(twin, tmp_path, name=database)
        site.file("azpg.yaml", (HEAD + TABLES).replace("NAME", database))
        site.apply(site.spec(HEAD + TABLES, init=None))
        connection.execute(
            "INSERT INTO shop.products VALUES (1, 'one');"
            "INSERT INTO shop.notes SELECT n, 'note ' || n FROM generate_series(1, 5) AS n"
        )
        with eve.connect(database) as evil:
            evil.execute(HANG)
        yield Shop(site, eve, connection)


def one_refused(shop: Shop, said: str) -> None:
    """A line for the column, and one for how many there are."""
    first, last = said.splitlines()
    assert first.startswith(f"azpg: {shop.site.name}: shop.products.embedding: {shop.why}")
    assert last == "azpg: 1 column of 2 was refused: see why above."


def refused_in(shop: Shop, found: dict[str, Any]) -> None:
    (refused,) = found["refused"]
    assert shop.why in refused.pop("reason")
    assert refused == shop.named


def test_vectorize_goes_on_with_the_others(shop: Shop) -> None:
    done = shop.azpg("vectorize", status=1)
    assert f"{shop.site.name}: shop.notes.embedding: 4 rows embedded" in done.stdout
    one_refused(shop, done.stderr)
    assert (shop.embedded("products"), shop.embedded("notes")) == (0, 4)
    found = machine(shop.azpg("vectorize", "--json", status=1), "vectorize")
    assert [column["table"] for column in found["columns"]] == ["notes"]
    refused_in(shop, found)


def test_nothing_waits_is_not_said_of_what_was_refused(shop: Shop) -> None:
    shop.connection.execute("DELETE FROM shop.notes")
    done = shop.azpg("vectorize", status=1)
    assert done.stdout == "Nothing waits in the other columns.\n"
    one_refused(shop, done.stderr)


def test_how_many_wait_is_shown_of_the_others(shop: Shop) -> None:
    done = shop.azpg("vectorize", "--dry-run", status=1)
    _, line = done.stdout.splitlines()
    assert line.split()[:5] == [shop.site.name, "shop.notes.embedding", "5", "5", "0"]
    one_refused(shop, done.stderr)
    found = machine(shop.azpg("vectorize", "--dry-run", "--json", status=1), "vectorize-dry-run")
    assert [(column["table"], column["pending"]) for column in found["columns"]] == [("notes", 5)]
    refused_in(shop, found)


def test_failures_are_shown_of_the_others_and_forgotten(shop: Shop) -> None:
    shop.azpg("vectorize", status=1)
    done = shop.azpg("vectorize", "--failed", status=1)
    _, line = done.stdout.splitlines()
    assert line.split()[:4] == [shop.site.name, "shop.notes.embedding", "3", "1"]
    one_refused(shop, done.stderr)
    found = machine(shop.azpg("vectorize", "--failed", "--json", status=1), "vectorize-failed")
    assert [(failure["table"], failure["key"]) for failure in found["failures"]] == [("notes", ["3"])]
    refused_in(shop, found)
    shop.connection.execute("ALTER TABLE shop.notes ADD CHECK (id = 3 OR embedding IS NOT NULL)")
    again = shop.azpg("vectorize", "--retry-failed", status=1)
    one_refused(shop, again.stderr)
    assert "; 1 row failed" in again.stdout


@pytest.mark.parametrize("command", ["plan", "drift"])
def test_plan_and_drift_show_the_others(shop: Shop, command: str) -> None:
    """And the refused one as that; the reason is the error."""
    done = shop.azpg(command, status=1)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["refused", "column", shop.site.name, "shop.products.embedding"] in lines
    assert ["update", "rows", shop.site.name, "shop.notes.embedding", "5", "rows"] in lines
    assert "Next: azpg apply" not in done.stdout
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"azpg: shop.products: {shop.why}")
    found = machine(shop.azpg(command, "--json", status=1), command)
    assert [(change["kind"], change["name"]) for change in found["changes"]] == [
        ("rows", "shop.notes.embedding")
    ]
    (refused,) = found["refused"]
    assert shop.why in refused.pop("reason")
    assert refused == {"kind": "column", "database": shop.site.name, "name": "shop.products.embedding"}


@pytest.mark.parametrize("command", ["plan", "drift"])
def test_the_others_may_be_as_they_should_be(shop: Shop, command: str) -> None:
    shop.connection.execute("DELETE FROM shop.notes")
    done = shop.azpg(command, status=1)
    _, line = done.stdout.splitlines()
    assert line.split() == ["refused", "column", shop.site.name, "shop.products.embedding"]


QUEUES = TABLES.replace("sync: none", "sync: queue")
FREE = "DROP TRIGGER {} ON shop.products"
TRIGGER = "CREATE TRIGGER {} BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION m.t()"


class Worker:
    """A worker of the shop, which looks often, and how often it has looked."""

    def __init__(self, shop: Shop) -> None:
        shop.site.apply(shop.site.spec(HEAD + QUEUES, init=None))
        self.complaints: list[str] = []
        self.metrics: list[Metrics] = []
        self._looks = 0
        self._connect = connector(shop.site.twin, shop.site.name)
        self._service = Service(
            {shop.site.name: self._counting},
            Options(workers=2),
            once=False,
            tell=self.metrics.append,
            complain=self.complaints.append,
            every=0.1,
            look=0.1,
            rest=0.1,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _counting(self) -> Connection:
        self._looks += 1
        return self._connect()

    def _run(self) -> None:
        self.metrics.append(self._service.run(self._stop))

    def looks(self, times: int) -> bool:
        """Waits until it has looked about so often more at which columns there are; what waits it counts as often."""
        before = self._looks
        return wait_for(lambda: self._looks >= before + 2 * times, timeout=60)

    def says(self, number: int) -> bool:
        return wait_for(lambda: len(self.complaints) >= number, timeout=60)

    def ends(self) -> None:
        self._stop.set()
        self._thread.join()


def test_a_worker_says_a_refusal_once_and_when_it_is_over(shop: Shop) -> None:
    """And tells which column it is in its metrics, for as long as it is refused."""
    shop.connection.execute(FREE.format("t"))
    with shop.eve.connect(shop.site.name) as evil:
        worker = Worker(shop)
        try:
            evil.execute(TRIGGER.format("t"))
            assert worker.says(1)
            assert worker.looks(5)
            with shop.connection.transaction():
                shop.connection.execute(FREE.format("t"))
                shop.connection.execute(TRIGGER.format("u"))
            assert worker.says(2)
            assert worker.looks(5)
            assert worker.metrics[-1].refused[0].reason in worker.complaints[-1]
            shop.connection.execute(FREE.format("u"))
            assert worker.says(3)
            shop.connection.execute("INSERT INTO shop.products VALUES (7, 'seven')")
            assert wait_for(lambda: shop.embedded("products") == 2, timeout=60)
        finally:
            worker.ends()
    first, second, last = worker.complaints
    named = f"{shop.site.name}: vectorizing shop.products.embedding stopped: "
    assert first.startswith(named + shop.why)
    assert second.startswith(named + shop.why.replace("trigger t", "trigger u"))
    assert last == f"{shop.site.name}: shop.products.embedding is vectorized again."
    told = {one.refused for one in worker.metrics}
    assert {len(refused) for refused in told} == {0, 1}
    (refused,) = {one for refused in told for one in refused if "trigger t" in one.reason}
    assert {key: value for key, value in asdict(refused).items() if key != "reason"} == shop.named
    assert worker.metrics[-1].refused == ()


def test_a_worker_that_leaves_empties_the_other_queues(shop: Shop) -> None:
    shop.connection.execute(FREE.format("t"))
    shop.site.apply(shop.site.spec(HEAD + QUEUES, init=None))
    shop.connection.execute("INSERT INTO shop.products VALUES (7, 'seven')")
    shop.connection.execute("INSERT INTO shop.notes SELECT n, 'more' FROM generate_series(6, 9) AS n")
    with shop.eve.connect(shop.site.name) as evil:
        evil.execute(TRIGGER.format("t"))
    done = shop.azpg("worker", "--once", status=1)
    first, metrics, last = done.stderr.splitlines()
    assert f"vectorizing shop.products.embedding stopped: {shop.why}" in first
    assert metrics == (
        f"2 queues: 4 embedded, none waits; 1 refused: {shop.site.name}: shop.products.embedding."
    )
    assert last == "azpg: 1 queue of 2 was refused: see why above."
    assert shop.embedded("notes") == 8
    found = machine(shop.azpg("worker", "--once", "--json", status=1), "worker")
    refused_in(shop, found)


def test_apply_does_nothing_of_a_plan_with_one(shop: Shop) -> None:
    done = shop.azpg("apply", "--yes", status=1)
    assert done.stdout == ""
    assert done.stderr.startswith(f"azpg: shop.products: {shop.why}")
    assert shop.embedded("notes") == 0
    with pytest.raises(PlanRefused, match="the trigger t of"):
        shop.site.apply(shop.site.spec(HEAD + TABLES, init=None))
