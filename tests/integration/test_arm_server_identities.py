"""User-assigned identities are given to a server, and taken off it, in every way that Azure has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.cognitiveservices import models as ai
from azure.mgmt.postgresqlflexibleservers import models as pg

from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.pulumi.values import to_python
from tests.integration.azure import Azure, server_model
from tests.integration.test_pulumi_provider import Engine

GROUP, NAME = "identified", "identified-server"
SERVER = "azure-native:dbforpostgresql:Server"


@dataclass(frozen=True)
class Who:
    """Three user-assigned identities, by their ids."""

    first: str
    second: str
    third: str


@pytest.fixture(scope="module")
def who(azure: Azure) -> Who:
    group = azure.group(GROUP)
    ids = [f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{n}" for n in ("a", "b", "c")]
    for id_ in ids:
        azure.put(id_, {"location": "eastus"}, "2023-01-31")
    azure.postgres.servers.begin_create_or_update(GROUP, NAME, server_model()).result()
    return Who(*ids)


@pytest.fixture(autouse=True)
def bare(azure: Azure, who: Who) -> Iterator[None]:
    """Each test finds the server without any identity, and leaves it so."""
    yield
    assert patch(azure, "None") == set()


def put(azure: Azure, type_: str, *assigned: str, **properties: Any) -> set[str]:
    """Writes the server whole, as Pulumi and templates do; returns the identities that it has then."""
    model = server_model(**properties)
    model.identity = pg.UserAssignedIdentity(
        type=type_, user_assigned_identities={id_: pg.UserIdentity() for id_ in assigned}
    )
    azure.postgres.servers.begin_create_or_update(GROUP, NAME, model).result()
    return assigned_to(azure)


def patch(azure: Azure, type_: str, **assigned: Any) -> set[str]:
    """Changes the server, as the az command line does; `assigned` is the set, in `ids`."""
    identity = pg.UserAssignedIdentity(type=type_, user_assigned_identities=assigned.get("ids"))
    model = pg.ServerForPatch(identity=identity)
    azure.postgres.servers.begin_update(GROUP, NAME, model).result()
    return assigned_to(azure)


def assigned_to(azure: Azure) -> set[str]:
    identity = azure.postgres.servers.get(GROUP, NAME).identity
    return set((identity and identity.user_assigned_identities) or {})


def test_a_put_replaces_them(azure: Azure, who: Who) -> None:
    assert put(azure, "UserAssigned", who.first) == {who.first}
    assert put(azure, "UserAssigned", who.second) == {who.second}
    assert put(azure, "SystemAssigned,UserAssigned", who.second, who.third) == {who.second, who.third}
    found = azure.postgres.servers.get(GROUP, NAME).identity
    own = Identities(azure.twin.files.identity).find(who.third)
    assert found.user_assigned_identities[who.third].principal_id == own.object_id
    assert found.principal_id
    assert put(azure, "SystemAssigned") == set()


def test_a_put_that_names_none_leaves_them(azure: Azure, who: Who) -> None:
    put(azure, "UserAssigned", who.first)
    azure.postgres.servers.begin_create_or_update(GROUP, NAME, server_model()).result()
    assert assigned_to(azure) == {who.first}


def test_a_patch_adds_and_null_removes(azure: Azure, who: Who) -> None:
    """`az postgres flexible-server identity assign` and `identity remove`."""
    assert patch(azure, "UserAssigned", ids={who.first: {}}) == {who.first}
    assert patch(azure, "UserAssigned", ids={who.second: {}}) == {who.first, who.second}
    assert patch(azure, "UserAssigned", ids={who.first: None}) == {who.second}
    assert patch(azure, "UserAssigned", ids={who.second.upper(): None, who.third: {}}) == {who.third}
    assert patch(azure, "UserAssigned", ids={who.first: None}) == {who.third}, "which it has not"


def test_ids_are_the_same_in_any_case(azure: Azure, who: Who) -> None:
    patch(azure, "UserAssigned", ids={who.first: {}})
    assert patch(azure, "UserAssigned", ids={who.first.upper(): {}}) == {who.first}


@pytest.mark.parametrize("type_", ["None", "SystemAssigned"])
def test_a_type_without_user_assigned_takes_them_all(azure: Azure, who: Who, type_: str) -> None:
    """How the az command line removes the last one."""
    patch(azure, "UserAssigned", ids={who.first: {}, who.second: {}})
    assert patch(azure, type_) == set()
    assert patch(azure, "UserAssigned", ids={who.third: {}}) == {who.third}, "the others are not back"


def test_the_type_cannot_stay_without_any(azure: Azure, who: Who) -> None:
    patch(azure, "UserAssigned", ids={who.first: {}})
    with pytest.raises(HttpResponseError, match="must not be null or empty for 'UserAssigned'") as caught:
        patch(azure, "UserAssigned", ids={who.first: None})
    assert caught.value.error.code == "MissingIdentityIds"
    assert assigned_to(azure) == {who.first}


def test_another_identity_for_the_key(azure: Azure, who: Who) -> None:
    def encryption(id_: str) -> pg.DataEncryption:
        return pg.DataEncryption(
            type="AzureKeyVault",
            primary_key_uri="https://v.vault.azure.net/keys/k/1",
            primary_user_assigned_identity_id=id_,
        )

    put(azure, "UserAssigned", who.first, data_encryption=encryption(who.first))
    assert put(azure, "UserAssigned", who.second, data_encryption=encryption(who.second)) == {who.second}
    own = azure.postgres.servers.get(GROUP, NAME).properties.data_encryption
    assert own.primary_user_assigned_identity_id == who.second


def test_the_provider_of_pulumi(azure: Azure, who: Who, tmp_path: Path) -> None:
    """What it wants is what there is, so that a refresh finds nothing to do; what others add, it sees."""
    engine = Engine(azure, tmp_path / "journal")
    try:
        id_ = str(azure.postgres.servers.get(GROUP, NAME).id)

        def inputs(*assigned: str) -> dict[str, Any]:
            return {
                "resourceGroupName": GROUP,
                "serverName": NAME,
                "location": "eastus",
                "sku": {"name": "Standard_E4ds_v5", "tier": "MemoryOptimized"},
                "identity": {"type": "UserAssigned", "userAssignedIdentities": {one: {} for one in assigned}},
            }

        before = inputs(who.first)
        for wanted in (before, inputs(who.second)):
            engine.update(SERVER, "server", id_, before, wanted)
            read = to_python(engine.read(SERVER, "server", id_, **wanted).inputs)
            assert read["identity"] == wanted["identity"]
        assert assigned_to(azure) == {who.second}
        patch(azure, "UserAssigned", ids={who.third: {}})
        read = to_python(engine.read(SERVER, "server", id_, **wanted).inputs)
        assert set(read["identity"]["userAssignedIdentities"]) == {who.second, who.third}
        engine.update(SERVER, "server", id_, read, wanted)
        assert assigned_to(azure) == {who.second}
    finally:
        assert engine.end() == 0


def test_an_account_too(azure: Azure, who: Who) -> None:
    accounts = azure.cognitive.accounts

    def identity(**assigned: Any) -> ai.Identity:
        return ai.Identity(type="UserAssigned", user_assigned_identities=assigned["ids"])

    model = ai.Account(location="eastus", kind="OpenAI", sku=ai.Sku(name="S0"), properties={})
    for id_ in (who.first, who.second):
        model.identity = identity(ids={id_: {}})
        made = accounts.begin_create(GROUP, "identified", model).result()
        assert set(made.identity.user_assigned_identities) == {id_}, "PUT replaces"
    changes = ai.Account(identity=identity(ids={who.third: {}}))
    changed = accounts.begin_update(GROUP, "identified", changes).result()
    assert set(changed.identity.user_assigned_identities) == {who.second, who.third}
    changes = ai.Account(identity=identity(ids={who.second: None}))
    changed = accounts.begin_update(GROUP, "identified", changes).result()
    assert set(changed.identity.user_assigned_identities) == {who.third}
