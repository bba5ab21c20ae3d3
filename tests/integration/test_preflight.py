"""Preflight of servers on Azure: the SDK's own clients on the ARM twin, with a real PostgreSQL behind it."""

from __future__ import annotations

import dataclasses
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from azure.mgmt.cognitiveservices import models as cs
from azure.mgmt.postgresqlflexibleservers import models as pg
from psycopg import sql

from azpg_provision.preflight.ai import _MAY_CALL
from azpg_provision.preflight.check import Check, Status
from azpg_provision.preflight.needs import NO_SPEC, Column, Database, Model, Needs
from azpg_provision.preflight.run import has_failed, run
from azpg_provision.spec.secret import Secret
from azpg_provision.target.azure import AiAccount, AzureTarget, Login
from azpg_provision.target.cloud import Cloud
from azpg_provision.target.dsn import DsnTarget
from azpg_provision.target.endpoint import Endpoint
from azpg_provision.target.local import LocalTarget
from azpg_provision.target.resource import ServerId
from azpg_provision.target.target import Target
from azpg_runtime.arm.faults import Plan, Rule
from azpg_runtime.arm.twin import ArmTwin
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance
from tests.conftest import MODEL, URI, new_home, remove_home
from tests.integration.azure import PASSWORD, Azure, server_model
from tests.integration.entra_server import EntraServer

GROUP, NAME = "entra", "entra-server"
USER = "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


@pytest.fixture
def target(entra: EntraServer) -> Iterator[AzureTarget]:
    found = entra.target()
    yield found
    found.close()


@pytest.fixture
def faults(azure: Azure) -> Iterator[Callable[..., None]]:
    file = azure.twin.files.faults
    yield lambda *rules: Plan(rules).save(file)
    file.unlink(missing_ok=True)


def checks(target: Target, needs: Needs = NO_SPEC) -> dict[str, Check]:
    """All checks by their ids, each of them in words."""
    made = list(run(target, needs))
    found = {one.id: one for one in made}
    assert len(found) == len(made)
    for one in made:
        assert one.reason.endswith("."), one
        assert one.action or one.status is not Status.FAIL, one
        assert "could not be looked at" not in one.reason, one
        assert "eyJ" not in f"{one}"
        assert PASSWORD not in f"{one}"
    return found


def of(found: dict[str, Check], status: Status) -> set[str]:
    return {id_ for id_, one in found.items() if one.status is status}


def vectorized(name: str = "postgres", **options: Any) -> Needs:
    """A spec with one table of vectors."""
    column = Column("public", "products", URI, **options)
    return Needs(
        models=(Model(URI, MODEL),), databases=(Database(name, ("vector", "azure_local_ai"), (column,)),)
    )


def test_a_server_that_has_everything(target: AzureTarget) -> None:
    found = checks(target, vectorized("shop", dimensions=384, indexed=True))
    assert of(found, Status.FAIL) == set()
    assert of(found, Status.UNKNOWN) <= {f"model.{URI}"}, "another test may have registered it"
    assert set(found) == {
        *("server", "region", "sku", "version", "quota", "dns", "tcp", "tls", "login", "rights"),
        *("extension.vector", "extension.azure_local_ai", "database.shop", f"model.{URI}", "disk"),
    }
    assert found["sku"].reason == "Standard_E4ds_v5: MemoryOptimized, 4 vCores."
    assert "vCores of standardEDSv5Family are in use in eastus" in found["quota"].reason
    assert found["login"].reason.endswith("logs in with an Entra token.")
    assert found["database.shop"].reason == "shop does not exist; `azpg apply` makes it."
    assert not has_failed(list(found.values()))


# The server


def test_a_server_that_is_not_there(entra: EntraServer) -> None:
    missing = AzureTarget(entra.cloud(), ServerId(entra.id.subscription, GROUP, "nobody"))
    found = checks(missing)
    missing.close()
    assert of(found, Status.FAIL) == {"server"}
    assert "the server nobody in entra" in found["server"].reason.lower()
    assert found["region"].reason == "It is not known while the server cannot be read (see `server`)."
    assert found["login"].reason == "There is nothing to log in to (see `server`)."


def test_a_stopped_server(azure: Azure, entra: EntraServer) -> None:
    azure.postgres.servers.begin_stop(GROUP, NAME).result()
    try:
        stopped = entra.target()
        found = checks(stopped, vectorized())
        stopped.close()
        local = Instance(NAME, home=Home(entra.azure.twin.files.root.parent))
        as_local = checks(LocalTarget(local))
    finally:
        azure.postgres.servers.begin_start(GROUP, NAME).result()
    assert of(found, Status.FAIL) == {"server", "tcp", "login"}
    assert found["server"].reason == "entra-server is Stopped."
    assert f"az postgres flexible-server start --ids {entra.id}" in found["server"].action
    assert "nothing listens there" in found["tcp"].reason
    assert found["rights"].reason == "It is not known without a login (see `login`)."
    assert of(as_local, Status.FAIL) == {"server", "login"}
    assert as_local["server"].reason == "local entra-server is stopped."
    assert as_local["server"].action == "Start it: `azpg up entra-server`."


def test_one_failing_question_is_not_in_the_way_of_others(
    target: AzureTarget, faults: Callable[..., None]
) -> None:
    faults(Rule("error", path="*/capabilities*"), Rule("throttle", path="*/usages*"))
    found = checks(target)
    assert of(found, Status.UNKNOWN) == {"region", "sku", "version", "quota"}
    assert of(found, Status.FAIL) == set()
    assert "Azure refused" in found["region"].reason
    assert "asking for patience" in found["quota"].reason


def test_what_is_not_answered_is_asked_for_once(
    target: AzureTarget, faults: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    capabilities = target.management.capabilities

    def counted(region: str) -> Any:
        asked.append(region)
        return capabilities(region)

    counted.__name__ = "capabilities"
    monkeypatch.setattr(target.management, "capabilities", counted)
    faults(Rule("error", path="*/capabilities*"))
    assert of(checks(target), Status.UNKNOWN) == {"region", "sku", "version"}
    assert asked == ["eastus"]


def test_throttling_is_outlived(target: AzureTarget, faults: Callable[..., None]) -> None:
    faults(Rule("throttle", rate=0.3))
    assert of(checks(target), Status.FAIL) == set()


@pytest.fixture(scope="module")
def retired() -> Iterator[tuple[Azure, ServerId, ServerId]]:
    """A twin of today's Azure, with a memory-optimised server and a small one elsewhere."""
    home = new_home()
    twin = ArmTwin(home)
    twin.start(profile="azure-2026")
    azure = Azure(twin)
    azure.group("now")
    made = []
    for name, sku, tier, location in (
        ("now-1", "Standard_E4ds_v5", "MemoryOptimized", "eastus"),
        ("now-2", "Standard_D2ds_v5", "GeneralPurpose", "northeurope"),
    ):
        model = server_model()
        model.sku, model.location = pg.Sku(name=sku, tier=tier), location
        found = azure.postgres.servers.begin_create_or_update("now", name, model).result()
        made.append(ServerId.parse(str(found.id)))
    yield azure, made[0], made[1]
    azure.close()
    twin.stop(delete=True)
    remove_home(home)


def test_azure_local_ai_is_retired(retired: tuple[Azure, ServerId, ServerId]) -> None:
    azure, memory, _ = retired
    found = AzureTarget(Cloud.of_twin(azure.twin.environment()), memory, login=Login("boss", PASSWORD))
    made = checks(found, vectorized())
    found.close()
    assert of(made, Status.FAIL) == {"extension.azure_local_ai"}
    assert made[f"model.{URI}"].reason.startswith("There are no models without azure_local_ai")
    check = made["extension.azure_local_ai"]
    assert check.reason == (
        "azure_local_ai is not among the values that azure.extensions allows on this server: it was retired on 2025-03-21."
    )
    assert "azure_ai and Azure OpenAI" in check.action
    assert "`azpg up`, then --local" in check.action


def test_a_size_and_a_region_that_never_had_it(retired: tuple[Azure, ServerId, ServerId]) -> None:
    azure, _, small = retired
    found = AzureTarget(Cloud.of_twin(azure.twin.environment()), small, login=Login("boss", PASSWORD))
    made = checks(found)
    found.close()
    assert of(made, Status.FAIL) == {"region", "sku", "extension.azure_local_ai"}
    assert "azure_local_ai was never offered in northeurope" in made["region"].reason
    assert "eastus" in made["region"].action
    assert (
        "memory-optimised size with at least 4 vCores; the server is Standard_D2ds_v5" in made["sku"].reason
    )
    assert "azpg:sku" in made["sku"].action
    assert "northeurope was not in the preview" in made["extension.azure_local_ai"].reason
    assert of(checks(found, Needs(allow=("vector",))), Status.FAIL) == set()


# Extensions and libraries


def test_extensions_that_are_offered_or_not(target: AzureTarget) -> None:
    target.set_list("azure.extensions", ["vector"])
    found = checks(target, Needs(allow=("vector", "no_such_thing", "age"), preload=("pg_cron", "nonsense")))
    assert of(found, Status.FAIL) == {"extension.no_such_thing", "extension.age", "preload.nonsense"}
    assert found["extension.vector"].reason == "vector is offered, and allow-listed."
    assert "is not among the values that azure.extensions allows" in found["extension.no_such_thing"].reason
    assert "is not among the values that shared_preload_libraries allows" in found["preload.nonsense"].reason
    assert found["preload.age"].reason == "age can be preloaded; `azpg apply --allow-restart` does it."
    assert found["preload.pg_cron"].reason == "pg_cron is in shared_preload_libraries."


def test_an_extension_that_only_azure_has(target: AzureTarget) -> None:
    found = checks(target, Needs(databases=(Database("postgres", ("azure_ai", "vector")),)))
    assert of(found, Status.FAIL) >= {"extension.azure_ai"}
    assert "the PostgreSQL of this machine does not have it" in found["extension.azure_ai"].reason
    assert found["extension.azure_ai"].action.endswith("; `azpg help extensions` says what each has.")
    assert found["extension.vector"].status is Status.PASS


# The way there


def elsewhere(target: AzureTarget, host: str, port: int) -> AzureTarget:
    target.endpoint = dataclasses.replace(target.endpoint, host=host, port=port)
    return target


def test_a_name_that_is_not_found(target: AzureTarget) -> None:
    found = checks(elsewhere(target, "nowhere.invalid", 5432))
    assert of(found, Status.FAIL) == {"dns", "tcp", "login"}
    assert "The name nowhere.invalid is not found" in found["dns"].reason
    assert "its own network only" in found["dns"].action
    assert found["tls"].action == "See `tcp`."


def test_nothing_listens(target: AzureTarget) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found = checks(elsewhere(target, "127.0.0.1", free.getsockname()[1]))
    assert of(found, Status.FAIL) == {"tcp", "login"}
    assert "refuses: nothing listens there" in found["tcp"].reason
    assert "Connection refused" in found["login"].reason


def test_a_firewall_that_drops_everything(target: AzureTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose queue is full never answers, as nobody does behind such a firewall."""
    monkeypatch.setattr("azpg_provision.preflight.reach._PATIENCE", 0.3)
    monkeypatch.setattr("azpg_provision.target.azure.CONNECT_TIMEOUT", 2)  # libpq's least
    with full_listener() as port:
        found = checks(elsewhere(target, "127.0.0.1", port))
    assert of(found, Status.FAIL) == {"tcp", "login"}
    assert "has not answered within" in found["tcp"].reason
    assert "azpg:firewallRules" in found["tcp"].action
    assert "timeout expired" in found["login"].reason
    assert "azpg:firewallRules" in found["login"].reason


@contextmanager
def full_listener() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        try:
            for _ in range(4):
                one = socket.socket()
                waiting.append(one)
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
            yield listener.getsockname()[1]
        finally:
            for one in waiting:
                one.close()


def test_a_server_without_tls(target: AzureTarget) -> None:
    with one_answer(b"N") as port:
        found = checks(elsewhere(target, "127.0.0.1", port))
    assert of(found, Status.FAIL) == {"tls", "login"}
    assert found["tls"].reason == "The server speaks no TLS."


@contextmanager
def one_answer(answer: bytes) -> Iterator[int]:
    """Answers each connection's first bytes with these, and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(8):
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_an_authority_that_is_not_trusted(entra: EntraServer) -> None:
    other = entra.target(ca=str(entra.azure.twin.files.root / "ca" / "ca.crt"))
    found = checks(other)
    other.close()
    assert of(found, Status.FAIL) == {"tls", "login"}
    assert "not to be trusted: " in found["tls"].reason
    assert "PGSSLROOTCERT" in found["tls"].action
    assert "certificate verify failed" in found["login"].reason


def test_a_stranger_cannot_log_in(entra: EntraServer) -> None:
    stranger = entra.target(entra.credential(entra.identities.add_managed("guest", "/users/guest")))
    found = checks(stranger)
    stranger.close()
    assert of(found, Status.FAIL) == {"login"}
    assert "is no Microsoft Entra administrator" in found["login"].reason


def test_a_role_without_rights(entra: EntraServer, target: AzureTarget) -> None:
    with target.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS plain")
        connection.execute(sql.SQL("CREATE ROLE plain LOGIN PASSWORD {}").format(sql.Literal(PASSWORD)))
    plain = entra.target(login=Login("plain", PASSWORD))
    found = checks(plain, vectorized("not_there"))
    plain.close()
    assert of(found, Status.FAIL) == {"rights", "database.not_there"}
    assert "plain is no member of azure_pg_admin" in found["rights"].reason
    assert "GRANT azure_pg_admin TO plain" in found["rights"].action
    assert "may not make databases" in found["database.not_there"].reason
    assert "a password" in found["login"].reason


# What is in it


def test_a_registered_model_and_its_dimensions(entra: EntraServer, target: AzureTarget) -> None:
    target.set_list("azure.extensions", ["vector", "azure_local_ai"])
    with target.connect() as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS azure_local_ai SCHEMA public")
        with suppress(psycopg.errors.UndefinedObject):  # another test may have registered it
            connection.execute("SELECT azure_local_ai.model_unregister(%s)", [URI])
        assert checks(target, vectorized())[f"model.{URI}"].reason.startswith(f"{URI} is not registered yet")
        connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [URI, URI.partition(":")[0]])
    found = checks(target, vectorized(dimensions=384))[f"model.{URI}"]
    assert (found.status, found.reason) == (Status.PASS, f"{URI} is registered, with 384 dimensions.")
    wrong = checks(target, vectorized(dimensions=768))[f"model.{URI}"]
    assert wrong.status is Status.FAIL
    assert wrong.reason == f"{URI} has 384 dimensions; public.products in postgres wants 768."
    assert wrong.action == "Write dimensions: 384, or choose another model."


def test_a_disk_that_is_too_small(entra: EntraServer, target: AzureTarget) -> None:
    with target.connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS public.products (id int PRIMARY KEY, title text)")
        connection.execute(
            "INSERT INTO public.products SELECT i, 'text' FROM generate_series(1, 1000) i ON CONFLICT DO NOTHING"
        )
        connection.execute("ANALYZE public.products")
    assert checks(target, vectorized(dimensions=384))["disk"].status is Status.PASS
    with Instance(NAME, home=Home(entra.azure.twin.files.root.parent)).superuser("postgres") as superuser:
        superuser.execute("UPDATE pg_class SET reltuples = 5e7 WHERE relname = 'products'")
    found = checks(target, vectorized(dimensions=384, indexed=True))["disk"]
    assert found.status is Status.FAIL
    assert "of 64 GiB are free" in found.reason
    assert "azpg:storageGb" in found.action
    with target.connect() as connection:
        connection.execute("DROP TABLE public.products")


# Azure OpenAI


@pytest.fixture
def account(azure: Azure, entra: EntraServer) -> Iterator[Callable[..., cs.Account]]:
    """Makes accounts in the server's group, removed for good at the end."""
    made: list[tuple[str, str]] = []

    def make(*models: str, domain: bool = True, group: str = GROUP) -> cs.Account:
        azure.group(group)
        name = f"ai-{uuid.uuid4().hex[:8]}"
        body = cs.Account(
            location="eastus",
            kind="OpenAI",
            sku=cs.Sku(name="S0"),
            properties=cs.AccountProperties(custom_sub_domain_name=name if domain else None),
        )
        azure.cognitive.accounts.begin_create(group, name, body).result()
        made.append((group, name))
        for model in models:
            deployment = cs.Deployment(
                sku=cs.Sku(name="Standard", capacity=1),
                properties=cs.DeploymentProperties(model=cs.DeploymentModel(format="OpenAI", name=model)),
            )
            azure.cognitive.deployments.begin_create_or_update(group, name, model, deployment).result()
        return azure.cognitive.accounts.get(group, name)

    yield make
    for group, name in made:
        azure.cognitive.accounts.begin_delete(group, name).result()
        azure.cognitive.deleted_accounts.begin_purge("eastus", group, name).result()


@pytest.fixture
def identity(azure: Azure, entra: EntraServer) -> Iterator[str]:
    """The object id of the server's own identity."""
    update = pg.ServerForPatch(identity=pg.UserAssignedIdentity(type="SystemAssigned"))
    made = azure.postgres.servers.begin_update(GROUP, NAME, update).result()
    assert made.identity is not None
    yield str(made.identity.principal_id)
    update = pg.ServerForPatch(identity=pg.UserAssignedIdentity(type="None"))
    azure.postgres.servers.begin_update(GROUP, NAME, update).result()


def assign(azure: Azure, scope: str, principal: str, role: str = USER) -> str:
    body = {
        "properties": {
            "roleDefinitionId": f"/subscriptions/{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}",
            "principalId": principal,
            "principalType": "ServicePrincipal",
        }
    }
    id_ = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    assert azure.raw("PUT", id_, body, version="2022-04-01").status in {200, 201}
    return id_


WITH_AI = Needs(allow=("azure_ai",))


def test_without_azure_ai_no_account_is_looked_for(target: AzureTarget) -> None:
    assert not [id_ for id_ in checks(target) if id_.startswith("ai.")]


def test_no_account(target: AzureTarget) -> None:
    found = checks(target, WITH_AI)
    assert of(found, Status.FAIL) - {"extension.azure_ai"} == {"ai.account", "ai.identity"}
    assert found["ai.account"].reason == "There is no account of Azure OpenAI in entra."
    assert found["ai.dimensions"].reason == "It is not known without an account (see `ai.account`)."
    assert "no identity of its own" in found["ai.identity"].reason
    assert "see `ai.identity`" in found["ai.role"].reason


def test_an_account_with_everything(
    entra: EntraServer, account: Callable[..., cs.Account], identity: str
) -> None:
    made = account("text-embedding-3-small", "gpt-4o")
    assign(entra.azure, str(made.id), identity)
    assert made.properties is not None
    target = entra.target(ai=AiAccount(str(made.properties.endpoint), ("text-embedding-3-small",)))
    found = checks(target, vectorized(dimensions=384))
    assert of(found, Status.FAIL) == set()
    assert found["ai.account"].reason.startswith(f"{made.name} (OpenAI) at https://")
    assert found["ai.deployment.text-embedding-3-small"].reason.endswith(
        "is text-embedding-3-small, version 1."
    )
    assert found["ai.dimensions"].reason == (
        "text-embedding-3-small gives 1536; 384 with the argument `dimensions`."
    )
    assert found["ai.role"].reason == "The server's identity has the role Cognitive Services OpenAI User."
    target.close()


def test_what_an_account_lacks(entra: EntraServer, account: Callable[..., cs.Account], identity: str) -> None:
    made = account("text-embedding-ada-002", domain=False)
    assign(entra.azure, str(made.id), identity, READER)
    assert made.properties is not None
    target = entra.target(ai=AiAccount(str(made.properties.endpoint), ("text-embedding-3-small",)))
    found = checks(target, vectorized(dimensions=384))
    target.close()
    assert of(found, Status.FAIL) == {
        *("ai.account", "ai.deployment.text-embedding-3-small", "ai.dimensions", "ai.role"),
    }
    assert "no domain of its own" in found["ai.account"].reason
    assert "there is: text-embedding-ada-002" in found["ai.deployment.text-embedding-3-small"].reason
    assert found["ai.dimensions"].reason == (
        "No deployment gives vectors of 384 dimensions: text-embedding-ada-002 gives 1536."
    )
    assert f"--assignee-object-id {identity}" in found["ai.role"].action
    assert f"--scope {made.id}" in found["ai.role"].action


def test_an_account_without_embeddings(account: Callable[..., cs.Account], target: AzureTarget) -> None:
    account("gpt-4o")
    found = checks(target, WITH_AI)
    assert "has no deployment of an embedding model" in found["ai.dimensions"].reason


@pytest.mark.parametrize("role", sorted(_MAY_CALL))
def test_a_right_that_comes_from_above(
    entra: EntraServer, account: Callable[..., cs.Account], identity: str, role: str
) -> None:
    account("text-embedding-3-large")
    id_ = assign(entra.azure, entra.id.scope, identity, role)
    target = entra.target()
    found = checks(target, WITH_AI)
    target.close()
    entra.azure.raw("DELETE", id_, version="2022-04-01")
    assert found["ai.role"].reason == f"The server's identity has the role {_MAY_CALL[role]}."


def test_which_of_several_accounts(entra: EntraServer, account: Callable[..., cs.Account]) -> None:
    first, second = account(), account()
    target = entra.target()
    found = checks(target, WITH_AI)["ai.account"]
    target.close()
    names = ", ".join(sorted([str(first.name), str(second.name)]))
    assert (found.status, found.reason) == (Status.UNKNOWN, f"There are several accounts: {names}.")
    assert found.action == "Name the one that is meant by its stack, with --stack."
    gone = entra.target(ai=AiAccount("https://gone.openai.azure.com/"))
    missing = checks(gone, WITH_AI)["ai.account"]
    gone.close()
    assert missing.status is Status.FAIL
    assert (
        "No AI account of this subscription has the endpoint https://gone.openai.azure.com/" in missing.reason
    )


def test_accounts_without_a_domain_share_their_endpoint(
    entra: EntraServer, account: Callable[..., cs.Account]
) -> None:
    far, near = account(domain=False, group="elsewhere"), account(domain=False)
    assert far.properties is not None
    assert near.properties is not None
    assert far.properties.endpoint == near.properties.endpoint
    target = entra.target(ai=AiAccount(str(near.properties.endpoint)))
    assert f"The account {near.name} has no domain" in checks(target, WITH_AI)["ai.account"].reason
    other = account(domain=False)
    found = checks(target, WITH_AI)["ai.account"]
    target.close()
    names = ", ".join(sorted([str(near.name), str(other.name)]))
    assert (found.status, found.reason) == (Status.UNKNOWN, f"There are several accounts: {names}.")
    assert found.action == "Give the one that is meant a domain of its own (azpg:aiName)."


# Other targets


@pytest.mark.vector
def test_a_local_server(twin: Instance) -> None:
    found = checks(LocalTarget(twin), vectorized())
    assert of(found, Status.FAIL) == set()
    assert of(found, Status.UNKNOWN) >= {"disk"}
    assert found["disk"].reason == "A local server's disk is this machine's, and shared."
    assert found["region"].reason == "The local server stands in for one in eastus."
    assert found["quota"].reason == "A local server has no quota."
    sockets = twin.home.postgres_sockets
    assert found["tls"].reason == f"Not needed: the server is reached by its socket in {sockets}."


def test_what_a_local_server_lacks_and_azure_has(twin: Instance) -> None:
    found = checks(LocalTarget(twin), Needs(allow=("vector", "postgis"), preload=("pg_cron", "pgaudit")))
    assert of(found, Status.FAIL) == {"extension.postgis", "preload.pg_cron", "preload.pgaudit"}
    assert "the PostgreSQL of this machine does not have it" in found["extension.postgis"].reason
    lacks = f"not loaded: this PostgreSQL {twin.description.major} lacks it"
    assert found["preload.pg_cron"].reason.startswith(f"pg_cron is in shared_preload_libraries, and {lacks}")
    assert found["preload.pgaudit"].reason.startswith(f"pgaudit is {lacks}")


def test_models_of_a_local_server_are_looked_for_in_its_store(twin: Instance, database: str) -> None:
    """And what another database says is registered is registered, whether the spec's own is there or not."""
    models = (Model(URI, MODEL), Model("another:v1", MODEL), Model("none:v1", "none"), Model("x:v1", "a/b"))
    found = checks(LocalTarget(twin), Needs(models=models, databases=(Database("nowhere"),)))
    assert of(found, Status.FAIL) == {"model.none:v1", "model.x:v1"}
    assert found[f"model.{URI}"].reason == f"{URI} is registered, with 384 dimensions."
    assert found["model.another:v1"].reason == (
        f"{MODEL} is in the store; `azpg apply` registers it as another:v1."
    )
    assert found["model.none:v1"].reason.startswith(
        "none:v1 cannot be registered: the store has no model 'none'. It has "
    )
    assert found["model.x:v1"].reason.startswith("x:v1 cannot be registered: there is no a/b below ")


def test_a_connection_string(twin: Instance) -> None:
    with twin.connect() as connection:
        row = connection.execute("SHOW azure.extensions").fetchone()
    assert row is not None
    found = checks(DsnTarget(Secret(twin.dsn())), Needs(allow=("azure_local_ai", "hypopg")))
    assert of(found, Status.FAIL) == set()
    assert {"server", "region", "sku", "quota", "disk"} <= of(found, Status.UNKNOWN)
    assert "--server or --stack" in found["region"].action
    assert found["version"].status is Status.PASS
    assert found["extension.azure_local_ai"].reason == "azure_local_ai is allow-listed."
    assert found["extension.hypopg"].status is Status.UNKNOWN


def test_models_are_looked_for_in_many_databases_with_few_sessions(twin: Instance, database: str) -> None:
    """Only the last of them has azure_local_ai; a small server on Azure takes 35 sessions in all."""
    names = [f"a_few_{number}" for number in range(10)]
    there = urlsplit(twin.dsn(tcp=True))
    there = there._replace(netloc=f"azpg_few:few@{there.hostname}:{there.port}", query="sslmode=disable")
    with twin.superuser() as superuser:
        superuser.execute(
            "CREATE ROLE azpg_few LOGIN PASSWORD 'few' CONNECTION LIMIT 7 IN ROLE azure_pg_admin"
        )
        try:
            for name in names:
                superuser.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            found = checks(DsnTarget(Secret(there.geturl())), Needs(models=(Model(URI, MODEL),)))
        finally:
            for name in names:
                superuser.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
                )
            superuser.execute("DROP ROLE azpg_few")
    assert found[f"model.{URI}"].reason == f"{URI} is registered, with 384 dimensions."


def test_a_connection_string_that_leads_nowhere() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dsn = f"postgresql://x@127.0.0.1:{free.getsockname()[1]}/postgres"
        found = checks(DsnTarget(Secret(dsn)))
    assert of(found, Status.FAIL) == {"login"}
    assert found["tcp"].reason == "It is not known without a login (see `login`)."


def test_a_local_server_where_there_is_no_region() -> None:
    """An earlier azpg made them."""
    home = new_home()
    local = Instance("lost", home=home)
    try:
        local.up()
        dataclasses.replace(local.description, location="easteurope").save(local.home.description)
        found = checks(LocalTarget(local), Needs(allow=("vector",)))["region"]
    finally:
        local.down()
        remove_home(home)
    assert (found.status, found.reason) == (
        Status.FAIL,
        "easteurope is no region of Azure: no server could be there.",
    )
    assert found.action == (
        "Did you mean westeurope? Start the local server with another: `azpg up NAME --location westeurope`."
    )


def test_a_local_server_that_is_not_there(home: Home) -> None:
    found = checks(LocalTarget(Instance("nobody", home=home)))
    assert of(found, Status.FAIL) == {"server"}
    assert "instance 'nobody'" in found["server"].reason


def test_endpoints_are_verified_in_full() -> None:
    assert Endpoint("h", 1, "/ca").parameters() == {
        "host": "h",
        "port": 1,
        "sslmode": "verify-full",
        "sslrootcert": "/ca",
    }
    assert psycopg.conninfo.make_conninfo(**Endpoint("h", 1, "/ca").parameters())
