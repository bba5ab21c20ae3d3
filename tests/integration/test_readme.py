"""The README's own commands, SQL and Python, run as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from azpg_runtime.home import Home
from tests.conftest import ROOT

AZPG = [sys.executable, "-c", "from azpg.cli import main; main()"]


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.usefixtures("minilm")
def test_the_readme_works_as_it_stands(home: Home) -> None:
    environment = {**os.environ, "AZPG_HOME": str(home.root)}

    def run(command: list[str], given: str = "") -> str:
        done = subprocess.run(
            command,
            env=environment,
            cwd=ROOT,
            input=given,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def ours(block: int) -> list[list[str]]:
        lines = [line.split("#")[0].strip() for line in blocks("console")[block].splitlines()]
        return [shlex.split(line)[1:] for line in lines if line.startswith("azpg ")]

    assert [command[0] for command in ours(1)] == ["models", "up", "server"]
    for command in ours(1):
        run([*AZPG, *command])
    (statements,) = blocks("sql")
    said = run([*AZPG, "psql", "default", "--", "-v", "ON_ERROR_STOP=1", "-At"], given=statements)
    assert said.splitlines()[-1] == "The cat sleeps on the sofa."
    (program,) = blocks("python")
    assert run([sys.executable, "-c", program]).strip() == "Interest rates rose again. (384,)"
    answers = [run([*AZPG, *command]) for command in ours(2)]
    assert [command[0] for command in ours(2)] == ["plan", "apply", "search", "drift"]
    assert "Rain jacket" in answers[2].splitlines()[1]


def test_the_readme_names_files_that_exist() -> None:
    named = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
