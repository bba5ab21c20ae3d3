"""Allow-listing azure_local_ai deploys multilingual-e5-small, as on Azure: here, from the model store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from azpg_runtime.errors import HostError, InstanceError
from azpg_runtime.home import Home
from azpg_runtime.host.client import HostClient
from azpg_runtime.models import ModelStore
from azpg_runtime.postgres.description import Description
from azpg_runtime.postgres.instance import Instance, Wishes
from azpg_runtime.wait import wait_for
from tests.conftest import new_home, remove_home
from tests.unit import tiny

URI = "multilingual-e5-small:v1"
CALL = f"SELECT azure_local_ai.create_embeddings('{URI}', 'query: x')"


@pytest.fixture
def own_store() -> Iterator[Home]:
    """An AZPG_HOME with an empty model store of its own."""
    home = new_home()
    home.models.unlink()
    yield home
    remove_home(home)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as the hub has it, with a tiny model in place of the real one."""
    return tiny.write(tmp_path / "model")


def prepared(home: Home) -> tuple[Instance, psycopg.Connection[Any]]:
    instance = Instance("deploy", home=home)
    instance.up(Wishes(durable=False))
    instance.set_parameter("azure.extensions", "azure_local_ai")
    connection = instance.connect(autocommit=True)
    connection.execute("CREATE EXTENSION azure_local_ai")
    return instance, connection


def deployment(instance: Instance) -> dict[str, str]:
    (found,) = instance.status().deployments
    assert found["uri"] == URI
    return found


def test_it_is_deployed_in_the_background_when_the_store_has_it(own_store: Home, model: Path) -> None:
    ModelStore(own_store.models).add("multilingual-e5-small", model)
    instance = Instance("deploy", home=own_store)
    instance.up(Wishes(durable=False))
    assert instance.status().deployments == []
    instance.set_parameter("azure.extensions", "azure_local_ai")
    assert wait_for(lambda: deployment(instance)["state"] == "ready", timeout=30)
    with instance.connect(autocommit=True) as connection:
        connection.execute("CREATE EXTENSION azure_local_ai")
        assert connection.execute(CALL).fetchone() is not None
    (registered,) = instance.status().models
    assert (registered["uri"], registered["loaded"]) == (URI, True)


def test_without_it_the_first_call_says_how_to_get_it_and_the_next_finds_it(
    own_store: Home, model: Path
) -> None:
    instance, connection = prepared(own_store)
    assert deployment(instance) == {
        "uri": URI,
        "state": "missing",
        "reason": "the model store lacks it: `azpg models pull multilingual-e5-small`",
    }
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedObject) as caught:
            connection.execute(CALL)
        assert caught.value.diag.message_primary == (
            f'azure_local_ai.create_embeddings: model "{URI}" is not in the model store yet'
        )
        assert caught.value.diag.message_hint == (
            "Fetch it with `azpg models pull multilingual-e5-small`, then repeat the call."
        )
    # MiniLM is never passed off under that URI, and other URIs are simply not registered.
    with pytest.raises(psycopg.errors.UndefinedObject, match="is not registered"):
        connection.execute("SELECT azure_local_ai.create_embeddings('other:v1', 'x')")
    ModelStore(own_store.models).add("multilingual-e5-small", model)
    row = connection.execute(CALL).fetchone()
    assert row is not None
    assert len(row[0]) == tiny.HIDDEN
    assert deployment(instance)["state"] == "ready"
    connection.close()


def test_a_wish_outlives_the_host_and_the_server(own_store: Home, model: Path) -> None:
    instance, connection = prepared(own_store)
    connection.close()
    instance.down()
    ModelStore(own_store.models).add("multilingual-e5-small", model)
    instance.up()
    assert wait_for(lambda: deployment(instance)["state"] == "ready", timeout=30)


def test_a_parameter_set_on_a_stopped_server_deploys_at_the_next_start(own_store: Home, model: Path) -> None:
    ModelStore(own_store.models).add("multilingual-e5-small", model)
    instance = Instance("deploy", home=own_store)
    instance.up(Wishes(durable=False))
    instance.down()
    instance.set_parameter("azure.extensions", "AZURE_LOCAL_AI")
    instance.up()
    assert wait_for(lambda: deployment(instance)["state"] == "ready", timeout=30)


def test_what_somebody_unregistered_is_not_deployed_again(own_store: Home, model: Path) -> None:
    ModelStore(own_store.models).add("multilingual-e5-small", model)
    instance, connection = prepared(own_store)
    connection.execute("SELECT azure_local_ai.model_unregister(%s)", [URI])
    assert deployment(instance)["state"] == "unregistered"
    with pytest.raises(psycopg.errors.UndefinedObject, match="is not registered"):
        connection.execute(CALL)
    connection.execute("SELECT azure_local_ai.model_register(%s, 'multilingual-e5-small')", [URI])
    assert deployment(instance)["state"] == "ready"
    connection.close()


def test_a_deployment_that_fails_says_why_and_is_tried_again(own_store: Home, model: Path) -> None:
    stored = ModelStore(own_store.models).add("multilingual-e5-small", model)
    tokenizer = stored.tokenizer.read_bytes()
    stored.tokenizer.chmod(0o644)
    stored.tokenizer.write_bytes(b"{")
    instance, connection = prepared(own_store)
    assert wait_for(lambda: deployment(instance)["state"] == "failed", timeout=30)
    assert "tokenizer" in deployment(instance)["reason"]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="tokenizer"):
        connection.execute(CALL)
    stored.tokenizer.write_bytes(tokenizer)
    assert connection.execute(CALL).fetchone() is not None
    connection.close()


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2}', '{"version": 1, "wishes": {"a b": "c"}}'])
def test_a_damaged_file_of_wishes_is_named(own_store: Home, content: str) -> None:
    instance = Instance("damaged", home=own_store)
    instance.up(Wishes(durable=False))
    instance.down()
    (instance.home.host / "deployments.json").write_text(content)
    with pytest.raises(HostError, match=r"deployments.json is damaged"):
        instance.up()


def test_the_memory_for_models_is_an_option_of_up(own_store: Home, model: Path) -> None:
    ModelStore(own_store.models).add("multilingual-e5-small", model)
    instance = Instance("small", home=own_store)
    instance.up(Wishes(durable=False))
    instance.down()
    instance.up(Wishes(durable=False, model_memory=1))
    with HostClient(instance.home.host_socket) as client:
        assert client.status()["memory"]["limit"] == 1_000_000
    with pytest.raises(InstanceError, match="-1 MB of memory are not possible"):
        Description("x", "x").changed(Wishes(model_memory=-1)).check()
