"""What a server's users leave in their folders neither hangs nor leads astray what root does there."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from azpg_runtime.errors import AzpgError, InvalidSetting, ModelInvalid, ModelUnreadable
from azpg_runtime.files import read_plainly, write_atomically
from azpg_runtime.home import Home
from azpg_runtime.host.deployments import Deployments
from azpg_runtime.host.pruning import prune
from azpg_runtime.host.settings import HostSettings
from azpg_runtime.models import ModelStore, Registry
from azpg_runtime.postgres.account import own_account
from azpg_runtime.postgres.cluster import Cluster
from azpg_runtime.postgres.installation import Installation
from azpg_runtime.supervision.control import Supervised
from azpg_runtime.supervision.service import started
from azpg_runtime.system.privileges import as_owner_of
from tests import command_line
from tests.conftest import new_home, remove_home
from tests.unit import tiny

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_text('{"version": "the secret"}')
    path.symlink_to(secret)


def endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def listener(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{folder}/{path.name}")  # a socket's address is 107 bytes at most
    finally:
        os.close(folder)


def folder(path: Path) -> None:
    path.mkdir()


def deep(path: Path) -> None:
    path.write_text("[" * 1_000_000)


traps = pytest.mark.parametrize("make", [pipe, link, endless, listener, folder, deep])


def no_model(uri: str, name: str) -> object:
    raise AssertionError((uri, name))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    made.instance("one").host.mkdir(parents=True)
    return made


@traps
def test_the_command_that_prunes_says_what_it_is(home: Home, make: Callable[[Path], None]) -> None:
    registry = home.instance("one").registry
    make(registry)
    refused = command_line.run("models", "prune", "--yes", status=1, AZPG_HOME=str(home.root)).stderr
    assert "what the server 'one' needs cannot be told" in refused
    assert str(registry) in refused
    assert "Nothing has been deleted" in refused
    assert "secret" not in refused
    assert len(refused) < 1000


@traps
def test_a_postmaster_that_cannot_be_told_runs_not(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "postmaster.pid")
    cluster = Cluster(tmp_path, Installation(18, *[tmp_path] * 4), own_account())
    assert cluster.postmaster() is None


def test_a_log_that_a_service_has_filled(home: Home) -> None:
    """No more of it is read than somebody could want to."""
    one = home.instance("one")
    control = Supervised("model host", word="host", lock=one.host / "lock", log=one.host_log)
    endless(one.host_log)
    assert control.reason() == ""
    with one.host_log.open("ab") as log:
        log.write(f"\n{started('model host')}\nhost: it is full\n".encode())
    assert control.reason() == "it is full"


@traps
def test_a_host_that_stays_root_refuses_it(home: Home, make: Callable[[Path], None]) -> None:
    host = home.instance("one").host
    for name in ("registry", "settings", "deployments"):
        make(host / name)
        (host / "secret").unlink(missing_ok=True)
    with pytest.raises((ModelUnreadable, ModelInvalid)) as caught:
        Registry(host / "registry")
    messages = [str(caught.value)]
    with pytest.raises(InvalidSetting) as refused:
        HostSettings.load(host / "settings")
    messages.append(str(refused.value))
    with pytest.raises(AzpgError) as damaged:
        Deployments(host / "deployments", None, None, no_model)  # type: ignore[arg-type]
    messages.append(str(damaged.value))
    assert not any("secret" in one for one in messages)


def test_what_is_read_plainly(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "12345")
    assert read_plainly(path, limit=5) == b"12345"
    with pytest.raises(OSError, match="it is over 4 bytes"):
        read_plainly(path, limit=4)
    with pytest.raises(FileNotFoundError):
        read_plainly(tmp_path / "missing")


def old(store: ModelStore, source: Path, seed: int = 1) -> Path:
    model = store.import_folder(tiny.write(source, tiny.files(seed=seed)))
    os.utime(model.folder, (0, 0))
    return model.folder


@pytest.fixture
def site() -> Iterator[Home]:
    """A home whose folders other users can reach, with a model store of its own."""
    made = new_home()
    made.models.unlink()
    one = made.instance("one")
    one.host.mkdir(parents=True)
    for path in (made.root / "instances", one.root, one.host):
        path.chmod(0o711)
    yield made
    remove_home(made)


def give(root: Path) -> None:
    """Gives a link, or a folder and all that is in it, to somebody else."""
    for path in (root, *([] if root.is_symlink() else root.rglob("*"))):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@as_root
@pytest.mark.parametrize("part", ["store", "store/content"])
def test_a_store_that_leads_to_another_deletes_nothing_there(site: Home, tmp_path: Path, part: str) -> None:
    """A server whose model host was taken over; it has registered nothing, the others have."""
    shared = old(ModelStore(site.models), tmp_path / "source")
    Registry(site.instance("other").registry).register("mine:v1", shared.name)
    own = site.instance("one").host
    (own / part).parent.mkdir(exist_ok=True)
    (own / part).symlink_to(site.models if part == "store" else site.models / "content")
    give(own / "store")
    refused = command_line.run("models", "prune", "--yes", status=1, AZPG_HOME=str(site.root)).stderr
    assert f"could not write in the model store {own / 'store'}: Permission denied" in refused
    assert shared.is_dir()


@as_root
def test_root_prunes_a_servers_own_store_as_its_owner(site: Home, tmp_path: Path) -> None:
    store = ModelStore(site.instance("one").own_store)
    garbage = old(store, tmp_path / "source")
    trap = garbage.with_name("0" * 64)
    trap.symlink_to(site.models)
    os.utime(trap, (0, 0), follow_symlinks=False)
    give(store.root)
    kept = old(ModelStore(site.models), tmp_path / "other", 2)
    Registry(site.instance("other").registry).register("mine:v1", kept.name)
    assert set(prune(site)) == {garbage.name}
    assert kept.is_dir()


@as_root
@traps
def test_a_name_that_a_host_made_in_its_own_store(site: Home, make: Callable[[Path], None]) -> None:
    store = site.instance("one").own_store
    (store / "content").mkdir(parents=True)
    (store / "names").mkdir()
    make(store / "names" / "mine.json")
    give(store)
    refused = command_line.run("models", "prune", "--yes", status=1, AZPG_HOME=str(site.root)).stderr
    assert "mine.json" in refused
    assert "secret" not in refused


@as_root
def test_the_rights_of_root_are_back_whatever_happens(site: Home) -> None:
    give(site.instance("one").host)
    before = os.getgroups()
    with suppress(LookupError), as_owner_of(site.instance("one").host):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (NOBODY, NOBODY, [])
        raise LookupError
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, 0, before)
