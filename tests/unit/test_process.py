"""What a caller may do to the process: close its streams, leave early, interrupt it, write nonsense."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest

from azpg import process
from azpg_runtime.models import ModelStore
from azpg_runtime.wait import wait_for
from tests.command_line import AZPG
from tests.conftest import ROOT
from tests.terminal import on_terminal

from . import hub as imitation
from . import tiny

_MEDDLING = {"NO_COLOR", "FORCE_COLOR", "PYTHONUNBUFFERED"}
COLOUR = re.compile(r"\x1b\[[\d;]*3\dm")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where the store has a model `tiny`."""
    ModelStore(tmp_path / "home" / "models").add("tiny", tiny.write(tmp_path / "source"))
    kept = {name: value for name, value in os.environ.items() if name not in _MEDDLING}
    return {**kept, "AZPG_HOME": str(tmp_path / "home"), "TERM": "xterm-256color"}


def shell(
    script: str, environment: dict[str, str], *arguments: str | bytes, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a line of shell in which `azpg` is ours, "$1" the first of `arguments`."""
    line = script.replace("azpg", shlex.join(AZPG))
    done = subprocess.run(
        ["bash", "-c", line, "bash", *arguments],
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        **options,
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done


# Streams


def test_no_standard_input(environment: dict[str, str]) -> None:
    for script in ("azpg embed -m tiny <&-", "azpg embed -m tiny </dev/null"):
        done = shell(script, environment)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == "There was no text: nothing is embedded.\n"


@pytest.mark.parametrize("command", ["status", "models list --json", "--help"])
def test_no_standard_output(environment: dict[str, str], command: str) -> None:
    done = shell(f"azpg {command} >&-", environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_stream_at_all(environment: dict[str, str], tmp_path: Path) -> None:
    assert (
        shell("azpg models add other $1 <&- >&- 2>&-", environment, str(tmp_path / "source")).returncode == 0
    )
    assert shell("azpg status Bad_Name <&- >&- 2>&-", environment).returncode == 2
    assert "other" in shell("azpg models list", environment).stdout


def test_a_closed_stream_is_no_files_number(environment: dict[str, str], tmp_path: Path) -> None:
    """Otherwise a log could be opened as number 1 or 2, and get what is printed."""
    code = (
        "import sys; from azpg import process; process.open_closed_streams(); "
        f"file = open({str(tmp_path / 'file')!r}, 'w'); print(file.fileno() > 2, file=file)"
    )
    shell('"$1" -c "$2" <&- >&- 2>&-', environment, sys.executable, code)
    assert (tmp_path / "file").read_text() == "True\n"


@pytest.mark.parametrize(
    "command", ["status", "models list --json", "--help", "--version", "embed -m tiny x"]
)
def test_output_that_cannot_be_written(environment: dict[str, str], command: str) -> None:
    done = shell(f"azpg {command} >/dev/full", environment)
    assert (done.returncode, done.stderr) == (1, "azpg: No space left on device.\n")


def test_remarks_that_cannot_be_written(environment: dict[str, str], tmp_path: Path) -> None:
    assert shell("azpg status Bad_Name 2>/dev/full", environment).returncode == 2
    done = shell("azpg embed -m tiny </dev/null 2>/dev/full", environment)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "command", ["status", "models list --json", "--help", "--version", "embed -m tiny x"]
)
def test_a_reader_that_leaves(environment: dict[str, str], command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*AZPG, *command.split()], env=environment, check=False, stdout=writing, stderr=subprocess.PIPE
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_reader_of_remarks_that_leaves(environment: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        process = subprocess.run(
            [*AZPG, "status", "Bad_Name"],
            env=environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=writing,
        )
    finally:
        os.close(writing)
    assert (process.returncode, process.stdout) == (2, b"")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_an_output_that_lacks_characters(environment: dict[str, str], encoding: str) -> None:
    environment["PYTHONIOENCODING"] = encoding
    embedded = subprocess.run(
        [*AZPG, "embed", "-m", "tiny", "日本 é"], env=environment, check=True, capture_output=True
    ).stdout
    assert json.loads(embedded.decode(encoding))["text"] == "日本 é"
    for command in ("--help", "nonsense"):
        done = subprocess.run([*AZPG, command], env=environment, check=False, capture_output=True)
        assert b"Traceback" not in done.stderr


# Arguments


@pytest.mark.parametrize("command", ["embed -m tiny $1", "models add x /tmp/$1"])
def test_arguments_that_are_no_text(environment: dict[str, str], command: str) -> None:
    done = shell(f"azpg {command}", environment, b"caf\xe9")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"azpg: the argument '.*caf\\xe9' is not utf-8 text\.\n", done.stderr)


# Homes


def test_a_home_that_cannot_be(environment: dict[str, str]) -> None:
    done = shell("azpg up", {**environment, "AZPG_HOME": "/$HOME"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "azpg: AZPG_HOME cannot be '/$HOME': it has the character $, which shells interpret. "
        "Set AZPG_HOME to another folder.\n"
    )


def test_a_current_folder_that_is_gone(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = "cd $1 && rmdir ../gone && PYTHONPATH=$2 azpg"
    place = str(tmp_path / "gone"), f"{ROOT}:{ROOT / 'runtime'}"
    assert shell(f"{script} models list", environment, *place).stdout.startswith("name ")
    (tmp_path / "gone").mkdir()
    done = shell(f"{script} status", {**environment, "AZPG_HOME": "here"}, *place)
    assert (done.returncode, done.stdout) == (2, "")
    assert "it is not absolute, and the current folder no longer exists." in done.stderr


# Interruptions


_PULL = """
import sys
from huggingface_hub import constants
from azpg_runtime.models import catalog
from tests.unit import hub, tiny
constants.DOWNLOAD_CHUNK_SIZE = 1000
catalog.CATALOG = tiny.catalog(catalog.HubSource(hub.REPOSITORY, hub.REVISION))
sys.argv = ["azpg", "models", "pull", "tiny"]
from azpg.cli import main
main()
"""


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGINT, 130, "azpg: interrupted."), (signal.SIGTERM, 143, "azpg: terminated.")],
)
def test_an_interrupted_pull(tmp_path: Path, number: int, status: int, said: str) -> None:
    files = tiny.files()
    size = len(files["model.safetensors"])
    with imitation.serve(files) as hub:
        hub.hold_after["model.safetensors"] = size // 2
        environment = {
            "PYTHONPATH": ":".join(sys.path),
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hub"),
            "AZPG_HOME": str(tmp_path / "home"),
        }
        command = [sys.executable, "-c", _PULL]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        parts = tmp_path / "home" / "models" / "partial"
        assert wait_for(
            lambda: any(part.stat().st_size > size / 3 for part in parts.glob("*/parts/model.safetensors/*")),
            timeout=60,
        )
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (status, "")
        assert err.splitlines()[1:] == [said]
        assert err.startswith("Fetching tiny, 0 MB, from hf:tiny/encoder@")
        hub.go_on.set()
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        assert (
            done.stdout == f"tiny is in the store: {tiny.HIDDEN} dimensions, up to {tiny.MAX_TOKENS} tokens\n"
        )
        assert done.stderr.splitlines()[1:] == ["Converting tiny"]
        assert hub.asked("model.safetensors")[1].startswith("bytes=")


def test_an_interruption_while_texts_are_read(environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [*AZPG, "embed", "-m", "tiny"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    reads = Path(f"/proc/{process.pid}/wchan")
    assert wait_for(lambda: "pipe" in reads.read_text(), timeout=60)  # it waits for the first line
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"azpg: interrupted.\n")


# Umask


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_the_umask_is_not_the_callers(environment: dict[str, str], tmp_path: Path, mask: int) -> None:
    environment["AZPG_HOME"] = str(tmp_path / "new")
    done = shell(f"umask {mask:o}; azpg models add tiny $1", environment, str(tmp_path / "source"))
    assert done.returncode == 0, done.stderr
    home = tmp_path / "new"
    assert stat.S_IMODE(home.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    for path in (home / "models").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path


def test_a_program_that_follows_gets_what_the_caller_set(environment: dict[str, str], tmp_path: Path) -> None:
    """psql writes files with \\o, and tail must end quietly when its reader leaves."""
    code = "from azpg import process; process.set_umask(0o022); process.become('/bin/sh', ['sh', '-c', 'umask; kill -PIPE $$; echo alive'])"
    done = shell('umask 077; "$1" -c "$2"', environment, sys.executable, code)
    assert (done.returncode, done.stdout) == (-signal.SIGPIPE, "0077\n")


def test_how_it_is_called_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After `make demo` it is in a virtual environment that nobody has activated."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "azpg").write_text("#!/bin/sh\n")
    (folder / "azpg").chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(folder / "azpg"), "demo"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert process.called() == f"'{folder}/azpg'"
    monkeypatch.setenv("PATH", str(folder))
    assert process.called() == "azpg"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert process.called() == "azpg"


# Terminals


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def in_terminal(command: list[str], environment: dict[str, str], output: IO[str] | None = None) -> str:
    """What a command writes to a terminal, that is without its results if `output` is given."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen([*AZPG, *command], env=environment, stdout=output or theirs, stderr=theirs)
        os.close(theirs)
        said = b""
        with suppress(OSError):  # the terminal's other end is closed
            while chunk := screen.read(4096):
                said += chunk
        assert process.wait(60) == 0
    return said.decode()


def test_long_work_is_shown_in_a_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    said = in_terminal(["models", "add", "other", str(tmp_path / "source")], environment)
    assert "Adding other" in said
    assert (
        said.splitlines()[-1].startswith("\x1b[1mother\x1b[0m is in the store: ") or "is in the store" in said
    )
    with (tmp_path / "vectors").open("w") as vectors:
        said = in_terminal(["embed", "-m", "tiny", *("word " * 300).split()], environment, vectors)
    assert "embed" in said
    assert "300 of 300" in said
    assert len((tmp_path / "vectors").read_text().splitlines()) == 300
    assert "embed" not in in_terminal(["embed", "-m", "tiny", "x"], environment).replace('"embedding"', "")


@pytest.mark.parametrize(
    ("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour(
    environment: dict[str, str], tmp_path: Path, variables: dict[str, str], coloured: bool
) -> None:
    add = ["models", "add", "tiny", str(tmp_path / "source")]  # Typer prints the help, Rich the rest
    said = [in_terminal(command, {**environment, **variables}) for command in (["--help"], add)]
    assert [bool(COLOUR.search(one)) for one in said] == [coloured, coloured]


def test_texts_typed_in_a_terminal(environment: dict[str, str]) -> None:
    with terminal() as (ours, theirs):
        process = subprocess.Popen(
            [*AZPG, "embed", "-m", "tiny"],
            env=environment,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        os.write(ours, b"one\n")
        assert json.loads(process.stdout.readline())["text"] == "one"  # at once, not with the 256th
        os.write(ours, b"two\n\x04")
        out, err = process.communicate(timeout=60)
    assert json.loads(out)["text"] == "two"
    assert err == "Type a text and press Enter; Ctrl-D ends.\n"


# Questions


def answering(answer: str, command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """What a command does that is answered from a terminal: its exit code and its output."""
    with terminal() as (ours, theirs):
        os.write(ours, answer.encode())
        done = subprocess.run(
            [*AZPG, *command],
            env=environment,
            check=False,
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_what_is_destroyed_is_asked_first(environment: dict[str, str], tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "home" / "models")
    remove = ["models", "remove", "tiny"]
    question = "Remove the model tiny from the store? [y/N]: "
    for answer in ("n\n", "\n"):
        said = f"{question}tiny is still in the store.\n"
        assert answering(answer, remove, environment) == (1, said)
    assert answering("\x04", remove, environment) == (1, f"{question}Aborted.\n")  # Ctrl-D
    assert store.names() == ["tiny"]
    code, said = answering("y\n", remove, environment)
    assert (code, said.startswith(f"{question}tiny is no longer in the store")) == (0, True)
    assert store.names() == []


def test_ctrl_c_is_no_answer(environment: dict[str, str], tmp_path: Path) -> None:
    keys = iter([b"\x03"])
    screen = on_terminal(
        *("models", "remove", "tiny"),
        environment=environment,
        status=130,
        typed=lambda seen: next(keys, None) if "[y/N]" in seen else None,
    )
    assert screen.lines == ["Remove the model tiny from the store? [y/N]: ^C", "azpg: interrupted."]
    assert ModelStore(tmp_path / "home" / "models").names() == ["tiny"]


@pytest.mark.parametrize("json", ["", "--json"])
def test_where_there_is_nobody_to_ask_nothing_is_destroyed(
    environment: dict[str, str], tmp_path: Path, json: str
) -> None:
    done = shell(f"azpg models remove tiny {json}", environment)
    said = "azpg: there is nobody to ask: repeat it with --yes.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert ModelStore(tmp_path / "home" / "models").names() == ["tiny"]
    assert shell(f"azpg models remove tiny --yes {json}", environment).returncode == 0


# Tables


def test_tables_are_whole_in_a_pipe(environment: dict[str, str], tmp_path: Path) -> None:
    name = "m" * 63
    shell("azpg models add $1 $2", environment, name, str(tmp_path / "source"))
    listed = shell("azpg models list", {**environment, "COLUMNS": "40"}).stdout.splitlines()
    (row,) = [line for line in listed if line.startswith(name)]
    digest = ModelStore(tmp_path / "home" / "models").get(name).digest
    assert row.endswith(f" {digest[:12]}")
    assert [line for line in listed if line != line.rstrip()] == []
