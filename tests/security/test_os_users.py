"""Where root runs azpg, code that runs in one server reaches neither root's files nor another server's."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from azpg.errors import AzpgError
from azpg_runtime.errors import InstanceError
from azpg_runtime.home import Home
from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.account import SHARED_OS_USER, Account, host_os_user, server_account
from azpg_runtime.postgres.instance import Instance, Wishes
from tests import command_line
from tests.conftest import MODEL, URI, new_home, remove_home
from tests.support.moments import at_moment
from tests.support.python import others_run_python

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else"),
    pytest.mark.skipif(
        not others_run_python(), reason=f"no other user may read {sys.base_prefix}, and model hosts stay root"
    ),
]
ALLOWED = ("azure.extensions", "vector,azure_local_ai")


@pytest.fixture(scope="module")
def pair(minilm: StoredModel) -> Iterator[tuple[Instance, Instance]]:
    home = new_home()
    try:
        first, second = (Instance(name, home=home) for name in ("first", "second"))
        for one in (first, second):
            one.up(Wishes(durable=False))
        yield first, second
    finally:
        remove_home(home)


def user_of(pid: int | None) -> str:
    return pwd.getpwuid(psutil.Process(pid).uids().effective).pw_name


def processes(instance: Instance) -> dict[str, str]:
    """The users of what an instance consists of, but for the supervisors, which only start things."""
    status = instance.status()
    (front,) = (
        one.pid
        for one in psutil.process_iter(["cmdline"])
        if {"azpg_runtime.postgres.front", str(instance.home.access)} <= set(one.info["cmdline"] or ())
        and "azpg_runtime.supervision.supervisor" not in one.info["cmdline"]
    )
    return {
        "postgres": user_of(status.postgres_pid),
        "host": user_of(status.host_pid),
        "front": user_of(front),
    }


def run_as(user: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
    account = server_account(user)
    return subprocess.run(
        [str(part) for part in command],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        **account.run_options(),
    )


def test_each_server_has_users_of_its_own(pair: tuple[Instance, Instance]) -> None:
    first, second = (processes(one) for one in pair)
    assert first["postgres"] == first["front"] == pair[0].home.os_user
    assert first["host"] == f"{first['postgres']}-m"
    assert not set(first.values()) & set(second.values())
    assert "root" not in {*first.values(), *second.values()}
    assert [one.status().host_as_root for one in pair] == ["", ""]


def test_a_servers_user_reaches_no_other_servers_data(pair: tuple[Instance, Instance]) -> None:
    first, second = pair
    for user in processes(first).values():
        for secret in ("data/PG_VERSION", "host/registry.json", "passfile", "models", "postgres.log"):
            done = run_as(user, "head", "-c", "1", second.home.root / secret)
            assert done.returncode != 0, (user, secret)
            assert "Permission denied" in done.stderr, done
        assert run_as(user, "ls", second.home.host).returncode != 0


def test_no_servers_user_becomes_the_superuser(pair: tuple[Instance, Instance]) -> None:
    """Not even on its own server; nor does the model host reach its server's data."""
    first, _ = pair
    own = processes(first)
    for user in own.values():
        for instance in pair:
            done = run_as(
                user,
                *(instance.program("psql"), "-h", instance.home.postgres_sockets),
                *("-p", str(instance.description.port), "-U", "azuresu", "-d", "postgres", "-c", "SELECT 1"),
            )
            assert "peer authentication failed" in done.stderr.lower(), done
    assert run_as(own["host"], "head", "-c", "1", first.home.data / "PG_VERSION").returncode != 0


def test_a_model_host_cannot_change_what_others_read(pair: tuple[Instance, Instance]) -> None:
    first, _ = pair
    user = processes(first)["host"]
    lock = first.home.host / "supervisor.lock"
    for command in (
        ("touch", first.home.home.models / "names" / "evil.json"),
        ("touch", first.home.home.models / "content" / "evil"),
        ("touch", first.home.root / "evil"),
        ("rm", "-f", lock),
        ("mv", lock, first.home.host / "moved"),
        ("touch", lock),
        ("touch", first.home.models / "evil"),
    ):
        assert run_as(user, *command).returncode != 0, command
    assert run_as(user, "touch", first.home.host / "own").returncode == 0
    (first.home.host / "own").unlink()


def test_it_does_its_work_all_the_same(pair: tuple[Instance, Instance], minilm: StoredModel) -> None:
    """By a name of the store, and by a path, which goes to a store of the instance's own."""
    first, _ = pair
    first.set_parameter(*ALLOWED)
    folder = first.home.models / "mine"
    folder.mkdir()
    for file in minilm.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with first.connect(autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE EXTENSION azure_local_ai")
        connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [URI, MODEL])
        connection.execute("SELECT azure_local_ai.model_register('mine:v1', 'mine/model.onnx')")
        row = connection.execute(
            "SELECT azure_local_ai.create_embeddings(%s, 'a') = azure_local_ai.create_embeddings('mine:v1', 'a')",
            [URI],
        ).fetchone()
    assert row == (True,)
    assert any((first.home.host / "store" / "content").iterdir())


@pytest.mark.parametrize("restart", [False, True], ids=["up", "restart"])
def test_a_server_of_before_gets_its_own_users(home: Home, minilm: StoredModel, restart: bool) -> None:
    """All of root's servers ran as one user, and the model host as root."""
    made = server_account(SHARED_OS_USER, create=True)
    instance = Instance("before", home=home)
    instance.up(Wishes(os_user=SHARED_OS_USER, durable=False))
    instance.set_parameter(*ALLOWED)
    with instance.connect(autocommit=True) as connection:
        connection.execute("CREATE EXTENSION azure_local_ai")
        connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [URI, MODEL])
        connection.execute(
            "CREATE TABLE kept AS SELECT azure_local_ai.create_embeddings(%s, 'a') AS a", [URI]
        )
    assert instance.up() is False, "not while it runs"
    assert instance.description.os_user == made.name
    if not restart:
        instance.down()
    for path in instance.home.host.iterdir():
        os.chown(path, 0, 0)
    instance.home.host.chmod(0o700)
    instance.home.models.chmod(0o700)
    if restart:
        instance.restart()
    else:
        instance.up()
    assert processes(instance) == {
        "postgres": instance.home.os_user,
        "front": instance.home.os_user,
        "host": f"{instance.home.os_user}-m",
    }
    with instance.connect() as connection:
        row = connection.execute(
            "SELECT a = azure_local_ai.create_embeddings(%s, 'a') FROM kept", [URI]
        ).fetchone()
    assert row == (True,)
    owners = {path.lstat().st_uid for path in instance.home.data.rglob("*")}
    assert owners == {server_account(instance.home.os_user).uid}


def test_the_users_go_with_the_instance(home: Home) -> None:
    instance = Instance("going", home=home)
    instance.up(Wishes(durable=False))
    users = set(processes(instance).values())
    instance.down()
    assert users <= {one.pw_name for one in pwd.getpwall()}
    instance.down(delete=True)
    assert not users & {one.pw_name for one in pwd.getpwall()}


def test_a_start_that_fails_before_anything_is_made_leaves_no_user(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one for which the disk has no room: there is no instance with which they could go."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    instance = Instance("never", home=home)
    monkeypatch.setattr("azpg_runtime.postgres.instance.prepare", full)
    with pytest.raises(AzpgError):
        instance.up(Wishes(durable=False))
    assert not instance.home.root.exists()
    assert instance.home.os_user not in {one.pw_name for one in pwd.getpwall()}


def test_what_a_start_leaves_that_was_killed_goes_with_a_tests_home() -> None:
    """It has no description yet, and is no instance to `azpg status`."""
    home = new_home()
    begun = home.instance("begun")
    begun.root.mkdir(parents=True)
    server_account(begun.os_user, create=True)
    server_account(host_os_user(begun.os_user), create=True)
    remove_home(home)
    assert not {begun.os_user, host_os_user(begun.os_user)} & {one.pw_name for one in pwd.getpwall()}


def test_a_user_that_was_made_anew_gets_the_data(home: Home) -> None:
    """As in a container of which only the home outlived the one before."""
    instance = Instance("moved", home=home)
    instance.up(Wishes(durable=False))
    instance.down()
    for path in (instance.home.data, *instance.home.data.rglob("*")):
        os.chown(path, 59_999, 59_999, follow_symlinks=False)
    instance.up()
    with instance.connect() as connection:
        connection.execute("SELECT 1")


def test_a_host_that_could_not_read_its_models_stays_root_and_says_so(home: Home, tmp_path: Path) -> None:
    """As with a Python, or models, below /root: it works, and is told from one that gave root up."""
    (tmp_path / "models").mkdir()
    tmp_path.chmod(0o700)
    home.models.unlink()
    home.models.symlink_to(tmp_path / "models")
    instance = Instance("hidden", home=home)
    said: list[str] = []
    instance.up(Wishes(durable=False), say=said.append)
    assert [
        one for one in said if "The model host runs as root" in one and f"{instance.home.os_user}-m" in one
    ]
    found = processes(instance)
    assert (found["host"], found["postgres"]) == ("root", instance.home.os_user)
    reason = f"{instance.home.os_user}-m cannot read Python or the models"
    assert instance.status().host_as_root == reason
    shown = command_line.run("status", "hidden", AZPG_HOME=str(home.root)).stdout
    assert f"as root: {reason}; see `azpg help servers`" in " ".join(shown.split())
    configuration = instance.home.conf / "postgresql.conf"
    written = configuration.read_text()
    configuration.write_text(written.replace("azpg.model_host_uid", "azpg.other"))  # as before there was one
    reason = f"another azpg started it; `azpg restart` gives it to {instance.home.os_user}-m"
    assert instance.status().host_as_root == reason
    configuration.write_text(written)
    instance.set_parameter(*ALLOWED)
    with instance.connect(autocommit=True) as connection:
        connection.execute("CREATE EXTENSION azure_local_ai")
        assert connection.execute("SELECT azure_local_ai.get_setting() IS NOT NULL").fetchone() == (True,)


OLD, NEW = 59_998, 59_999
"""Users that nobody is."""


class Interrupted(Exception):
    """As by a signal."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of OLD's, with a folder `x` in it that has the same names as one of root's, and a link to that."""
    victim, data = tmp_path / "victim", tmp_path / "data"
    for folder in (victim, data, data / "x", data / "x" / "deep"):
        folder.mkdir()
    for number in range(3):
        (victim / f"{number}").write_text("root's")
        (data / "x" / f"{number}").write_text("OLD's")
    (victim / "deep").mkdir()
    (data / "l").symlink_to(victim)
    for path in (data, *data.rglob("*")):
        os.chown(path, OLD, OLD, follow_symlinks=False)
    os.link(victim / "0", data / "linked")
    return data


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


def moments(data: Path) -> int:
    """How many there are in the giving of `data`, at which something else could happen."""
    copy = data.with_name("copy")
    subprocess.run(["cp", "-a", data, copy], check=True)
    with at_moment(0, lambda: None) as count:
        Account("new", NEW, NEW).own_tree(copy)
    return count[0]


def test_data_are_given_with_all_that_is_in_them(data: Path) -> None:
    Account("new", NEW, NEW).own_tree(data)
    assert owners(data / "x") == {NEW}
    assert [(data / name).lstat().st_uid for name in ("", "l", "linked")] == [NEW, NEW, 0]
    assert owners(data.with_name("victim")) == {0}
    assert not data.with_name("data.owner").exists()


def test_what_the_old_user_swaps_meanwhile_stays_roots(data: Path, tmp_path: Path) -> None:
    """At each moment in turn: a link to root's folder gets the name of one that has just been looked at."""
    link, aside = tmp_path / "link", tmp_path / "aside"

    def swap() -> None:
        (data / "x").rename(aside)
        link.rename(data / "x")

    (data / "linked").unlink()
    for number in range(1, moments(data) + 1):
        link.symlink_to(tmp_path / "victim")
        with at_moment(number, swap):
            Account("new", NEW, NEW).own_tree(data)
        assert owners(tmp_path / "victim") == {0}, number
        (data / "x").unlink()
        aside.rename(data / "x")
        for path in (data, *data.rglob("*")):
            os.chown(path, OLD, OLD, follow_symlinks=False)


def test_data_whose_giving_was_interrupted(data: Path, tmp_path: Path) -> None:
    """At each moment in turn; what is root's in there stays so, though root has the folder itself by then."""

    def interrupt() -> None:
        raise Interrupted

    for number in range(1, moments(data) + 1):
        with at_moment(number, interrupt), suppress(Interrupted):
            Account("new", NEW, NEW).own_tree(data)
        Account("new", NEW, NEW).own_tree(data)
        assert owners(data / "x") == {NEW}, number
        assert [(data / name).lstat().st_uid for name in ("", "l", "linked")] == [NEW, NEW, 0], number
        assert owners(tmp_path / "victim") == {0}, number
        for path in (data, *data.rglob("*")):
            if path.name != "linked":
                os.chown(path, OLD, OLD, follow_symlinks=False)


def test_nobody_else_gets_into_data_that_are_being_given(data: Path) -> None:
    seen = set()
    for number in range(1, moments(data) + 1):

        def look() -> None:
            found = data.stat()
            seen.add((found.st_uid, stat.S_IMODE(found.st_mode)))

        data.chmod(0o755)
        with at_moment(number, look):
            Account("new", NEW, NEW).own_tree(data)
        for path in (data, data / "x"):
            os.chown(path, OLD, OLD)
    assert (0, 0o700) in seen
    assert {mode for uid, mode in seen if uid == NEW} <= {0o700}


def test_folders_of_the_old_users_that_have_no_end(data: Path) -> None:
    deep = data
    for _ in range(70):
        deep /= "d"
        deep.mkdir()
        os.chown(deep, OLD, OLD)
    with pytest.raises(InstanceError, match="are more than 64 deep"):
        Account("new", NEW, NEW).own_tree(data)
