"""The real Pulumi command line, this project's program, and an ARM twin of the test's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from azpg_runtime.home import Home
from tests.conftest import new_home, remove_home

from .stacks import Stack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def cli() -> str:
    """The path of pulumi. Without it these tests cannot run, which in CI is a failure."""
    path = os.pathsep.join([os.environ["PATH"], str(ROOT / ".cache" / "tools")])
    found = shutil.which("pulumi", path=path)
    if found is None:
        reason = "pulumi is not on PATH; `make tools` builds it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture
def stack(cli: str) -> Iterator[Stack]:
    """The program's offline stack, not made yet. What it has made goes with the home."""
    home = new_home()
    made = Stack(Home(home.root), ROOT, Path(cli).parent)
    yield made
    made.end()
    remove_home(home)
