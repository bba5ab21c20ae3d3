"""A spec of somebody else's reads no file outside its folder, and leads no password astray."""

from __future__ import annotations

import json
import os
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from azpg_provision.commands.place import open_place
from azpg_provision.errors import SpecInvalid, TargetUnreachable
from azpg_provision.spec.model import Spec
from azpg_provision.spec.reading import read
from azpg_provision.target.where import Where


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of somebody else's, beside a file that is not for them."""
    (tmp_path / "secret.sql").write_text("hunter2:x:0")
    folder = tmp_path / "foreign"
    folder.mkdir()
    return folder


@pytest.fixture
def spec(folder: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = folder / "azpg.yaml"
        path.write_text(f"version: 1\n{text}\n")
        return path

    return write


Write = Callable[[str], Path]


# Init files


@pytest.mark.parametrize(
    "path", ["../secret.sql", "ABSOLUTE", "link.sql", "out/secret.sql", "./a/../../secret.sql"]
)
def test_an_init_file_is_below_the_folder_of_the_spec(folder: Path, spec: Write, path: str) -> None:
    (folder / "link.sql").symlink_to("../secret.sql")
    (folder / "out").symlink_to("..")
    (folder / "a").mkdir()
    named = path.replace("ABSOLUTE", str(folder.parent / "secret.sql"))
    with pytest.raises(SpecInvalid, match="is not below the folder of the spec") as caught:
        read(spec(f"databases: [{{name: x, init: [{named}]}}]"))
    assert "hunter2" not in str(caught.value)


def test_a_link_that_leads_in_a_circle(folder: Path, spec: Write) -> None:
    (folder / "loop.sql").symlink_to("loop.sql")
    with pytest.raises(SpecInvalid, match="cannot be read"):
        read(spec("databases: [{name: x, init: [loop.sql]}]"))


def test_a_link_within_the_folder_is_fine(folder: Path, spec: Write) -> None:
    (folder / "one.sql").write_text("SELECT 1;")
    (folder / "link.sql").symlink_to("one.sql")
    found: Spec = read(spec("databases: [{name: x, init: [link.sql]}]"))
    assert found.databases[0].init[0].statements == "SELECT 1;"


@pytest.mark.parametrize(
    "content",
    [
        "hunter2:x:0",
        "SELECT 'hunter2",
        'SELECT "hunter2',
        "SELECT hunter2 hunter2 FROM",
        "$hunter2$",
        "\\hunter2",
    ],
)
def test_what_stands_in_a_file_is_not_shown(folder: Path, spec: Write, content: str) -> None:
    (folder / ".env").write_text(content)
    with pytest.raises(SpecInvalid) as caught:
        read(spec("databases: [{name: x, init: [.env]}]"))
    assert "hunter2" not in str(caught.value)
    assert "line 1" in str(caught.value)


# Connection strings

OPTIONS = {
    "passfile": "/etc/passwd",
    "service": "prod",
    "servicefile": "x",
    "hostaddr": "203.0.113.1",
    "sslkey": "../../evil:1",
    "sslcert": "x",
    "sslkeylogfile": "x",
    "gssdelegation": "1",
    "krbsrvname": "x",
    "sslpassword": "hunter2",
    "oauth_issuer": "https://example.com",
    "require_auth": "password",
    "replication": "database",
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("where", ["dsn", "uri", "file"])
def test_a_spec_chooses_no_option_that_reads_files_or_leads_passwords_astray(
    folder: Path, spec: Write, option: str, where: str
) -> None:
    value = OPTIONS[option]
    dsn = f"host=h user=u {option}={value}"
    if where == "uri":
        dsn = f"postgresql://u@h/d?{option}={value.replace(':', '%3A').replace('/', '%2F')}"
    if where == "file":
        (folder / "dsn").write_text(dsn)
        dsn = "file:dsn"
    path = spec(f"target: {{dsn: {json.dumps(dsn)}}}\ndatabases: [{{name: x}}]")
    if where == "file" and option == "sslpassword":
        open_place(Where(), path)  # a file may hold what is secret
        return
    with pytest.raises((SpecInvalid, TargetUnreachable)) as caught:  # an option may be of a later libpq
        open_place(Where(), path)
    said = str(caught.value)
    assert option in said or "is no connection string" in said or "is none" in said
    assert "hunter2" not in said


def test_what_a_person_names_is_theirs(folder: Path, spec: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    dsn = "host=h sslcert=x sslkey=y"
    (folder / "dsn").write_text(dsn)
    monkeypatch.setenv("OWN_DSN", dsn)
    path = spec("target: {dsn: env:OWN_DSN}\ndatabases: [{name: x}]")
    open_place(Where(), path)
    for named in (dsn, f"file:{folder / 'dsn'}"):
        open_place(Where(dsn=named), path)


class Curious(socketserver.BaseRequestHandler):
    """A server that asks for the password itself."""

    def handle(self) -> None:
        length = struct.unpack("!i", self.request.recv(4))[0]
        self.request.recv(length - 4)
        self.request.sendall(b"R" + struct.pack("!ii", 8, 3))
        self.server.got.append(self.request.recv(1000))  # type: ignore[attr-defined] - of this test alone


@pytest.fixture
def curious() -> Iterator[socketserver.TCPServer]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Curious) as server:
        server.got = []  # type: ignore[attr-defined] - of this test alone
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("where", ["dsn", "file"])
def test_no_server_of_a_spec_is_told_a_password_of_this_machine(
    folder: Path, spec: Write, curious: socketserver.TCPServer, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    dsn = f"host=127.0.0.1 port={curious.server_address[1]} user=u sslmode=disable"
    if where == "file":
        (folder / "dsn").write_text(dsn)
        dsn = "file:dsn"
    target, _ = open_place(Where(), spec(f"target: {{dsn: {dsn!r}}}\ndatabases: [{{name: x}}]"))
    with pytest.raises(TargetUnreachable, match="authentication"):
        target.connect()
    assert b"hunter2" not in b"".join(curious.got)  # type: ignore[attr-defined] - of this test alone


# Stacks


def test_a_project_that_a_spec_names_is_not_asked_where_its_state_is(
    folder: Path, spec: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in for `pulumi` here prints what it was called with: which backend wins is Pulumi's own rule."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "pulumi"
    program.write_text(
        f'#!/bin/sh\nenv >{tmp_path}/env\npwd >{tmp_path}/pwd\necho "$@" >{tmp_path}/args\nexit 1\n'
    )
    program.chmod(0o755)
    (folder / "Pulumi.yaml").write_text("name: x\nruntime: python\nbackend: {url: 'file:///evil'}\n")
    path = spec("target: {stack: dev, cwd: .}\ndatabases: [{name: x}]")

    def asked(*options: str, **environment: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "azpg", "plan", str(path), *options],
            cwd=tmp_path,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")},
                "PATH": f"{programs}:{os.environ['PATH']}",
                "HOME": str(tmp_path),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1, done.stderr
        told = (tmp_path / "env").read_text() if (tmp_path / "env").exists() else ""
        return done.stderr, "".join(
            line for line in told.splitlines() if line.startswith("PULUMI_BACKEND_URL=")
        )

    said, _ = asked()
    assert "Pulumi is logged in nowhere" in said
    assert not (tmp_path / "env").exists()

    (tmp_path / ".pulumi").mkdir()
    (tmp_path / ".pulumi" / "credentials.json").write_text('{"current": "file:///own"}')
    said, backend = asked()
    assert backend == "PULUMI_BACKEND_URL=file:///own"
    assert "counts only where --cwd names the project" in said
    assert (tmp_path / "pwd").read_text().strip() == str(tmp_path)
    assert f"--cwd {folder}" in (tmp_path / "args").read_text()

    assert asked(PULUMI_BACKEND_URL="file:///set")[1] == "PULUMI_BACKEND_URL=file:///set"
    assert asked("--cwd", str(folder))[1] == ""
