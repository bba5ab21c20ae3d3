"""Fixtures of all tests: one model store, one twin for a session, one database for a test.

The model store survives between runs in ``.cache/models``, so that the weights are fetched once; all else
lives in a temporary AZPG_HOME and is gone afterwards.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from filelock import FileLock
from psycopg import sql

from azpg_runtime.home import Home
from azpg_runtime.models import ModelStore, StoredModel
from azpg_runtime.postgres.instance import Instance, Wishes

MODEL = "all-minilm-l6-v2"
URI = f"{MODEL}:v1"
ROOT = Path(__file__).parent.parent
CACHE = Path(os.environ.get("AZPG_TEST_CACHE", ROOT / ".cache"))

# What a developer has set must not reach the tests.
for polluting in [name for name in os.environ if name.startswith(("AZPG_", "PG", "HF_"))]:
    if polluting != "AZPG_TEST_CACHE":
        del os.environ[polluting]


def new_home() -> Home:
    """An empty AZPG_HOME that the server's user can reach, with the shared model store."""
    root = Path(tempfile.mkdtemp(prefix="azpg-test-"))
    if os.geteuid() == 0:
        root.chmod(0o711)
    CACHE.joinpath("models").mkdir(parents=True, exist_ok=True)
    home = Home(root)
    home.models.symlink_to(CACHE / "models")
    return home


def remove_home(home: Home) -> None:
    """Stops every instance of a home and removes it."""
    for name in home.instance_names():
        Instance(name, home=home).down(delete=True)
    shutil.rmtree(home.root)


@pytest.fixture(scope="session")
def model_store() -> ModelStore:
    """The store that all tests share, with the MiniLM model in it."""
    from azpg_runtime.models.pull import pull  # noqa: PLC0415

    CACHE.mkdir(parents=True, exist_ok=True)
    store = ModelStore(CACHE / "models")
    with FileLock(CACHE / "models.lock"):
        pull(MODEL, store)
    return store


@pytest.fixture(scope="session")
def minilm(model_store: ModelStore) -> StoredModel:
    """all-MiniLM-L6-v2 with its real weights."""
    return model_store.get(MODEL)


@pytest.fixture
def home() -> Iterator[Home]:
    """An AZPG_HOME of the test's own."""
    home = new_home()
    yield home
    remove_home(home)


@pytest.fixture(scope="session", params=[18, 16], ids=["pg18", "pg16"])
def twin(request: pytest.FixtureRequest, minilm: StoredModel) -> Iterator[Instance]:
    """A running twin of each bundled PostgreSQL, with the MiniLM model registered and a template database."""
    home = new_home()
    instance = Instance("test", home=home)
    try:
        instance.up(Wishes(major=request.param, durable=False))
        instance.set_parameter("azure.extensions", "vector,azure_local_ai")
        with instance.connect(autocommit=True) as connection:
            connection.execute("CREATE DATABASE template_azpg")
        with instance.connect("template_azpg", autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute("CREATE EXTENSION azure_local_ai")
            connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [URI, MODEL])
        yield instance
    finally:
        remove_home(home)


@pytest.fixture
def empty_database(twin: Instance) -> Iterator[str]:
    """The name of a new database without extensions."""
    yield from _database(twin, "template1")


@pytest.fixture
def database(twin: Instance) -> Iterator[str]:
    """The name of a new database with vector and azure_local_ai."""
    yield from _database(twin, "template_azpg")


def _database(twin: Instance, template: str) -> Iterator[str]:
    name = sql.Identifier(f"t_{uuid.uuid4().hex[:12]}")
    with twin.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(template)))
    yield name.as_string().strip('"')
    # As the superuser: FORCE may have to end a superuser's session that is just leaving.
    with twin.superuser() as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def connection(twin: Instance, database: str) -> Iterator[psycopg.Connection[Any]]:
    """The server admin's connection to the test's own database, in autocommit."""
    with twin.connect(database, autocommit=True) as connection:
        yield connection
