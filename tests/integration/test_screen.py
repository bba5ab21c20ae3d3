"""What is left on a terminal: results and errors, and nothing of what was shown while they were waited for."""

from __future__ import annotations

import os
import shlex

import pytest

from azpg_runtime.home import Home
from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.instance import Instance
from tests.command_line import AZPG
from tests.terminal import on_terminal

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
AZPG_LINE = shlex.join(AZPG)


def left(*arguments: str, home: Home, command: list[str] = AZPG, status: int | None = 0) -> list[str]:
    screen = on_terminal(
        *arguments, command=command, environment={**os.environ, "AZPG_HOME": str(home.root)}, status=status
    )
    assert not [line for line in screen.lines if set(line) & set(f"{SPINNER}━╸╺")], screen.lines
    return screen.lines


@pytest.mark.usefixtures("minilm")
@pytest.mark.parametrize("texts", ["hello", "{1..300}"])
def test_results_that_the_reader_of_a_pipe_prints(home: Home, texts: str) -> None:
    """It writes to the same terminal, whatever stands there."""
    reader = 'while read -r line; do echo "${line:0:8}"; done'  # which prints each as soon as it is there
    lines = left("-c", f"{AZPG_LINE} embed {texts} | {reader}", home=home, command=["bash"])
    assert set(lines) == {'{"text":'}


def test_a_bar_while_results_go_into_a_file(home: Home, minilm: StoredModel) -> None:
    script = f"{AZPG_LINE} embed {{1..300}} >/dev/full; {AZPG_LINE} embed {{1..300}} >$AZPG_HOME/vectors; echo over"
    screen = on_terminal(
        "-c", script, command=["bash"], environment={**os.environ, "AZPG_HOME": str(home.root)}
    )
    assert screen.seen("embed ", "━", " of 300")
    assert screen.lines[-1] == "over"
    assert not [line for line in screen.lines if "━" in line]


def test_a_server_that_does_not_answer(home: Home) -> None:
    lines = left("preflight", "--local", "nobody", home=home, status=1)
    assert lines[0] == "Preflight of local nobody"
    assert lines[-1].endswith(" unknown.")


def test_an_error_stands_alone(home: Home, twin: Instance) -> None:
    assert left("search", "notes", "pets", "--dsn", "host=127.0.0.1 port=1 dbname=x", home=home, status=1)[
        0
    ].startswith("azpg: dsn (127.0.0.1:1), database 'x'")
    lines = left("plan", "none/azpg.yaml", "--local", "nobody", home=home, status=2)
    assert "".join(lines) == (
        "azpg: there is no none/azpg.yaml: name the spec, or write one; see `azpg help provisioning`."
    )
