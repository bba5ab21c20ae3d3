"""Cognitive Services by the unmodified SDK: accounts, keys, deployments, and what is left of a deleted account."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.cognitiveservices import models as ai

from tests.integration.azure import Azure

GROUP = "accounts"
EMBEDDING = ("text-embedding-3-small", "1")


def account(**own: Any) -> ai.Account:
    properties = ai.AccountProperties(**own)
    return ai.Account(location="eastus", kind="OpenAI", sku=ai.Sku(name="S0"), properties=properties)


def deployment(
    model: tuple[str, str] = EMBEDDING, *, capacity: int = 10, sku: str = "Standard"
) -> ai.Deployment:
    named = ai.DeploymentModel(format="OpenAI", name=model[0], version=model[1])
    return ai.Deployment(
        sku=ai.Sku(name=sku, capacity=capacity), properties=ai.DeploymentProperties(model=named)
    )


@pytest.fixture
def name(azure: Azure, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for an account, of which nothing is left afterwards."""
    azure.group(GROUP)
    name = f"ai-{abs(hash(request.node.name)) % 10**9}"
    yield name
    azure.cognitive.accounts.begin_delete(GROUP, name).result()
    azure.cognitive.deleted_accounts.begin_purge("eastus", GROUP, name).result()


def test_the_life_of_an_account(azure: Azure, name: str) -> None:
    accounts = azure.cognitive.accounts
    model = account(custom_sub_domain_name=name)
    model.identity = ai.Identity(type="SystemAssigned")
    made = accounts.begin_create(GROUP, name, model).result()
    assert (made.name, made.kind, made.location) == (name, "OpenAI", "eastus")
    assert made.properties.provisioning_state == "Succeeded"
    assert made.properties.endpoint == f"https://{name}.openai.azure.com/"
    assert made.properties.disable_local_auth is False
    assert made.identity.principal_id
    assert accounts.get(GROUP, name).etag == made.etag
    changed = accounts.begin_update(GROUP, name, ai.Account(tags={"a": "b"})).result()
    assert (changed.tags, changed.properties.endpoint) == ({"a": "b"}, made.properties.endpoint)
    assert changed.etag != made.etag
    assert name in {one.name for one in accounts.list_by_resource_group(GROUP)}
    assert name in {one.name for one in accounts.list()}
    assert {one.name for one in accounts.list_models(GROUP, name)} >= {EMBEDDING[0]}
    assert [one.sku.name for one in accounts.list_skus(GROUP, name).value] == ["S0"]


def test_how_its_creation_is_answered(azure: Azure, name: str) -> None:
    path = f"/resourceGroups/{GROUP}/providers/Microsoft.CognitiveServices/accounts/{name}"
    body = {"location": "eastus", "kind": "AIServices", "sku": {"name": "S0"}, "properties": {}}
    reply = azure.raw("PUT", path, body)
    assert (reply.status, reply.body["properties"]["provisioningState"]) == (201, "Creating")
    assert "azure-asyncoperation" in reply.headers
    azure.cognitive.accounts.begin_create(GROUP, f"{name}x", account()).result()
    azure.cognitive.accounts.begin_delete(GROUP, f"{name}x").result()
    azure.cognitive.deleted_accounts.begin_purge("eastus", GROUP, f"{name}x").result()


def test_keys(azure: Azure, name: str) -> None:
    accounts = azure.cognitive.accounts
    accounts.begin_create(GROUP, name, account()).result()
    keys = accounts.list_keys(GROUP, name)
    assert len({keys.key1, keys.key2}) == 2
    assert accounts.list_keys(GROUP, name) == keys
    changed = accounts.regenerate_key(GROUP, name, "Key1")
    assert (changed.key1 != keys.key1, changed.key2) == (True, keys.key2)
    assert keys.key2 not in str(azure.cognitive.accounts.get(GROUP, name).as_dict())
    with pytest.raises(HttpResponseError, match="is neither Key1 nor Key2"):
        accounts.regenerate_key(GROUP, name, "Key3")
    accounts.begin_update(
        GROUP, name, ai.Account(properties=ai.AccountProperties(disable_local_auth=True))
    ).result()
    with pytest.raises(HttpResponseError, match="disableLocalAuth is set to be true") as caught:
        accounts.list_keys(GROUP, name)
    assert caught.value.status_code == 400


def test_a_deleted_account_keeps_its_name(azure: Azure, name: str) -> None:
    accounts, deleted = azure.cognitive.accounts, azure.cognitive.deleted_accounts
    accounts.begin_create(GROUP, name, account(custom_sub_domain_name=name)).result()
    azure.cognitive.deployments.begin_create_or_update(GROUP, name, "embed", deployment()).result()
    keys = accounts.list_keys(GROUP, name)
    accounts.begin_delete(GROUP, name).result()
    with pytest.raises(ResourceNotFoundError):
        accounts.get(GROUP, name)
    assert name in {one.name for one in deleted.list()}
    assert deleted.get("eastus", GROUP, name).properties.deletion_date
    with pytest.raises(ResourceExistsError) as caught:
        accounts.begin_create(GROUP, name, account())
    assert caught.value.error.code == "FlagMustBeSetForRestore"
    with pytest.raises(ResourceExistsError, match="CustomDomainInUse"):
        accounts.begin_create(GROUP, f"{name}-2", account(custom_sub_domain_name=name))
    back = accounts.begin_create(GROUP, name, account(custom_sub_domain_name=name, restore=True)).result()
    assert back.properties.provisioning_state == "Succeeded"
    assert accounts.list_keys(GROUP, name) == keys
    assert [one.name for one in azure.cognitive.deployments.list(GROUP, name)] == ["embed"]
    assert name not in {one.name for one in deleted.list()}
    accounts.begin_delete(GROUP, name).result()
    deleted.begin_purge("eastus", GROUP, name).result()
    accounts.begin_create(GROUP, name, account()).result()
    assert list(azure.cognitive.deployments.list(GROUP, name)) == []


def test_the_life_of_a_deployment(azure: Azure, name: str) -> None:
    azure.cognitive.accounts.begin_create(GROUP, name, account()).result()
    deployments = azure.cognitive.deployments
    made = deployments.begin_create_or_update(GROUP, name, "embed", deployment()).result()
    assert (made.properties.model.name, made.properties.model.version) == EMBEDDING
    assert (made.sku.name, made.sku.capacity) == ("Standard", 10)
    assert made.properties.provisioning_state == "Succeeded"
    changed = deployments.begin_create_or_update(GROUP, name, "embed", deployment(capacity=20)).result()
    assert changed.sku.capacity == 20
    patch = ai.PatchResourceTagsAndSku(sku=ai.Sku(name="Standard", capacity=30))
    assert deployments.begin_update(GROUP, name, "embed", patch).result().sku.capacity == 30
    deployments.begin_delete(GROUP, name, "embed").result()
    assert list(deployments.list(GROUP, name)) == []


def test_deployments_follow_each_other(azure: Azure, name: str) -> None:
    azure.cognitive.accounts.begin_create(GROUP, name, account()).result()
    azure.twin.files.faults.write_text(
        '{"seed": 0, "rules": [{"kind": "slow", "path": "*/embed", "delay": 1}]}'
    )
    try:
        first = azure.cognitive.deployments.begin_create_or_update(
            GROUP, name, "embed", deployment(), polling_interval=0
        )
        with pytest.raises(ResourceExistsError) as caught:
            azure.cognitive.deployments.begin_create_or_update(GROUP, name, "chat", deployment())
        assert caught.value.error.code == "RequestConflict"
        assert "Retry-After" not in caught.value.response.headers
        first.result()
    finally:
        azure.twin.files.faults.unlink()
    azure.cognitive.deployments.begin_create_or_update(GROUP, name, "chat", deployment()).result()


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        (
            deployment(("gpt-1", "1")),
            "DeploymentModelNotSupported",
            "The local ARM twin has text-embedding-3-small 1",
        ),
        (deployment(sku="Gold"), "InvalidResourceProperties", "'Gold' is none of Standard, GlobalStandard"),
        (deployment(capacity=0), "InvalidResourceProperties", "The capacity 0 is not from 1 to 1000"),
        ({"properties": {"modell": {}}}, "InvalidRequestContent", "did you mean 'model'?"),
    ],
)
def test_deployments_that_none_is(azure: Azure, name: str, wrong: Any, code: str, said: str) -> None:
    azure.cognitive.accounts.begin_create(GROUP, name, account()).result()
    with pytest.raises(HttpResponseError) as caught:
        azure.cognitive.deployments.begin_create_or_update(
            GROUP,
            name,
            "wrong",
            wrong if isinstance(wrong, ai.Deployment) else __import__("json").dumps(wrong).encode(),
        )
    assert caught.value.error.code == code
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"location": None}, "LocationRequired", "location property is required"),
        ({"kind": "Magic"}, "InvalidApiSetId", "The local ARM twin has OpenAI, AIServices"),
        ({"sku": {"name": "S9"}}, "InvalidSkuId", "There is S0."),
        (
            {"properties": {"customSubDomainName": "a b"}},
            "InvalidCustomSubDomainName",
            "letters, digits and hyphens",
        ),
        (
            {"properties": {"endpont": "x"}},
            "InvalidRequestContent",
            "could not find member 'properties.endpont'",
        ),
    ],
)
def test_accounts_that_none_is(azure: Azure, changes: dict[str, Any], code: str, said: str) -> None:
    azure.group(GROUP)
    body = {"location": "eastus", "kind": "OpenAI", "sku": {"name": "S0"}, "properties": {}} | changes
    reply = azure.raw(
        "PUT", f"/resourceGroups/{GROUP}/providers/Microsoft.CognitiveServices/accounts/wrong", body
    )
    assert (reply.status, reply.body["error"]["code"]) == (400, code)
    assert said in reply.body["error"]["message"]


def test_what_an_account_cannot_become(azure: Azure, name: str) -> None:
    azure.cognitive.accounts.begin_create(GROUP, name, account(custom_sub_domain_name=name)).result()
    with pytest.raises(HttpResponseError, match=f"The custom subdomain name '{name}' cannot change"):
        azure.cognitive.accounts.begin_create(GROUP, name, account(custom_sub_domain_name="other"))
    model = account(custom_sub_domain_name=name)
    model.kind = "AIServices"
    with pytest.raises(HttpResponseError, match="The account is of kind OpenAI"):
        azure.cognitive.accounts.begin_create(GROUP, name, model)


def test_what_is_asked_of_the_region(azure: Azure, name: str) -> None:
    found = list(azure.cognitive.models.list("eastus"))
    assert {(one.model.name, one.model.version) for one in found} >= {EMBEDDING}
    parameters = (name, "Microsoft.CognitiveServices/accounts")
    assert azure.cognitive.check_domain_availability(*parameters).is_subdomain_available
    azure.cognitive.accounts.begin_create(GROUP, name, account(custom_sub_domain_name=name)).result()
    assert not azure.cognitive.check_domain_availability(*parameters).is_subdomain_available
