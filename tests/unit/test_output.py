"""What others wrote reaches a terminal as characters, never as commands to it."""

from __future__ import annotations

import json

import pytest
from rich.table import Column, Table
from rich.text import Text

from azpg import output

EVIL = "a\x1b[2J\x1b]0;title\x07\x9b31m\rb\u202ec\u2028d\x7f\udc80"
SHOWN = "a\\x1b[2J\\x1b]0;title\\x07\\x9b31m\\rb\\u202ec\\u2028d\\x7f\\udc80"
COMMANDS = {"\x1b", "\x07", "\x9b", "\r", "\u202e", "\u2028", "\x7f", "\udc80"}


@pytest.fixture(params=[False, True], ids=["in a pipe", "on a terminal"])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether it looks like a terminal, a wide one without colours."""
    if request.param:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setenv("COLUMNS", "200")
    return bool(request.param)


def test_cells_and_heads_of_a_table(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row stays one line, and as wide as it looks."""
    monkeypatch.setenv("TERM", "xterm")  # the width of a dumb one is not asked for
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.out().is_terminal is terminal
    table = Table(Column(EVIL), "second", "third", box=None, pad_edge=False, header_style="none")
    table.add_row(EVIL, Text(f"{EVIL} text"), "end")
    table.add_row("two\nlines\tand a tab", Text("two\nlines"), "end")
    output.print_table(table)
    head, first, second = capsys.readouterr().out.splitlines()
    of_text = SHOWN.replace("\\x07", "").replace("\\r", "")  # which Rich leaves out of its texts
    assert head.split() == [SHOWN, "second", "third"]
    assert first.split() == [SHOWN, of_text, "text", "end"]
    assert second.split() == ["two\\nlines\\tand", "a", "tab", "two\\nlines", "end"]
    assert first.index("end") == second.index("end") == head.index("third")


def test_lines(terminal: bool, capsys: pytest.CaptureFixture[str]) -> None:
    output.out().print(EVIL, markup=False)
    output.out().print(Text(f"{EVIL}: a text"))
    output.say(EVIL)
    output.complain(EVIL, EVIL)
    with output.working(EVIL) as say:
        say(EVIL)
    said = capsys.readouterr()
    assert not COMMANDS & {*said.out, *said.err}
    assert SHOWN in said.out
    assert SHOWN in said.err


def test_what_is_no_command_stays(capsys: pytest.CaptureFixture[str]) -> None:
    """Words of all languages, and what joins the parts of an emoji."""
    text = "Grüße, 日本語, क्\u200cष, 👩\u200d👧, a\u00a0b"
    output.out().print(text)
    output.say(f"  {text}")
    said = capsys.readouterr()
    assert said.out == f"{text}\n"
    assert said.err == f"  {text}\n"


@pytest.mark.parametrize("lines", [False, True])
def test_json_is_exact(lines: bool, capsys: pytest.CaptureFixture[str]) -> None:
    value = {EVIL: [EVIL, "\U000e0041", "👩\u200d👧"]}
    output.print_json(value, lines=lines)
    said = capsys.readouterr().out
    assert json.loads(said) == value
    assert not (COMMANDS | {"\U000e0041"}) & {*said}
    assert "👩\u200d👧" in said
