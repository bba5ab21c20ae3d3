"""Fixtures of all tests: one model store, and by our own plug-in a twin of each PostgreSQL and databases.

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
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.testing import TwinFactory

MODEL = "all-minilm-l6-v2"
URI = f"{MODEL}:v1"
ROOT = Path(__file__).parent.parent
ONE_MAJOR = pytest.mark.parametrize("azpg_twin", [18], ids=["pg18"], indirect=True, scope="session")
"""Of tests that take long, or that no major of PostgreSQL does otherwise."""
CACHE = Path(os.environ.get("AZPG_TEST_CACHE", ROOT / ".cache"))

# What a developer has set must not reach the tests.
for polluting in [name for name in os.environ if name.startswith(("AZPG_", "PG", "HF_"))]:
    if polluting not in {"AZPG_TEST_CACHE", "AZPG_CALLS"}:
        del os.environ[polluting]
os.environ["AZPG_HOME"] = str(CACHE)  # whose model store the plug-in uses


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


# The bundled PostgreSQL servers and, where it is installed, Debian's 15, which has no pgvector.
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin/pg_config")
SERVERS = [18, 16, *([15] if DEBIAN_15.exists() and "SANITIZED_SHIM" not in os.environ else [])]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes out, rather than skips, what a server without pgvector cannot run."""
    without = [
        item
        for item in items
        if item.get_closest_marker("vector") and "[pg15" in item.name and isinstance(item, pytest.Function)
    ]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]


@pytest.fixture(scope="session", params=SERVERS, ids=[f"pg{major}" for major in SERVERS])
def azpg_twin(
    request: pytest.FixtureRequest, azpg_twin_factory: TwinFactory, minilm: StoredModel, worker_id: str
) -> Instance:
    """A running twin of each PostgreSQL, with the MiniLM model.

    Each worker has its own, because tests change what belongs to the whole server.
    """
    assert minilm.name is not None
    name = f"pg{request.param}-{worker_id}"
    if request.param == 15:
        return azpg_twin_factory(
            name, pg_config=str(DEBIAN_15), extensions=["azure_local_ai"], models=[minilm.name]
        )
    return azpg_twin_factory(name, postgres=request.param, models=[minilm.name])


@pytest.fixture(scope="session")
def twin(azpg_twin: Instance) -> Instance:
    """The running twin."""
    return azpg_twin


@pytest.fixture
def database(azpg_database: str) -> str:
    """The name of a new database with vector and azure_local_ai."""
    return azpg_database


@pytest.fixture
def empty_database(twin: Instance) -> Iterator[str]:
    """The name of a new database without extensions."""
    name = sql.Identifier(f"t_{uuid.uuid4().hex[:12]}")
    with twin.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    yield name.as_string().strip('"')
    # As the superuser: FORCE may have to end a superuser's session that is just leaving.
    with twin.superuser() as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def connection(azpg_connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """The server admin's connection to the test's own database, in autocommit."""
    return azpg_connection
