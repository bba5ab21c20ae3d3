"""Which models are deleted that no server needs: in the store of all, and in each server's own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from azpg_runtime.errors import ModelUnreadable
from azpg_runtime.home import Home
from azpg_runtime.host.pruning import prune
from azpg_runtime.models import ModelStore, Registry, StoredModel
from tests import command_line

from . import tiny


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


def imported(store: ModelStore, source: Path, seed: int) -> StoredModel:
    """Content without a name, imported long ago."""
    model = store.import_folder(tiny.write(source / str(seed), tiny.files(seed=seed)))
    os.utime(model.folder, (0, 0))
    return model


def bind(home: Home, name: str, model: StoredModel, uri: str = "mine:v1") -> None:
    Registry(home.instance(name).registry).register(uri, model.digest)


def own_store(home: Home, name: str) -> ModelStore:
    home.instance(name).host.mkdir(parents=True, exist_ok=True)
    return ModelStore(home.instance(name).own_store)


def test_a_home_without_models_or_servers(home: Home) -> None:
    assert prune(home) == {}
    assert not home.models.exists()


def test_what_any_server_ever_registered_stays(home: Home, source: Path) -> None:
    store = ModelStore(home.models)
    first, second, gone = (imported(store, source, seed) for seed in (1, 2, 3))
    bind(home, "one", first)
    bind(home, "other", second)
    Registry(home.instance("other").registry).unregister("mine:v1")
    named = store.add("named", tiny.write(source / "named", tiny.files(seed=4)))
    os.utime(named.folder, (0, 0))
    assert set(prune(home)) == {gone.digest}
    assert {entry.name for entry in (home.models / "content").iterdir()} == {
        one.digest for one in (first, second, named)
    }
    assert prune(home) == {}


def test_it_says_how_much_is_free_now(home: Home, source: Path) -> None:
    gone = imported(ModelStore(home.models), source, 1)
    size = sum(file.stat().st_size for file in gone.folder.iterdir())
    assert prune(home) == {gone.digest: size}


def test_a_servers_own_store_keeps_what_that_server_registered(home: Home, source: Path) -> None:
    mine, theirs = own_store(home, "one"), own_store(home, "other")
    kept, garbage = imported(mine, source, 1), imported(mine, source, 2)
    bind(home, "one", kept)
    bind(home, "other", garbage)  # of which that one has a copy in its own
    copy = imported(theirs, source, 2)
    unfinished = mine.root / "content" / ".new-abc"
    unfinished.mkdir()
    os.utime(unfinished, (0, 0))
    assert set(prune(home)) == {garbage.digest}
    assert mine.by_digest(kept.digest)
    assert theirs.by_digest(copy.digest)
    assert [entry.name for entry in (mine.root / "content").iterdir()] == [kept.digest]


def test_what_is_young_stays(home: Home, source: Path) -> None:
    """Somebody may be about to register it."""
    for store in (ModelStore(home.models), own_store(home, "one")):
        store.import_folder(tiny.write(source / "young"))
    assert prune(home) == {}


@pytest.mark.parametrize("content", ["{", '{"version": 2}', "[]"])
def test_nothing_goes_while_it_is_not_known_what_a_server_needs(
    home: Home, source: Path, content: str
) -> None:
    model = imported(ModelStore(home.models), source, 1)
    own = imported(own_store(home, "fine"), source, 1)
    registry = home.instance("damaged").registry
    registry.parent.mkdir(parents=True)
    registry.write_text(content)
    with pytest.raises(ModelUnreadable, match="what the server 'damaged' needs cannot be told") as caught:
        prune(home)
    assert "damaged" in caught.value.detail
    assert caught.value.hint.startswith("Nothing has been deleted.")
    assert model.folder.is_dir()
    assert own.folder.is_dir()


def test_what_is_left_of_a_deleted_server_counts_for_nothing(home: Home, source: Path) -> None:
    model = imported(ModelStore(home.models), source, 1)
    bind(home, "one", model)
    instances = home.root / "instances"
    (instances / "one").rename(instances / ".deleted-one-0123abcd")
    assert set(prune(home)) == {model.digest}


def test_the_command(home: Home, source: Path) -> None:
    gone = imported(ModelStore(home.models), source, 1)
    environment = {"AZPG_HOME": str(home.root)}
    refused = command_line.run("models", "prune", status=2, **environment)
    assert "--yes" in refused.stderr
    done = command_line.machine(
        command_line.run("models", "prune", "--yes", "--json", **environment), "models-pruned"
    )
    assert done["digests"] == [gone.digest]
    assert done["bytes"] > 0
    assert command_line.run("models", "prune", "--yes", **environment).stdout == "Every model is needed\n"
    imported(ModelStore(home.models), source, 1)
    said = command_line.run("models", "prune", "--yes", **environment).stdout
    assert said.startswith("1 model is deleted")
    shutil.rmtree(home.models)
    command_line.run("models", "prune", "--yes", **environment)
