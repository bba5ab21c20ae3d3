"""Where things are kept, and that sockets have short paths in a folder of one's own."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg.errors import UsageError
from azpg_runtime import home as module
from azpg_runtime.errors import InstanceError
from azpg_runtime.home import Home


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="azpg-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("AZPG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def become(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: uid)


# AZPG_HOME


@pytest.mark.parametrize("uid", [0, 1000])
def test_the_environment_names_the_home(
    bare_environment: pytest.MonkeyPatch, tmp_path: Path, uid: int
) -> None:
    become(bare_environment, uid)
    bare_environment.setenv("AZPG_HOME", str(tmp_path / "somewhere"))
    assert Home.from_environment() == Home(tmp_path / "somewhere")


def test_a_relative_home_stays_where_it_was_meant(
    bare_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare_environment.chdir(tmp_path)
    bare_environment.setenv("AZPG_HOME", "twin")
    assert Home.from_environment().root == tmp_path / "twin"
    bare_environment.setenv("HOME", str(tmp_path / "me"))
    bare_environment.setenv("AZPG_HOME", "~/twin")
    assert Home.from_environment().root == tmp_path / "me" / "twin"


@pytest.mark.parametrize("named", ["", None])
def test_the_defaults(bare_environment: pytest.MonkeyPatch, named: str | None) -> None:
    if named is not None:
        bare_environment.setenv("AZPG_HOME", named)
    become(bare_environment, 0)
    assert Home.from_environment().root == Path("/var/lib/azpg")
    become(bare_environment, 1000)
    bare_environment.setenv("HOME", "/home/somebody")
    assert Home.from_environment().root == Path("/home/somebody/.local/share/azpg")
    bare_environment.setenv("XDG_DATA_HOME", "/data")
    assert Home.from_environment().root == Path("/data/azpg")
    bare_environment.setenv("XDG_DATA_HOME", "not/absolute")  # to be ignored, by the XDG specification
    assert Home.from_environment().root == Path("/home/somebody/.local/share/azpg")


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
@pytest.mark.parametrize(("uid", "mode"), [(0, 0o711), (1000, 0o700)])
def test_making_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uid: int, mode: int, umask: int
) -> None:
    become(monkeypatch, uid)
    home = Home(tmp_path / "b")
    before = os.umask(umask)
    try:
        home.create()
        monkeypatch.undo()
        home.create()  # by its real owner
    finally:
        os.umask(before)
    assert home.root.stat().st_mode & 0o777 == mode


def test_the_folders_of_a_home() -> None:
    home = Home(Path("/h"))
    assert (home.models, home.server) == (Path("/h/models"), Path("/h/server"))
    one = home.instance("one")
    names = "description parameters passfile conf data models host postgres_log host_log".split()
    assert {name: str(getattr(one, name).relative_to("/h/instances/one")) for name in names} == {
        "description": "instance.json",
        "parameters": "parameters.json",
        "passfile": "passfile",
        "conf": "conf",
        "data": "data",
        "models": "models",
        "host": "host",
        "postgres_log": "postgres.log",
        "host_log": "host.log",
    }


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("relative", "it is not absolute"),
        ("/caf\udce9", "it is not UTF-8"),
        ("/a\nb", "it has control characters, such as a line break"),
        ("/a\x7fb", "it has control characters, such as a line break"),
        ('/a"b', 'it has the character ", which shells interpret'),
        ("/a$b", "it has the character $, which shells interpret"),
        ("/a`b", "it has the character `, which shells interpret"),
        ("/a\\b", "it has the character \\, which shells interpret"),
    ],
)
def test_homes_in_which_postgresql_cannot_run(path: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        Home(Path(path))
    assert str(caught.value) == f"AZPG_HOME cannot be {path!r}: {problem}. Set AZPG_HOME to another folder."


def test_the_longest_home() -> None:
    assert Home(Path("/" + "é" * 399 + "x")).root.name.endswith("x")
    with pytest.raises(UsageError) as caught:
        Home(Path("/" + "é" * 400))
    shown = "/" + "é" * 99 + "…"
    assert str(caught.value) == (
        f"AZPG_HOME cannot be {shown!r}: it is longer than 800 bytes. Set AZPG_HOME to another folder."
    )


@pytest.mark.parametrize("name", ["a b", "a'b", "é 日本", "~", "%s", "#;&|<>*?[]{}()!=,:@+", "-x"])
def test_homes_that_look_odd(name: str) -> None:
    assert Home(Path("/") / name).root.name == name


def test_a_home_of_nobody(bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setenv("AZPG_HOME", "~nosuchuser/x")
    with pytest.raises(UsageError) as caught:
        Home.from_environment()
    assert str(caught.value) == (
        "AZPG_HOME cannot be '~nosuchuser/x': there is no such user, or it has no home folder. "
        "Set it to the path of a folder."
    )


def test_a_user_without_a_home(bare_environment: pytest.MonkeyPatch) -> None:
    become(bare_environment, 54321)
    bare_environment.setattr(module.os, "getuid", lambda: 54321)
    bare_environment.delenv("HOME", raising=False)
    with pytest.raises(UsageError) as caught:
        Home.from_environment()
    assert str(caught.value) == (
        "user id 54321 has no home folder. Set AZPG_HOME to a folder that it can write to."
    )


@pytest.mark.parametrize(
    ("where", "why"),
    [("file", "it is no folder"), ("file/below", "Not a directory"), ("dangling", "it is no folder")],
)
def test_a_home_that_cannot_be_made(tmp_path: Path, where: str, why: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(InstanceError) as caught:
        Home(tmp_path / where).create()
    assert caught.value.message == f"could not make the folder {tmp_path / where}: {why}."
    assert caught.value.hint == "Set AZPG_HOME to a folder that you can write to."


# Names


@pytest.mark.parametrize("name", ["a", "7", "default", "a-b", "0-0", "a" * 63, "a--b"])
def test_names_that_azure_takes(name: str) -> None:
    assert Home(Path("/h")).instance(name).name == name


@pytest.mark.parametrize(
    "name", ["", "-", "-a", "a-", "A", "a_b", "a.b", "..", "a/b", "a" * 64, "a\n", "é", "٣", "a b", "a\0"]
)
def test_names_that_azure_does_not_take(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        Home(Path("/h")).instance(name)
    assert str(caught.value) == (
        f"instance name {name!r} is not allowed: use 1 to 63 lower-case letters, digits and hyphens, "
        "not a hyphen first or last"
    )


@settings(deadline=None)
@given(name=st.text(max_size=70) | st.text("a-0", max_size=70))
def test_whatever_the_name_the_folder_stays_below_instances(name: str) -> None:
    try:
        found = Home(Path("/h")).instance(name)
    except UsageError:
        return
    assert found.root.parent == Path("/h/instances")
    assert name == name.lower()
    assert not name.startswith("-")
    assert not name.endswith("-")
    assert 1 <= len(name) <= 63


def test_instances_are_those_that_were_described(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.instance_names() == []
    for name in ("b", "a", "half-deleted", ".deleted-c", "a.bak"):
        (tmp_path / "instances" / name).mkdir(parents=True)
    for name in ("b", "a", ".deleted-c", "a.bak"):
        (tmp_path / "instances" / name / "instance.json").write_text("{}")
    (tmp_path / "instances" / "a-file").touch()
    assert home.instance_names() == ["a", "b"]


# The runtime folder


def test_where_sockets_go(bare_environment: pytest.MonkeyPatch, short: Path) -> None:
    one = Home(Path("/h")).instance("one")
    become(bare_environment, 0)
    assert one.runtime.parent == Path("/run/azpg")
    become(bare_environment, 1234)
    assert one.runtime.parent == Path("/tmp/azpg-1234")
    bare_environment.setenv("XDG_RUNTIME_DIR", str(short / "missing"))
    assert one.runtime.parent == Path("/tmp/azpg-1234")
    bare_environment.setenv("XDG_RUNTIME_DIR", str(short))
    assert one.runtime.parent == short / "azpg"
    bare_environment.chdir(short.parent)
    bare_environment.setenv("XDG_RUNTIME_DIR", short.name)  # not absolute
    assert one.runtime.parent == Path("/tmp/azpg-1234")
    become(bare_environment, 0)
    bare_environment.setenv("XDG_RUNTIME_DIR", str(short))
    assert one.runtime.parent == Path("/run/azpg")


def test_each_instance_of_each_home_has_its_own_runtime_folder(tmp_path: Path) -> None:
    folders = {Home(tmp_path / home).instance(name).runtime for home in ("a", "b") for name in ("one", "two")}
    assert len(folders) == 4
    assert all(len(folder.name) == 10 for folder in folders)


def test_a_home_reached_by_a_link_has_the_same_sockets(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    real, link = (Home(tmp_path / name).instance("one") for name in ("real", "link"))
    assert real.runtime == link.runtime
    assert real.host_socket == real.runtime / "host.sock"
    assert real.postgres_sockets == real.runtime / "pg"


def test_the_runtime_folder_is_ones_own(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    monkeypatch.setattr(module, "_runtime_root", lambda: short / "azpg")
    one = Home(Path("/h")).instance("one")
    before = os.umask(0)
    try:
        one.create_runtime()
    finally:
        os.umask(before)
    mode = 0o711 if os.geteuid() == 0 else 0o700
    for folder in (one.runtime, one.runtime.parent):
        folder.chmod(0o777)
    one.create_runtime()
    for folder in (one.runtime, one.runtime.parent):
        assert folder.stat().st_mode & 0o777 == mode
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(str(one.host_socket))


def test_a_runtime_folder_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    root = short / "azpg"
    root.mkdir()
    monkeypatch.setattr(module, "_runtime_root", lambda: root)
    become(monkeypatch, os.geteuid() + 1)
    with pytest.raises(InstanceError) as caught:
        Home(Path("/h")).instance("one").create_runtime()
    assert caught.value.message == f"{root} belongs to somebody else."
    assert caught.value.hint is not None  # one that can be followed: what is another's cannot be removed
    assert caught.value.hint.startswith("Set XDG_RUNTIME_DIR to a folder of your own")
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("which", ["root", "own"])
def test_a_link_in_place_of_the_runtime_folder_is_refused(
    monkeypatch: pytest.MonkeyPatch, short: Path, which: str
) -> None:
    """Else another user could have us make our sockets wherever they like."""
    root, elsewhere = short / "azpg", short / "elsewhere"
    monkeypatch.setattr(module, "_runtime_root", lambda: root)
    one = Home(Path("/h")).instance("one")
    elsewhere.mkdir(mode=0o755)
    link = root if which == "root" else one.runtime
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(InstanceError, match="belongs to somebody else"):
        one.create_runtime()
    assert elsewhere.stat().st_mode & 0o777 == 0o755


def test_a_socket_path_that_would_be_too_long(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    tail = len("/0123456789/pg/.s.PGSQL.65535")
    fits = short / ("x" * (107 - tail - len(os.fsencode(short)) - 1))
    monkeypatch.setattr(module, "_runtime_root", lambda: fits)
    one = Home(Path("/h")).instance("one")
    one.create_runtime()
    one.postgres_sockets.mkdir()
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(str(one.postgres_sockets / ".s.PGSQL.65535"))
    monkeypatch.setattr(module, "_runtime_root", lambda: fits.with_name(fits.name + "x"))
    with pytest.raises(InstanceError) as caught:
        one.create_runtime()
    assert caught.value.message == f"the socket path {one.postgres_sockets}/.s.PGSQL.65535 is over 107 bytes."
    assert caught.value.hint == "Set XDG_RUNTIME_DIR to a shorter folder."


def test_bytes_count_not_characters(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    monkeypatch.setattr(module, "_runtime_root", lambda: short / ("é" * 40))
    with pytest.raises(InstanceError, match="is over 107 bytes"):
        Home(Path("/h")).instance("one").create_runtime()
