"""The command line's root: commands found by name, errors in one line, and nothing heavy for --help."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from azpg import __version__, cli, output
from azpg_runtime.errors import RuntimeTwinError
from azpg_runtime.postgres import instance as instances
from azpg_runtime.postgres.parameters import Parameter

AZPG = [sys.executable, "-c", "from azpg.cli import main; main()"]
HEAVY = {
    "cryptography",
    "numpy",
    "onnxruntime",
    "onnx",
    "psycopg",
    "tokenizers",
    "huggingface_hub",
    "pgvector",
    "azpg_runtime.postgres",
}
COMMANDS = sorted(point.name for point in entry_points(group="azpg.commands"))

MODULE = """\
import typer
from azpg.errors import AzpgError, NotAvailable, UsageError
from azpg_runtime.errors import ModelNotFound

app = typer.Typer(help="A group.")

@app.command()
def inner(message: str) -> None:
    "An inner command."
    raise AzpgError(message)

@app.command()
def other() -> None:
    "Another inner command."

def fail(message: str, number: int = 1) -> None:
    "Fail."
    kind = {1: AzpgError, 2: UsageError, 3: NotAvailable}[number]
    raise kind(message)

def twin(message: str) -> None:
    "Fail as the twin does."
    raise ModelNotFound(message, detail="A detail.", hint="A hint.")

def interrupted() -> None:
    "As if Ctrl-C were pressed."
    raise KeyboardInterrupt

def bug() -> None:
    "A bug."
    raise LookupError("a bug")
"""

Said = tuple[int, str, str]
Run = Callable[..., Said]


@pytest.fixture
def azpg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the command line in this process: exit code, output, errors."""
    monkeypatch.setenv("AZPG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["azpg", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert "\x1b" not in said.out + said.err, "colour without a terminal"
        code = caught.value.code
        assert isinstance(code, int)
        return code, said.out, said.err

    return run


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A package's commands beside ours: name of the module they are in."""
    name = f"azpg_plugin_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    commands = {"zebra": "app", "fail": "fail", "twin": "twin", "interrupted": "interrupted", "bug": "bug"}
    points = [EntryPoint(command, f"{name}:{what}", "azpg.commands") for command, what in commands.items()]
    points.append(EntryPoint("absent", "azpg_no_such_module:app", "azpg.commands"))

    def found(*, group: str, name: str | None = None) -> list[EntryPoint]:
        assert group == "azpg.commands"
        return [point for point in points if name in {None, point.name}]

    monkeypatch.setattr(cli, "entry_points", found)
    yield name
    sys.modules.pop(name, None)


# Commands


def test_the_version(azpg: Run) -> None:
    assert azpg("--version") == (0, f"{__version__}\n", "")
    assert azpg("--version", "no-such-command") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command(azpg: Run, flag: str) -> None:
    code, out, err = azpg(flag)
    assert (code, err) == (0, "")
    assert "Azure Database for PostgreSQL with in-database AI" in out
    lines = [line.lstrip("│ ") for line in out.splitlines()]
    for command in COMMANDS:
        assert any(line.startswith(f"{command} ") and len(line.split()) > 3 for line in lines), command


def test_without_arguments_it_says_what_there_is(azpg: Run) -> None:
    code, out, err = azpg()
    assert code == 2
    assert "Usage: azpg" in out + err
    assert "status" in out + err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(azpg: Run, command: str) -> None:
    code, out, err = azpg(command, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: azpg {command}" in out


def test_commands_are_found_by_entry_point_and_imported_when_used(azpg: Run, plugin: str) -> None:
    assert azpg("--version")[0] == 0
    assert plugin not in sys.modules
    assert azpg("no-such-command")[0] == 2
    assert plugin not in sys.modules
    assert azpg("zebra", "other")[0] == 0
    assert plugin in sys.modules


def test_a_group_has_commands_of_its_own(azpg: Run, plugin: str) -> None:
    code, out, _ = azpg("zebra", "--help")
    assert code == 0
    assert "A group." in out
    assert "inner" in out
    assert azpg("zebra", "nothing")[0] == 2


# Errors


@pytest.mark.parametrize(("number", "code"), [(1, 1), (2, 2), (3, 1)])
def test_what_cannot_be_done_is_one_line_and_an_exit_code(
    azpg: Run, plugin: str, number: int, code: int
) -> None:
    assert azpg("fail", "it cannot be done", "--number", str(number)) == (
        code,
        "",
        "azpg: it cannot be done\n",
    )


def test_so_it_is_in_a_group(azpg: Run, plugin: str) -> None:
    assert azpg("zebra", "inner", "it cannot be done") == (1, "", "azpg: it cannot be done\n")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("two\nlines\n  and a third", "two lines and a third"),
        ("word " * 100, ("word " * 100).strip()),
        ("x" * 500, "x" * 500),
        ("[red]no markup[/] [/] :smile: [0]", "[red]no markup[/] [/] :smile: [0]"),
    ],
)
def test_a_message_is_one_line_and_itself(azpg: Run, plugin: str, message: str, line: str) -> None:
    assert azpg("fail", message) == (1, "", f"azpg: {line}\n")


@pytest.mark.parametrize(
    ("message", "end"), [("no model 'x'", "."), ("no model.", ""), ("no model!", ""), ("is it:", "")]
)
def test_an_error_of_the_twin_says_message_detail_and_hint(
    azpg: Run, plugin: str, message: str, end: str
) -> None:
    assert azpg("twin", message) == (1, "", f"azpg: {message}{end} A detail. A hint.\n")


def test_only_what_is_there_is_said() -> None:
    assert str(RuntimeTwinError("alone")) == "alone"
    assert str(RuntimeTwinError("alone", hint="Do this")) == "alone. Do this"
    assert str(RuntimeTwinError("alone", detail="figures", hint="Do this.")) == "alone. figures. Do this."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-command"], "No such command 'no-such-command'"),
        (["--no-such-option"], "No such option: --no-such-option"),
        (["fail"], "Missing argument"),
        (["fail", "x", "--number", "many"], "Invalid value for '--number'"),
        (["fail", "x", "y"], "unexpected extra argument"),
        (["zebra", "nothing"], "No such command 'nothing'"),
    ],
)
def test_wrong_usage(azpg: Run, plugin: str, arguments: list[str], said: str) -> None:
    code, out, err = azpg(*arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.replace("│", " ").split())
    assert "Usage: azpg" in err


def test_an_interruption_is_no_traceback(azpg: Run, plugin: str) -> None:
    code, out, _ = azpg("interrupted")
    assert code != 0
    assert out == ""


def test_a_bug_keeps_its_traceback(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["azpg", "bug"])
    with pytest.raises(LookupError, match="a bug"):
        cli.main()


def test_elsewhere_than_on_linux(azpg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert azpg("--version") == (1, "", "azpg: azpg runs on Linux, not on darwin.\n")


# The twin's commands, as far as they need no server


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["down", "nobody"], 1, "there is no instance 'nobody'. `azpg up nobody` makes it."),
        (["dsn"], 1, "there is no instance 'default'. `azpg up default` makes it."),
        (["status", "nobody"], 1, "there is no instance 'nobody'. `azpg up nobody` makes it."),
        (["logs"], 1, "there is no instance 'default'. `azpg up default` makes it."),
        (
            ["server", "parameter", "list", "-l", "nobody"],
            1,
            "there is no instance 'nobody'. `azpg up nobody` makes it.",
        ),
        (
            ["status", "Bad_Name"],
            2,
            "instance name 'Bad_Name' is not allowed: use 1 to 63 lower-case letters, digits and hyphens, not a "
            "hyphen first or last",
        ),
    ],
)
def test_what_the_twin_refuses(azpg: Run, arguments: list[str], code: int, said: str) -> None:
    assert azpg(*arguments) == (code, "", f"azpg: {said}\n")


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_ports_are_checked_by_the_command_line(azpg: Run, port: str) -> None:
    code, _, err = azpg("up", "--port", port)
    assert code == 2
    assert "Invalid value for '--port'" in " ".join(err.replace("│", " ").split())


def test_no_server_yet(azpg: Run) -> None:
    assert azpg("status") == (0, "There is no local server yet; azpg up makes one.\n", "")


def test_the_ca_is_made_when_it_is_asked_for(azpg: Run, tmp_path: Path) -> None:
    path = tmp_path / "home" / "ca" / "ca.crt"
    assert azpg("ca") == (0, f"{path}\n", "")
    assert azpg("ca") == (0, f"{path}\n", "")
    assert azpg("ca", "--pem") == (0, path.read_text(), "")
    assert path.read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_a_damaged_ca_is_one_line(azpg: Run, tmp_path: Path) -> None:
    assert azpg("ca")[0] == 0
    folder = tmp_path / "home" / "ca"
    (folder / "ca.crt").unlink()
    for arguments in (["ca"], ["ca", "--pem"]):
        assert azpg(*arguments) == (
            1,
            "",
            f"azpg: the CA in {folder} is damaged: ca.crt is missing. Remove the folder {folder}. `azpg ca` then "
            "makes a new CA; servers take it at the next `azpg up`, and clients have to be given it.\n",
        )


VALUES = ["[bold]", "[/]", "[red]x[/red]", "%m [%p] [db]", "a\\[b]"]


@pytest.mark.parametrize("value", VALUES)
def test_a_parameters_value_is_shown_as_it_is(azpg: Run, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Brackets are markup to the library that prints."""
    found = Parameter(
        name="log_line_prefix",
        value=value,
        in_force=value,
        default_value=value,
        data_type="String",
        allowed_values="",
        unit="",
        description="",
        is_dynamic_config=True,
        is_read_only=False,
        is_config_pending_restart=False,
        source="user-override",
    )

    class Instance:
        def __init__(self, name: str) -> None:
            assert name == "default"

        def set_parameter(self, name: str, wanted: str) -> Parameter:
            assert (name, wanted) == ("log_line_prefix", value)
            return found

        def parameter(self, name: str) -> Parameter:
            return found

        def parameters(self) -> list[Parameter]:
            return [found]

    monkeypatch.setattr(instances, "Instance", Instance)
    name = found.name
    assert azpg("server", "parameter", "set", name, value) == (0, f"{name} = {value}\n", "")
    assert value in azpg("server", "parameter", "show", name)[1]
    assert value in azpg("server", "parameter", "list")[1]
    shown = json.loads(azpg("server", "parameter", "show", name, "--json")[1])
    assert (shown["version"], shown["value"]) == (1, value)


# Output


def test_json_is_neither_wrapped_nor_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"text": "é [bold] " * 50, "list": [1, None]}
    output.print_json(value)
    said = capsys.readouterr().out
    assert json.loads(said) == value
    assert "\\u" not in said
    assert said.endswith("}\n")


def test_what_is_being_done_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("Creating [x] " + "word " * 60)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "Creating [x] " + "word " * 60 + "\n"


# As a process


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AZPG, *arguments],
        env={**os.environ, "TERM": "xterm-256color", "AZPG_HOME": "/nonexistent/azpg", **environment},
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_help_imports_nothing_heavy() -> None:
    code = """\
import atexit, sys
atexit.register(lambda: print("loaded:", *sys.modules, file=sys.stderr))
sys.argv = ["azpg", "--help"]
from azpg.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], check=True, capture_output=True, text=True
    )
    assert "Usage: azpg" in done.stdout
    *lines, loaded = done.stderr.splitlines()
    imported = {line.split("|")[-1].strip() for line in lines if line.startswith("import time:")}
    imported |= set(loaded.split())
    assert {"azpg.cli", "azpg_runtime.commands.instances"} <= imported
    assert {name for name in imported if any(f"{name}.".startswith(f"{heavy}.") for heavy in HEAVY)} == set()


def test_a_process_fails_with_one_line_and_the_code() -> None:
    done = run("status", "Bad_Name")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("azpg: instance name 'Bad_Name' is not allowed: ")


def test_the_installed_command_is_this_one() -> None:
    (script,) = entry_points(group="console_scripts", name="azpg")
    assert script.load() is cli.main


def test_colour_is_for_terminals() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "AZPG_HOME": "/nonexistent/azpg"}
    environment.pop("NO_COLOR", None)
    try:
        subprocess.run(
            [*AZPG, "status", "Bad_Name"], env=environment, check=False, stderr=theirs, stdout=theirs
        )
        said = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert said.startswith("\x1b[")
    assert "azpg: " in said
    assert said.count("\n") == 1, "the terminal wraps, not we"
    assert "\x1b[" not in run("status", "Bad_Name").stderr


def test_a_reader_that_leaves_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*AZPG, "--help"], check=False, stdout=writing, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(writing)
    assert "Traceback" not in done.stderr


def test_a_module_is_a_function_of_its_name_only() -> None:
    """`azpg_runtime` itself is light; `Twin` brings the rest when it is asked for."""
    code = "import azpg_runtime, sys; print('psycopg' in sys.modules); azpg_runtime.Twin; print('psycopg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_twin_has_nothing_else() -> None:
    import azpg_runtime  # noqa: PLC0415

    missing: Any = "Twins"
    with pytest.raises(AttributeError, match="module 'azpg_runtime' has no attribute 'Twins'"):
        getattr(azpg_runtime, missing)
