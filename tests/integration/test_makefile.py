"""The set-up that every target of the Makefile begins with, with pip itself left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT

BASE = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as the set-up reads."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    (tmp_path / "runtime" / "shim").mkdir(parents=True)
    (tmp_path / "azpg").mkdir()
    shutil.copy(ROOT / "azpg" / "__init__.py", tmp_path / "azpg")
    return tmp_path


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", f"PYTHON={BASE}", "PIP=true", ".venv/installed", *arguments],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], "HOME": str(checkout), **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def has_pip(checkout: Path) -> bool:
    return not subprocess.run([checkout / ".venv/bin/python", "-c", "import pip"], check=False).returncode


@pytest.mark.parametrize("stamped", [False, True], ids=["unfinished", "lost"])
def test_an_environment_without_pip_is_made_anew(checkout: Path, stamped: bool) -> None:
    venv.create(checkout / ".venv", with_pip=False)
    (checkout / ".venv" / "left").touch()
    if stamped:
        (checkout / ".venv" / "installed").touch()
    done = make(checkout)
    assert done.returncode == 0, done.stderr
    assert has_pip(checkout)
    assert not (checkout / ".venv" / "left").exists()


def test_an_environment_that_is_whole_stays(checkout: Path) -> None:
    assert make(checkout).returncode == 0
    (checkout / ".venv" / "mine").touch()
    done = make(checkout)
    assert done.stdout == "make: '.venv/installed' is up to date.\n"
    (checkout / "pyproject.toml").touch()
    assert make(checkout).returncode == 0
    assert (checkout / ".venv" / "mine").exists()


def test_what_is_missing_is_one_line_before_anything_is_made(checkout: Path, tmp_path: Path) -> None:
    done = make(checkout, CC="nothere")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert lines == ["azpg needs the C compiler that CC names, nothere (unset CC, or correct it)."]
    assert not (checkout / ".venv").exists()
