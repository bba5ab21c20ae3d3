"""The pytest plug-in: a running twin, and a database of its own for each test.

::

    def test_search(azpg_connection):
        azpg_connection.execute("CREATE TABLE notes (body text)")

`azpg_twin`
    The twin, started on first use, once for all workers of pytest-xdist.
`azpg_database`, `azpg_dsn`, `azpg_connection`
    The test's own database: its name, a libpq URI, and an open connection. It is a copy of a template,
    which has the extensions and whatever a `pytest_azpg_template` hook put there.
`azpg_twin_factory`
    More twins, or other ones.

pytest imports this module at every start, so it imports nothing of the twin before a test needs it.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from azpg.errors import AzpgError, NotAvailable
from azpg_runtime.testing import hooks

if TYPE_CHECKING:
    import psycopg

    from azpg_runtime import Twin
    from azpg_runtime.testing.databases import Databases
    from azpg_runtime.testing.run import Run
    from azpg_runtime.testing.wanted import Wanted

__all__ = ["TwinFactory"]

PREFIX = "azpg-pytest-"
"""How the folders of runs begin, among the files for temporary use."""
_HOME = pytest.StashKey[Path]()
_RUN = pytest.StashKey["Run"]()
_INPUT, _REFUSED = "azpg_home", "azpg_refused"
"""What the controller of pytest-xdist tells its workers, and they it."""
_TEXTS = {
    "postgres": "PostgreSQL's major version, 16 or 18 [default: 18]",
    "build": "which bundled PostgreSQL of that major: of 18, embedded or pixeltable [default: embedded]",
    "pg_config": "the pg_config of a PostgreSQL 15 to 18 to use instead of a bundled one",
    "profile": "preview-2024 or azure-2026 [default: preview-2024]",
    "location": "the Azure region to behave as [default: eastus]",
    "sku": "the compute size to behave as [default: Standard_E4ds_v5]",
}
_LISTS = {
    "extensions": "extensions that are allow-listed and created [default: vector,azure_local_ai]",
    "models": "models of the store that are registered: NAME, as NAME:v1, or NAME:VERSION [default: none]",
}


class TwinFactory(Protocol):
    """What `azpg_twin_factory` gives."""

    def __call__(
        self,
        name: str = "default",
        *,
        postgres: int | None = None,
        build: str | None = None,
        pg_config: str | None = None,
        extensions: list[str] | None = None,
        models: list[str] | None = None,
        profile: str | None = None,
        location: str | None = None,
        sku: str | None = None,
    ) -> Twin:
        """The running twin of that name, made by the first test of the run, in any worker, that asks.

        What is left out is as the command line and the configuration file say.
        """


# Options and hooks


def pytest_addoption(parser: pytest.Parser) -> None:
    """Each option is also a setting, with an underscore: ``--azpg-models`` and ``azpg_models``."""
    group = parser.getgroup("azpg", "a local Azure Database for PostgreSQL (azpg)")
    for name, text in _TEXTS.items():
        metavar = {"postgres": "MAJOR", "pg_config": "PATH"}.get(name, name.upper())
        group.addoption(f"--azpg-{name.replace('_', '-')}", metavar=metavar, help=text)
        parser.addini(f"azpg_{name}", text)
    for name, text in _LISTS.items():
        group.addoption(f"--azpg-{name}", metavar="NAME,...", help=text)
        parser.addini(f"azpg_{name}", text, type="args")
    group.addoption(
        "--azpg-keep", action="store_true", help="leave the twin and the tests' databases for a look at them"
    )


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declares `pytest_azpg_template`."""
    pluginmanager.add_hookspecs(hooks)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Gives each worker of pytest-xdist the folder that all of them share."""
    node.workerinput[_INPUT] = str(_home(node.config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuses a run that asks for what cannot be, once and before its first test."""
    config = session.config
    if config.option.collectonly or not any(
        "azpg_twin" in getattr(item, "fixturenames", ()) for item in session.items
    ):
        return
    try:
        _wanted(config).check(_run(config).store)
    except AzpgError as error:
        if not _is_worker(config):
            raise pytest.UsageError(f"azpg: {error}") from None
        # The controller cannot be told by an exception.
        config.workeroutput[_REFUSED] = str(error)  # type: ignore[attr-defined]
        raise session.Failed(str(error)) from None


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Refuses the whole run when a worker does."""
    refused = getattr(node, "workeroutput", {}).get(_REFUSED)
    if refused:
        raise pytest.UsageError(f"azpg: {refused}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how to look at a twin that is kept."""
    config = terminalreporter.config
    home = config.stash.get(_HOME, None)
    if home is None or not config.option.azpg_keep or not home.exists():
        return
    from azpg_runtime.home import Home  # noqa: PLC0415

    names = Home(home).instance_names()
    terminalreporter.section("azpg: the twin is kept")
    terminalreporter.write_line(f"export AZPG_HOME={home}")
    for name in names:
        terminalreporter.write_line(f"azpg psql {name} -- --list  # the databases are named after the tests")
        terminalreporter.write_line(f"azpg psql {name} --database DATABASE")
    down = "".join(f"azpg down {name} --delete --yes && " for name in names)
    terminalreporter.write_line(f"{down}rm -r {home}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the twins and removes their folder; under pytest-xdist, after the last worker is gone."""
    home = config.stash.get(_HOME, None)
    if home is None or _is_worker(config) or not home.exists():
        return
    run = _run(config)
    try:
        run.keep() if config.option.azpg_keep else run.remove()
    except (AzpgError, OSError) as error:
        sys.stderr.write(f"azpg: {home} could not be removed: {error}\n")


# Fixtures


@pytest.fixture(scope="session")
def azpg_twin_factory(request: pytest.FixtureRequest) -> TwinFactory:
    """A function that gives running twins by name, see `TwinFactory`."""
    config = request.config

    def make(name: str = "default", **changes: Any) -> Twin:
        with _failing_in_one_line(config):
            return _run(config).twin(name, _wanted(config).changed(**changes))

    return make


@pytest.fixture(scope="session")
def azpg_twin(azpg_twin_factory: TwinFactory) -> Twin:
    """The running twin, an `azpg_runtime.Twin`; all tests and all workers of pytest-xdist share it."""
    return azpg_twin_factory()


@pytest.fixture
def azpg_database(request: pytest.FixtureRequest, azpg_twin: Twin) -> Iterator[str]:
    """The name of a new database of the test's own, a copy of the template."""
    config, item = request.config, request.node
    with _failing_in_one_line(config):
        databases = _run(config).databases(azpg_twin)
        template = _template(databases, item)
        name = databases.create(item.name, template=template)
    yield name
    if not config.option.azpg_keep:
        with _failing_in_one_line(config):
            databases.drop(name)


@pytest.fixture
def azpg_dsn(azpg_twin: Twin, azpg_database: str) -> str:
    """A libpq URI of the test's own database, as the server admin."""
    return azpg_twin.dsn(azpg_database)


@pytest.fixture
def azpg_connection(azpg_twin: Twin, azpg_database: str) -> Iterator[psycopg.Connection[Any]]:
    """The server admin's psycopg connection to the test's own database, in autocommit."""
    with azpg_twin.connect(azpg_database, autocommit=True) as connection:
        yield connection


# Parts


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _home(config: pytest.Config) -> Path:
    """The AZPG_HOME of this run, which does not exist before a test needs it."""
    if _HOME not in config.stash:
        if _is_worker(config):
            home = Path(config.workerinput[_INPUT])  # type: ignore[attr-defined]
        else:
            # Not below pytest's own: as root, PostgreSQL runs as a user who must be able to go there.
            home = Path(tempfile.gettempdir(), f"{PREFIX}{secrets.token_hex(6)}").absolute()
        config.stash[_HOME] = home
    return config.stash[_HOME]


def _run(config: pytest.Config) -> Run:
    """This process's part in the run. Raises `AzpgError`."""
    if _RUN not in config.stash:
        if not sys.platform.startswith("linux"):
            raise NotAvailable(f"it runs on Linux, not on {sys.platform}.")
        try:
            from azpg_runtime.testing.run import Run  # noqa: PLC0415 - loads psycopg, for tests that need it
        except ImportError as error:
            raise NotAvailable(f"its fixtures cannot be used here: {error}.") from None
        config.stash[_RUN] = Run(_home(config))
    return config.stash[_RUN]


def _wanted(config: pytest.Config) -> Wanted:
    """What the command line and the configuration file ask for. Raises `AzpgError`."""
    _run(config)  # raises what importing the next could
    from azpg_runtime.testing.wanted import Wanted  # noqa: PLC0415

    given = {name: config.getoption(f"azpg_{name}") or config.getini(f"azpg_{name}") for name in _TEXTS}
    for name in _LISTS:
        option = config.getoption(f"azpg_{name}")
        given[name] = [option] if option is not None else config.getini(f"azpg_{name}")
    return Wanted().changed(**{name: value or None for name, value in given.items()})


def _template(databases: Databases, item: pytest.Item) -> str:
    """The template that the hooks which count for a test make, each of what those before it made."""
    config, name = item.config, "pytest_azpg_template"
    template, key = databases.base, ""
    for implementation in item.ihook.pytest_azpg_template.get_hookimpls():  # outer folders first
        plugins = config.pluginmanager
        others = [plugin for plugin in plugins.get_plugins() if plugin is not implementation.plugin]
        fill = partial(plugins.subset_hook_caller(name, others), config=config)
        key += f"{implementation.plugin_name}\n"
        template = databases.template(key, fill, source=template)
    return template


@contextlib.contextmanager
def _failing_in_one_line(config: pytest.Config) -> Iterator[None]:
    try:
        yield
    except AzpgError as error:
        text = f"azpg: {error}"
        if str(_home(config)) in text and not config.option.azpg_keep:
            text += " --azpg-keep keeps that file."
        raise pytest.fail.Exception(text, pytrace=False) from None
