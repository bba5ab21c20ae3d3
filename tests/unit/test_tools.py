"""What make calls: the build of the tools for the end-to-end tests, and the set-up of an environment."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def build() -> ModuleType:
    return tool("build")


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


# Set-up


def programs(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_a_machine_that_has_everything(tmp_path: Path) -> None:
    missing = tool("prerequisites").missing
    assert missing({"PATH": programs(tmp_path, "clang")}) == []
    assert missing({"PATH": programs(tmp_path, "mine"), "CC": "mine -m64"}) == []
    assert missing({"PATH": str(tmp_path), "CC": " "}) == []


def test_everything_that_is_missing_is_said(tmp_path: Path) -> None:
    missing = tool("prerequisites").missing
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert missing({"PATH": str(tmp_path)}, lambda name: None) == [
        f"Python's modules venv and ensurepip (on Debian and Ubuntu, `apt install python{version}-venv`)",
        "a C compiler (on Debian and Ubuntu, `apt install gcc libc6-dev`)",
    ]
    assert missing({"PATH": programs(tmp_path, "gcc"), "CC": "nothere -m64"}) == [
        "the C compiler that CC names, nothere -m64 (unset CC, or correct it)"
    ]


@pytest.mark.parametrize("git", [False, True], ids=["no git", "no clone"])
def test_what_is_committed_cannot_be_tried_without_git(tmp_path: Path, git: bool) -> None:
    there = shutil.which("git")
    if git and there is not None:
        (tmp_path / "git").symlink_to(there)
    copy = tmp_path / "copy" / "tools"
    copy.mkdir(parents=True)
    shutil.copy(TOOLS / "fresh.py", copy)
    done = subprocess.run(
        [sys.executable, copy / "fresh.py"],
        env={"PATH": str(tmp_path), "GIT_CEILING_DIRECTORIES": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"fresh: needs git, and {copy.parent} to be a clone: what is committed is what it tries."
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == said
    assert "Traceback" not in done.stderr


def test_extras_are_taken_apart_to_what_they_require() -> None:
    declared = {"a": ["azpg[b,c]", "one>=1"], "b": ["two"], "c": ["azpg[b]", "one>=1", "azpg[a]"]}
    assert tool("extras").requirements(["a"], declared) == ["one>=1", "two"]
