"""Fixtures of the integration tests; and for ``make sanitize``, the twin on a shim that watches itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from azpg_runtime.arm.twin import ArmTwin
from azpg_runtime.home import Home
from azpg_runtime.models import ModelStore
from azpg_runtime.postgres.bundled import find
from azpg_runtime.postgres.installation import Installation
from azpg_runtime.postgres.instance import Instance, Wishes
from tests.conftest import new_home, remove_home
from tests.integration import entra_server
from tests.integration.azure import Azure, server_model
from tests.integration.entra_server import EntraServer
from tests.integration.hosts import Host
from tests.support.servers import Server

# The CMake build folder of a shim with AZPG_SANITIZE.
SANITIZED = os.environ.get("SANITIZED_SHIM")
# PostgreSQL leaves its memory to the end of the process.
WRAPPER = """\
#!/bin/sh
export LD_PRELOAD='{libasan}' ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
exec "${{0%/*}}/postgres.real" "$@"
"""
REPORTS = ("ERROR: AddressSanitizer", "runtime error:")


@pytest.fixture(scope="session", autouse=True)
def filled_store(model_store: ModelStore) -> ModelStore:
    """The store that all homes share has its model before the first test, whichever that is."""
    return model_store


@pytest.fixture(scope="session")
def twin(twin: Instance) -> Iterator[Instance]:
    """The twin of all tests."""
    with watched(twin):
        yield twin


@pytest.fixture(scope="session")
def private_twin(postgres_server: Server) -> Iterator[Instance]:
    """A running twin with a copy of PostgreSQL of its own, whose files a test may change.

    All workers' twins start from one copy, and pg_available_extensions fails in every one of them when a
    control file goes while it reads the folder.
    """
    home = new_home()
    instance = Instance("private", home=home)
    instance.up(Wishes(durable=False, **postgres_server.wishes))
    instance.set_parameter(
        "azure.extensions", "vector,azure_local_ai" if postgres_server.has_vector else "azure_local_ai"
    )
    with watched(instance):
        yield instance
    remove_home(home)


@contextmanager
def watched(twin: Instance) -> Iterator[None]:
    """With SANITIZED_SHIM, a twin is started anew on that shim, and its log read for reports at the end."""
    if SANITIZED is None:
        yield
        return
    twin.down()
    build = find(twin.description.major, twin.description.build or None)
    sanitize(Installation.open(twin.home.server.resolve()), Path(SANITIZED) / build.label)
    twin.up()
    check_loaded(twin)
    yield
    reports = [line for line in twin.home.postgres_log.read_text().splitlines() if is_report(line)]
    assert not reports, "\n".join(reports)


def sanitize(installation: Installation, libraries: Path) -> None:
    """Changes a twin's own copy of PostgreSQL. Its files may share their contents with the original."""
    postgres = installation.bin / "postgres"
    for library in libraries.glob("*.so"):
        assert b"__asan_" in library.read_bytes()
        (installation.lib / library.name).unlink()
        shutil.copy(library, installation.lib)
    postgres.rename(postgres.with_name("postgres.real"))
    libasan = (libraries.parent / "libasan.path").read_text()
    postgres.write_text(WRAPPER.format(libasan=libasan))
    postgres.chmod(0o755)


def check_loaded(twin: Instance) -> None:
    """That the server does run with the sanitizer."""
    with twin.connect() as connection:
        maps = Path(f"/proc/{connection.info.backend_pid}/maps").read_text()
    assert "libasan" in maps
    assert "azpg_server.so" in maps


def is_report(line: str) -> bool:
    """Whether a line of the server's log is the beginning of a sanitizer's report."""
    return any(report in line for report in REPORTS)


@pytest.fixture
def start(home: Home) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def start(**options: Any) -> Host:
        hosts.append(Host(home, **options))
        return hosts[-1]

    yield start
    for host in hosts:
        host.stop()


@pytest.fixture(scope="session")
def azure_home() -> Iterator[Home]:
    """The AZPG_HOME of the ARM twin that most of its tests share."""
    home = new_home()
    yield home
    ArmTwin(home).stop(delete=True)
    remove_home(home)


@pytest.fixture(scope="session")
def azure(azure_home: Home) -> Iterator[Azure]:
    """The SDK's clients on a running twin."""
    twin = ArmTwin(azure_home)
    twin.start()
    azure = Azure(twin, retry_total=0)
    yield azure
    azure.close()


@pytest.fixture
def clients() -> Iterator[Callable[..., Azure]]:
    """Makes further clients, of this twin or another."""
    made: list[Azure] = []

    def make(twin: ArmTwin, **options: Any) -> Azure:
        made.append(Azure(twin, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def server_id(azure: Azure) -> str:
    """A running server in the group `shared`, of which tests may change what they put back."""
    azure.group("shared")
    made = azure.postgres.servers.begin_create_or_update("shared", "shared-server", server_model()).result()
    return str(made.id)


@pytest.fixture(scope="session")
def entra(azure: Azure) -> EntraServer:
    """A running server that takes tokens, of which tests may change what they put back."""
    return entra_server.make(azure, "entra", "entra-server")
