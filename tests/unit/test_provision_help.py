"""What the provisioning commands say of themselves."""

from __future__ import annotations

import shlex

import pytest
import typer
from typer.testing import CliRunner

from azpg.root import app

COMMANDS = ["preflight", "plan", "apply", "drift", "vectorize", "worker", "search", "index evaluate"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_can_be_typed(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    said = CliRunner().invoke(app, [*command.split(), "--help"], catch_exceptions=False).stdout
    (example,) = [line.split("azpg ", 1)[1] for line in said.splitlines() if "Example: azpg " in line]
    assert example.startswith(f"{command} ")
    found, words = typer.main.get_command(app), shlex.split(example)
    while hasattr(found, "get_command"):  # a group
        found = found.get_command(None, words.pop(0))
    found.make_context(command, words)  # raises for an option that there is not
