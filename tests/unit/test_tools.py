"""The build of the tools for the end-to-end tests: what it reads, and what it writes."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build", TOOLS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go 1.25.11", (1, 25, 11)),
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go version go1.27 linux/arm64", (1, 27)),
        ("something else", ()),
    ],
)
def test_versions_of_go(build: ModuleType, text: str, version: tuple[int, ...]) -> None:
    assert build.numbers(text) == version


def test_the_command_line_is_as_old_as_the_sdk_that_is_pinned(build: ModuleType) -> None:
    constraints = (TOOLS.parent / "constraints.txt").read_text()
    assert f"\npulumi=={build.pulumi_version()}\n" in constraints


def test_a_script_passes_its_arguments_on(build: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a script"
    build.script(path, "printf", "%s|", "one two")
    done = subprocess.run([path, "$HOME", "a b"], capture_output=True, text=True, check=True)
    assert done.stdout == "one two|$HOME|a b|"
