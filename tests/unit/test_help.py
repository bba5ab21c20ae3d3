"""`azpg help`, `azpg schema`, `azpg completion`, and how --help is laid out."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from azpg import __version__, pages, root
from azpg_runtime.models import ModelStore
from tests.command_line import AZPG, PATIENCE
from tests.command_line import run as run_azpg
from tests.conftest import ROOT
from tests.unit import tiny

DOCS = ROOT / "docs"
COMMANDS = sorted(point.name for point in entry_points(group="azpg.commands"))
MESSAGES = ("azpg", "infra/azpg_infra", "provision/azpg_provision", "runtime/azpg_runtime")


def on_terminal(*arguments: str, columns: int = 80) -> list[str]:
    """The lines that a command shows on a terminal, without colour."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": str(columns)}
    written = b""
    with subprocess.Popen([*AZPG, *arguments], env=environment, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        with suppress(OSError):  # the terminal is gone with its last process
            while chunk := os.read(ours, 1 << 16):
                written += chunk
        os.close(ours)
        assert process.wait(PATIENCE) == 0, written
    shown = re.sub(r"\x1b(\[[\d;?]*[a-zA-Z]|\]8;[^\x1b]*\x1b\\)", "", written.decode())
    return [line.rstrip() for line in shown.splitlines()]


# Pages


def test_the_topics_are_the_pages() -> None:
    shown = run_azpg("help").stdout
    names = [line.split()[0] for line in shown.splitlines()[:-2]]
    assert names == sorted(path.stem.lower() for path in DOCS.glob("*.md"))
    assert re.search(r"^servers +Run local servers$", shown, re.MULTILINE)
    assert re.search(r"^apply +Make a server what the spec says: ", shown, re.MULTILINE), "no bare name"


def test_a_topic_has_one_line_on_a_terminal_of_80_columns() -> None:
    assert [line.split()[0] for line in on_terminal("help")[:-2]] == list(pages.topics())


def test_a_page_in_a_pipe_is_the_page() -> None:
    for name, path in pages.topics().items():
        assert run_azpg("help", name).stdout == path.read_text(encoding="utf-8"), name
        break
    page = (DOCS / "COMPATIBILITY.md").read_text(encoding="utf-8")
    for spelling in ("compatibility", "COMPATIBILITY", "docs/COMPATIBILITY.md"):
        assert run_azpg("help", spelling).stdout == page


def test_a_page_on_a_terminal_is_laid_out_and_names_commands_for_links() -> None:
    lines = on_terminal("help", "worker")
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 80
    assert "](" not in text
    assert "(azpg help sync)" in text
    assert lines[-1] == "The options: `azpg worker --help`"


def test_every_link_between_pages_is_a_topic_or_no_page() -> None:
    for name, path in pages.topics().items():
        shown = pages.for_terminals(path.read_text(encoding="utf-8"))
        assert not re.search(r"\]\([a-zA-Z]+\.md", shown), name
        for topic in re.findall(r"azpg help ([a-z]+)", shown):
            assert topic in pages.topics(), (name, topic)


def test_a_command_for_a_topic_is_its_help() -> None:
    assert run_azpg("help", "up").stdout == run_azpg("up", "--help").stdout
    words = ["server", "parameter", "set"]
    assert run_azpg("help", *words).stdout == run_azpg(*words, "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["help", "provisionning"],
            "there is no page or command 'provisionning'. Did you mean 'provisioning'?",
        ),
        (
            ["help", "xyz"],
            "there is no page or command 'xyz'. `azpg help` lists the pages, `azpg` the commands.",
        ),
        (["schema", "specc"], "there is no schema 'specc'. Did you mean 'spec'?"),
    ],
)
def test_a_page_that_there_is_not(arguments: list[str], said: str) -> None:
    assert run_azpg(*arguments, status=2).stderr.startswith(f"azpg: {said}")


def test_no_message_names_a_file_of_the_sources() -> None:
    """Who has installed a wheel has no docs/."""
    named = []
    for folder in MESSAGES:
        for path in (ROOT / folder).rglob("*.py"):
            found = re.findall(r"[\"'`( ]docs/\w+\.md|See docs|see docs", path.read_text())
            named += [(path.name, one) for one in found]
    assert named == []


def test_every_page_that_a_message_names_is_there() -> None:
    named = set()
    for folder in MESSAGES:
        for path in (ROOT / folder).rglob("*.py"):
            named |= set(re.findall(r"`azpg help ([a-z]+)`", path.read_text()))
    assert {"azure", "compatibility", "provisioning", "targets"} <= named <= pages.topics().keys()


# Schemas


def test_the_schema_of_the_spec_and_of_what_commands_print() -> None:
    spec = run_azpg("schema").stdout
    assert spec == (DOCS / "schemas" / "spec.json").read_text(encoding="utf-8")
    assert json.loads(spec)["$schema"].startswith("https://json-schema.org/")
    assert json.loads(run_azpg("schema", "status").stdout)["title"] == "azpg up, restart and status --json"


def test_what_cmake_installs_is_what_is_printed(tmp_path: Path) -> None:
    """A wheel has no docs/ beside it: the pages are below the package."""
    package = tmp_path / "azpg"
    package.mkdir()
    for path in (ROOT / "azpg").glob("*.py"):
        (package / path.name).write_bytes(path.read_bytes())
    where = "from azpg import pages; print(pages.folder())"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment["PYTHONSAFEPATH"] = "1"

    def ask() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", "-c", where], env=environment, check=False, capture_output=True, text=True
        )

    assert "this installation of azpg has no pages: install it again." in ask().stderr
    (package / "docs").mkdir()
    assert ask().stdout.strip() == str(package / "docs")
    installed = (ROOT / "runtime" / "shim" / "CMakeLists.txt").read_text()
    assert "install(FILES ${pages} DESTINATION azpg/docs)" in installed
    assert "install(FILES ${schemas} DESTINATION azpg/docs/schemas)" in installed


# Versions


def test_the_version_stands_in_one_place() -> None:
    assert run_azpg("version").stdout == run_azpg("--version").stdout == f"{__version__}\n"
    assert version("azpg") == __version__
    assert __version__ not in (ROOT / "pyproject.toml").read_text().replace(f"=={__version__}", "")


# --help


def test_commands_are_shown_by_what_somebody_wants_to_do() -> None:
    named = [name for names in root._PANELS.values() for name in names]
    assert sorted(named) == COMMANDS, "a new command has a place among the others"
    lines = on_terminal("--help")
    assert [line for line in lines if line in root._PANELS] == list(root._PANELS)
    assert [line.split()[0] for line in lines if re.match(r"  [a-z]+ ", line)] == named


@pytest.mark.parametrize("command", [*COMMANDS, "server parameter list", "models pull", "arm faults add"])
def test_help_fits_a_terminal_and_has_no_noise(command: str) -> None:
    lines = on_terminal(*command.split(), "--help")
    assert max(len(line) for line in lines if not line.startswith("Example: ")) <= 80
    text = "\n".join(lines)
    assert not re.search(r"<(bool|str|int|float|path|list)\b|\{[A-Z]+\}|<=x|x>=|│|╭", text)
    assert not re.search(r"^ {31}", text, re.MULTILINE), "the words have room"


def test_an_option_that_is_long_has_its_meaning_below() -> None:
    lines = on_terminal("up", "--help")
    place = lines.index("  --created-newly / --created-before")
    assert lines[place + 1].strip().startswith("Made after the preview of azure_local_ai began")
    assert any(
        re.fullmatch(r"  --port PORT +TCP port on 127\.0\.0\.1\. \[default: any that is free\]", line)
        for line in lines
    )
    assert any(line.startswith("  -h, --help ") for line in lines)


# Completion


def completed(words: str, **environment: str) -> list[str]:
    """What bash is told that may follow."""
    given = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1), **environment}
    return run_azpg(_AZPG_COMPLETE="complete_bash", **given).stdout.split()


def test_what_a_shell_completes(tmp_path: Path) -> None:
    assert completed("azpg st") == ["status"]
    assert completed("azpg up --tl") == ["--tls-port"]
    assert completed("azpg server par") == ["parameter"]
    assert completed("azpg help se") == ["search", "servers"]
    assert completed("azpg schema spe") == ["spec"]
    for name in ("shop", "shipping", "other"):
        folder = tmp_path / "instances" / name
        folder.mkdir(parents=True)
        (folder / "instance.json").write_text("{}")
    home = {"AZPG_HOME": str(tmp_path)}
    assert completed("azpg psql sh", **home) == ["shipping", "shop"]
    assert completed("azpg status o", **home) == ["other"]
    assert completed("azpg server parameter list -l sh", **home) == ["shipping", "shop"]
    assert completed("azpg psql sh", AZPG_HOME="$x") == []
    assert completed("azpg models pull all", **home) == ["all-minilm-l6-v2"]
    ModelStore(tmp_path / "models").add("my-own", tiny.write(tmp_path / "source"))
    assert completed("azpg models remove m", **home) == ["multilingual-e5-small", "my-own"]
    assert completed("azpg server parameter set work", **home) == [], "no server has said yet what there is"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(shell: str) -> None:
    script = run_azpg("completion", shell).stdout
    assert f"_AZPG_COMPLETE=complete_{shell}" in script
    if shell == "bash":
        subprocess.run(["bash", "-n", "-c", script], check=True)


def test_a_shell_that_there_is_not() -> None:
    said = "azpg: there is no completion for the shell 'tcsh': use bash, zsh, fish.\n"
    assert run_azpg("completion", "tcsh", status=2).stderr == said
