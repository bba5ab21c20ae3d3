"""Fixtures of all tests: one model store, and by our own plug-in a twin of each PostgreSQL and databases.

The model store survives between runs in ``.cache/models``, so that the weights are fetched once; all else
lives in a temporary AZPG_HOME and is gone afterwards.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from psycopg import sql

from azpg_runtime.home import Home
from azpg_runtime.models import ModelStore, StoredModel
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.testing import TwinFactory
from tests.support.servers import DEFAULT, Server, servers

MODEL = "all-minilm-l6-v2"
URI = f"{MODEL}:v1"
ROOT = Path(__file__).parent.parent
SERVERS = pytest.StashKey[tuple[list[Server], str]]()
CACHE = Path(os.environ.get("AZPG_TEST_CACHE", ROOT / ".cache"))

# What a developer has set must not reach the tests.
for polluting in [name for name in os.environ if name.startswith(("AZPG_", "PG", "HF_"))]:
    if polluting not in {"AZPG_TEST_CACHE", "AZPG_CALLS", "AZPG_LOOPS"}:
        del os.environ[polluting]
os.environ.pop("PYTHONUNBUFFERED", None)  # what `azpg` writes goes through buffers, as for its users
os.environ["AZPG_HOME"] = str(CACHE)  # whose model store the plug-in uses
# How long an example takes says more about the machine than about the test.
settings.register_profile("azpg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("azpg")
# A script's background has it ignored, which every command that a test starts and interrupts would inherit.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    """Stops every instance of a home and removes it, with its users, also of those that an `up` left half made."""
    remove_instances(home)
    shutil.rmtree(home.root)


def remove_instances(home: Home) -> None:
    """The same, but for the home itself."""
    folder = home.root / "instances"
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if entry.is_dir() and not entry.name.startswith("."):
            Instance(entry.name, home=home).discard()


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


# Servers


def pytest_configure(config: pytest.Config) -> None:
    """Finds the servers, and refuses a run in CI that lacks one."""
    try:
        config.stash[SERVERS] = servers(os.environ)
    except LookupError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Which servers there are, and which is left out for what."""
    found, remark = config.stash[SERVERS]
    names = ", ".join(str(server.major) for server in found)
    return [
        f"PostgreSQL: {names}; tests without every_major run on {DEFAULT.major}",
        *([remark] if remark else []),
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test on one server, and one that is marked so on every one that can run it."""
    if "postgres_server" not in metafunc.fixturenames:
        return
    chosen = [DEFAULT]
    if metafunc.definition.get_closest_marker("every_major"):
        chosen = metafunc.config.stash[SERVERS][0]
    ids = [server.name for server in chosen]
    metafunc.parametrize("postgres_server", chosen, ids=ids, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes out, rather than skips, what a server without pgvector cannot run."""
    without = [item for item in items if item.get_closest_marker("vector") and not _has_vector(item)]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]


def _has_vector(item: pytest.Item) -> bool:
    server = item.callspec.params.get("postgres_server", DEFAULT) if hasattr(item, "callspec") else DEFAULT
    return bool(server.has_vector)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Server:
    """The PostgreSQL that a test runs on."""
    assert isinstance(request.param, Server)
    return request.param


@pytest.fixture(scope="session")
def azpg_twin(
    postgres_server: Server, azpg_twin_factory: TwinFactory, minilm: StoredModel, worker_id: str
) -> Instance:
    """A running twin of the server, with the MiniLM model.

    Each worker has its own, because tests change what belongs to the whole server.
    """
    assert minilm.name is not None
    name = f"{postgres_server.name}-{worker_id}"
    models = [minilm.name]
    if postgres_server.pg_config is not None:
        path = str(postgres_server.pg_config)
        return azpg_twin_factory(name, pg_config=path, extensions=["azure_local_ai"], models=models)
    return azpg_twin_factory(name, postgres=postgres_server.major, models=models)


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
