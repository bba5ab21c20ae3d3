"""Models are deleted under a server that runs: none that it may still need, and all that it has left over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from azpg_runtime.home import Home
from azpg_runtime.models import ModelStore
from azpg_runtime.postgres.instance import Instance, Wishes
from tests import command_line
from tests.conftest import new_home, remove_home
from tests.unit import tiny


@pytest.fixture
def site() -> Iterator[Home]:
    """An AZPG_HOME with an empty model store of its own."""
    home = new_home()
    home.models.unlink()
    yield home
    remove_home(home)


def contents(home: Home) -> list[Path]:
    """The models in the store of all servers and in their own."""
    stores = [home.models, *(home.instance(name).own_store for name in home.instance_names())]
    return [entry for store in stores if store.exists() for entry in (store / "content").iterdir()]


def test_a_running_server_keeps_its_models_and_loses_what_was_not_registered(site: Home) -> None:
    instance = Instance("busy", home=site)
    instance.up(Wishes(durable=False))
    instance.set_parameter("azure.extensions", "azure_local_ai")
    for seed, name in enumerate(("mine", "other", "former"), 1):
        tiny.write(instance.home.models / name, tiny.files(seed=seed))
    named = ModelStore(site.models).add("named", tiny.write(site.root / "source", tiny.files(seed=4)))
    embed = "SELECT azure_local_ai.create_embeddings(%s, 'the passage')"
    with instance.connect(autocommit=True) as connection:
        connection.execute("CREATE EXTENSION azure_local_ai")
        for uri, path in (("mine:v1", "mine"), ("former:v1", "former"), ("named:v1", "named")):
            connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [uri, path])
        with pytest.raises(psycopg.errors.DuplicateObject, match="already bound to other content"):
            connection.execute("SELECT azure_local_ai.model_register('mine:v1', 'other')")
        connection.execute("SELECT azure_local_ai.model_unregister('former:v1')")
        ModelStore(site.models).remove("named")
        before = connection.execute(embed, ["mine:v1"]).fetchone()
        assert len(contents(site)) == 4
        for entry in contents(site):
            os.utime(entry, (0, 0))
        said = command_line.run("models", "prune", "--yes", AZPG_HOME=str(site.root)).stdout
        assert said.startswith("1 model is deleted")
        assert len(contents(site)) == 3
        assert named.folder.is_dir()
        for uri in ("mine:v1", "named:v1"):
            connection.execute("SELECT azure_local_ai.model_unload(%s)", [uri])
            assert connection.execute(embed, [uri]).fetchone() is not None
        assert connection.execute(embed, ["mine:v1"]).fetchone() == before
        connection.execute("SELECT azure_local_ai.model_register('former:v1', 'former')")
        assert connection.execute(embed, ["former:v1"]).fetchone() is not None
