"""The command line's root: commands found by name, errors in one line, and nothing heavy for --help.

What a caller may do to the process, such as closing its streams, is in test_process.py.
"""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from azpg import __version__, cli, output, root
from azpg_runtime.errors import RuntimeTwinError
from azpg_runtime.models import StoredModel
from azpg_runtime.models.catalog import CATALOG
from azpg_runtime.postgres import instance as instances
from azpg_runtime.postgres.parameters import Parameter
from tests.unit import tiny

AZPG = [sys.executable, "-c", "from azpg.cli import main; main()"]
HEAVY = {
    "cryptography",
    "numpy",
    "onnxruntime",
    "onnx",
    "psycopg",
    "tokenizers",
    "huggingface_hub",
    "rich.progress",
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

def system(number: int, file: str = "") -> None:
    "As if the system refused something."
    import os
    raise OSError(number, os.strerror(number), file or None)

def driver() -> None:
    "As if PostgreSQL refused something."
    import psycopg
    raise psycopg.ProgrammingError("syntax error\\nLINE 1: SELEC\\n        ^")
"""

Said = tuple[int, str, str]
Run = Callable[..., Said]


@pytest.fixture
def process_of_our_own() -> Iterator[None]:
    """The command line sets the umask of its process, and how it ends: in most of these tests that is ours."""
    mask, handler = os.umask(0o022), signal.getsignal(signal.SIGTERM)
    yield
    os.umask(mask)
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def azpg(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    process_of_our_own: None,
) -> Run:
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
    functions = ("fail", "twin", "interrupted", "bug", "system", "driver")
    commands = {"zebra": "app"} | {function: function for function in functions}
    points = [EntryPoint(command, f"{name}:{what}", "azpg.commands") for command, what in commands.items()]
    points.append(EntryPoint("absent", "azpg_no_such_module:app", "azpg.commands"))

    def found(*, group: str, name: str | None = None) -> list[EntryPoint]:
        assert group == "azpg.commands"
        return [point for point in points if name in {None, point.name}]

    monkeypatch.setattr(root, "entry_points", found)
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


ALL = [
    *COMMANDS,
    "models list",
    "models pull",
    "models add",
    "models remove",
    "server parameter",
    "server parameter list",
    "server parameter show",
    "server parameter set",
    "server parameter reset",
]
GROUPS = {"models", "server", "server parameter"}
NEEDED = {
    "completion": "SHELL",
    "models pull": "NAME",
    "models add": "NAME",
    "models remove": "NAME",
    "server parameter show": "NAME",
    "server parameter set": "NAME",
    "server parameter reset": "NAME",
}
REPORTING = {"up", "down", "restart", "status", "demo"} | {one for one in ALL if " " in one} - GROUPS
REPORTING |= {"plan", "apply", "drift", "preflight", "vectorize", "worker", "search"}


@pytest.mark.parametrize("command", ALL)
def test_every_command_explains_itself(azpg: Run, command: str) -> None:
    code, out, err = azpg(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert f"Usage: azpg {command}" in out
    assert "--install-completion" not in out
    assert "(default" not in out
    assert ("--json" in out) == (command in REPORTING)


def test_the_defaults_of_up_are_shown(azpg: Run) -> None:
    shown = " ".join(azpg("up", "--help")[1].replace("│", " ").split())
    for default in ("default", "18", "pgadmin", "eastus", "Standard_E4ds_v5", "preview-2024", "its own"):
        assert f"[default: {default}]" in shown


@pytest.mark.parametrize("command", ALL)
def test_every_command_refuses_what_it_does_not_know(azpg: Run, command: str) -> None:
    words = command.split()
    # These hand on what they do not know.
    wrong = [] if command in {"psql", "pulumi"} else [[*words, "--no-such-option"]]
    if command in GROUPS:
        wrong += [[*words, "nothing"], words]
    elif command not in {"embed", "help", "psql", "pulumi"}:  # which take any number
        wrong.append([*words, "a", "b", "c"])
    if command in NEEDED:
        wrong.append(words)
    for arguments in wrong:
        code, out, err = azpg(*arguments)
        assert code == 2, arguments
        shown = out + err if arguments == words and command in GROUPS else err
        assert f"Usage: azpg {command}" in shown
        if command in NEEDED and arguments == words:
            assert f"Missing argument '{NEEDED[command]}'" in err


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
        ("'a  b' stays", "'a  b' stays"),
        ("no \x1b[31mred\x07 é", "no \\x1b[31mred\\x07 é"),
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
        (["zebr"], "No such command 'zebr'. Did you mean 'zebra'?"),
    ],
)
def test_wrong_usage(azpg: Run, plugin: str, arguments: list[str], said: str) -> None:
    code, out, err = azpg(*arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.replace("│", " ").split())
    assert "Usage: azpg" in err


def test_an_interruption_is_one_line(azpg: Run, plugin: str) -> None:
    assert azpg("interrupted") == (130, "", "azpg: interrupted.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([f"{errno.ENOSPC}"], "No space left on device."),
        ([f"{errno.EACCES}", "--file", "/some/file"], "Permission denied: /some/file."),
    ],
)
def test_what_the_system_refuses_is_one_line(azpg: Run, plugin: str, arguments: list[str], said: str) -> None:
    assert azpg("system", *arguments) == (1, "", f"azpg: {said}\n")


def test_what_postgresql_refuses_is_one_line(azpg: Run, plugin: str) -> None:
    assert azpg("driver") == (1, "", "azpg: the server refused: syntax error LINE 1: SELEC ^\n")


@pytest.mark.usefixtures("process_of_our_own")
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--postgres", "x"], "Invalid value for '--postgres'"),
        (["logs", "--lines", "0"], "Invalid value for '--lines'"),
        (["logs", "--lines", "9" * 30], "Invalid value for '--lines'"),
        (["dsn", "--database"], "requires an argument"),
        (["server", "parameter", "set", "work_mem", "-1", "--jsn"], "unexpected extra argument"),
    ],
)
def test_wrong_values(azpg: Run, arguments: list[str], said: str) -> None:
    code, out, err = azpg(*arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.replace("│", " ").split())


def test_a_negative_number_is_a_value_and_no_option(azpg: Run) -> None:
    for value in ("-1", "-0.5", "-.5", "-1MB"):
        code, _, err = azpg("server", "parameter", "set", "log_min_duration_statement", value)
        assert code == 1
        assert "there is no instance 'default'" in err
    code, out, _ = azpg("server", "parameter", "set", "-1", "--help")
    assert (code, "Usage: azpg server parameter set" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dsn", "-d", ""], "a database has a name: leave --database out for postgres."),
        (["psql", "-d", ""], "a database has a name: leave --database out for postgres."),
        (["demo", "-q", " "], "a question has words: name one, or leave --question out for five of ours."),
    ],
)
def test_values_that_are_empty(azpg: Run, arguments: list[str], said: str) -> None:
    assert azpg(*arguments) == (2, "", f"azpg: {said}\n")


@pytest.mark.parametrize(
    "command",
    [
        "status ?",
        "models pull ?",
        "models add ? /tmp",
        "models remove ?",
        "embed -m ? x",
        "server parameter show ?",
        "server parameter set ? x",
        "server parameter set work_mem ?",
        "dsn -d ?",
        "psql -c ?",
        "demo -q ?",
        "up --admin ?",
        "?",
        "--?",
    ],
)
def test_arguments_that_are_no_text(azpg: Run, command: str) -> None:
    code, out, err = azpg(*command.replace("?", "caf\udce9").split())
    assert (code, out) == (2, "")
    assert re.fullmatch(r"azpg: the argument '(--)?caf\\xe9' is not utf-8 text\.\n", err)


ERRORS_WITH_JSON = [
    "up Bad_Name",
    "down nobody",
    "status nobody",
    "server parameter list -l nobody",
    "server parameter show work_mem -l nobody",
    "server parameter set work_mem 1 -l nobody",
    "models pull nobody",
    "models add nobody /nonexistent",
    "models remove nobody",
]


@pytest.mark.parametrize("command", ERRORS_WITH_JSON)
def test_errors_go_to_standard_error_with_json_too(azpg: Run, command: str) -> None:
    code, out, err = azpg(*command.split(), "--json")
    assert code in {1, 2}
    assert out == ""
    assert err.count("\n") == 1


# Models


def test_models_that_there_are_not(azpg: Run) -> None:
    known = "It knows all-minilm-l6-v2, multilingual-e5-small."
    other = "Add any other model from a folder: `azpg models add NAME PATH`."
    for name, meant in {
        "nonsense": known,
        "": known,
        "multilingual-e5-smal": "Did you mean 'multilingual-e5-small'?",
        "intfloat/multilingual-e5-small": "Did you mean 'multilingual-e5-small'?",
        "sentence-transformers/all-MiniLM-L6-v2": "Did you mean 'all-minilm-l6-v2'?",
        "all-minilm-l6-v2:v1": "Did you mean 'all-minilm-l6-v2'?",
        "minilm": "Did you mean 'all-minilm-l6-v2'?",
    }.items():
        said = f"azpg: azpg does not know where to fetch a model {name!r}. {meant} {other}\n"
        assert azpg("models", "pull", name) == (1, "", said)
    see = "See what can be fetched with `azpg models list`; `azpg models add` takes any other."
    pull = "Fetch it with `azpg models pull all-minilm-l6-v2`."
    for arguments, name, hint in (
        (["models", "remove", "nonsense"], "nonsense", see),
        (["models", "remove", ""], "", see),
        (["embed", "-m", "", "a text"], "", see),
        (["embed", "a text"], "all-minilm-l6-v2", pull),
    ):
        said = f"azpg: the store has no model {name!r}. It is empty. {hint}\n"
        assert azpg(*arguments) == (1, "", said)


def test_looking_makes_nothing(azpg: Run, tmp_path: Path) -> None:
    for arguments in (["models", "list"], ["embed", "x"], ["status"], ["models", "remove", "x"], ["dsn"]):
        azpg(*arguments)
    assert not (tmp_path / "home").exists()


def test_a_model_from_nowhere(azpg: Run) -> None:
    assert azpg("models", "add", "mine", "/nonexistent") == (
        1,
        "",
        "azpg: could not read /nonexistent: there is no such file or folder. Name a folder with the model's "
        "files, as the Hugging Face hub has them, or an .onnx file.\n",
    )
    assert azpg("models", "add", "My Model", "/")[2].startswith(
        "azpg: 'My Model' is not a model name. A name is"
    )


def test_a_damaged_model_does_not_hide_the_others(azpg: Run, tmp_path: Path) -> None:
    source = tiny.write(tmp_path / "source")
    assert azpg("models", "add", "sound", str(source))[0] == 0
    assert azpg("models", "add", "broken", str(source))[0] == 0
    (tmp_path / "home" / "models" / "names" / "broken.json").write_text("{")
    code, out, err = azpg("models", "list")
    assert code == 1
    assert "sound" in out
    assert err.startswith("azpg: broken: ")
    assert err.endswith("broken.json is damaged. Remove it with `azpg models remove broken`.\n")
    code, out, err = azpg("models", "list", "--json")
    assert (code, [model["name"] for model in json.loads(out)["models"]]) == (1, ["sound"])
    assert azpg("models", "remove", "broken", "--yes")[0] == 0
    assert azpg("models", "list")[0] == 0


def test_other_content_under_a_name_of_the_catalogue(azpg: Run, tmp_path: Path, minilm: StoredModel) -> None:
    source = str(tiny.write(tmp_path / "source"))
    code, out, err = azpg("models", "add", "multilingual-e5-small", source)
    assert (code, out.splitlines()[0].split(":")[0]) == (0, "multilingual-e5-small is in the store")
    assert err == (
        "azpg: warning: this is not the multilingual-e5-small that azpg knows, from "
        "hf:intfloat/multilingual-e5-small@fd1525a9fd15316a2d503bf26ab031a61d056e98. Where it is registered, its "
        "URI stands for this content for ever. If that is not meant: `azpg models remove "
        "multilingual-e5-small`, and add it under another name.\n"
    )
    assert azpg("models", "add", "mine", source)[2] == ""
    assert CATALOG["all-minilm-l6-v2"].is_content(minilm.description)
    assert not CATALOG["multilingual-e5-small"].is_content(minilm.description)


def test_adding_another_model_under_a_name(azpg: Run, tmp_path: Path) -> None:
    one, two = tiny.write(tmp_path / "one"), tiny.write(tmp_path / "two", tiny.files(seed=2))
    assert azpg("models", "add", "mine", str(one))[0] == 0
    assert azpg("models", "add", "mine", str(two)) == (
        1,
        "",
        "azpg: the name 'mine' already stands for another model. Choose another name, or replace it: "
        "`azpg models add --replace`.\n",
    )
    assert azpg("models", "add", "mine", str(two), "--replace")[0] == 0


# Instances


def test_a_damaged_instance_does_not_hide_the_others(azpg: Run, tmp_path: Path) -> None:
    for name in ("broken", "ghost", "broken.bak"):
        folder = tmp_path / "home" / "instances" / name
        folder.mkdir(parents=True)
        (folder / "instance.json").write_text("{")
    (tmp_path / "home" / "instances" / "ghost" / "instance.json").unlink()
    code, out, err = azpg("status")
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("azpg: broken: ")
    assert "instances/broken/instance.json is damaged" in line


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


def test_asking_for_an_instance_imports_no_numpy() -> None:
    code = "import sys; from azpg_runtime.postgres import instance; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


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
