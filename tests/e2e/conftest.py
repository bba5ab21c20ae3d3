"""The real Pulumi command line, this project's program, and an ARM twin of the test's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from azpg_runtime.home import Home
from tests.conftest import new_home, remove_home

from .stacks import Stack

ROOT = Path(__file__).parents[2]


TOOLS = ROOT / ".cache" / "tools"


def absent(what: str) -> NoReturn:
    """Ends a test that cannot run without `make tools`, which in CI is a failure."""
    reason = f"{what} is not here; `make tools` makes it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def cli() -> str:
    """The path of pulumi."""
    found = shutil.which("pulumi", path=os.pathsep.join([os.environ["PATH"], str(TOOLS)]))
    return found or absent("pulumi")


@pytest.fixture
def policy_pack(tmp_path: Path) -> Path:
    """The policy pack, with its own environment where `pulumi install` would make one."""
    environment = TOOLS / "policy"
    if not (environment / "installed").exists():
        absent("the policy pack's environment")
    pack = tmp_path / "policy"
    shutil.copytree(ROOT / "infra" / "policy", pack, ignore=shutil.ignore_patterns("venv"))
    (pack / "venv").symlink_to(environment)
    return pack


@pytest.fixture
def stack(cli: str) -> Iterator[Stack]:
    """The program's offline stack, not made yet. What it has made goes with the home."""
    home = new_home()
    made = Stack(Home(home.root), ROOT, Path(cli).parent)
    yield made
    made.end()
    remove_home(home)
