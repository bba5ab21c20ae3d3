"""A server on Azure as a target: the SDK's own clients and azure-identity, on the ARM twin with a real PostgreSQL."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from azpg.errors import UsageError
from azpg.extensions import join, normalise
from azpg_provision.errors import TargetUnreachable
from azpg_provision.target.azure import AzureTarget, Login, by_id
from azpg_provision.target.cloud import Cloud
from azpg_provision.target.management import Management
from azpg_provision.target.resource import ServerId
from azpg_runtime.arm.faults import Plan, Rule
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.integration.azure import PASSWORD, Azure
from tests.integration.entra_server import ALICE, EntraServer, ShortLived

PATIENCE = 30
Make = Callable[..., AzureTarget]


@pytest.fixture
def target(entra: EntraServer) -> Iterator[Make]:
    """Makes targets of the server, closed at the end."""
    made: list[AzureTarget] = []

    def make(*arguments: Any, **options: Any) -> AzureTarget:
        made.append(entra.target(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def faults(azure: Azure) -> Iterator[Callable[..., None]]:
    """Makes the twin fail on purpose, until the end of the test."""
    file = azure.twin.files.faults

    def add(*rules: Rule) -> None:
        Plan(rules).save(file)

    yield add
    file.unlink(missing_ok=True)


def ask(target: AzureTarget, query: str, database: str = "postgres") -> Any:
    with target.connect(database) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


# Logging in


def test_a_managed_identity_logs_in_with_a_token_over_verified_tls(target: Make, entra: EntraServer) -> None:
    found = target()
    with found.connect() as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.info.get_parameters()["sslmode"] == "verify-full"
        assert connection.autocommit
    assert ask(found, "SELECT session_user") == entra.identities.default.name
    assert ask(found, "SHOW application_name") == "azpg"
    assert ask(found, "SHOW search_path") == "pg_catalog,pg_temp"
    assert (found.kind, found.name) == ("azure", "entra-server")


def test_the_role_is_the_administrator_that_the_token_is_for(target: Make, entra: EntraServer) -> None:
    assert ask(target(entra.credential()), "SELECT session_user") == ALICE


def test_a_group_is_an_administrator_for_its_members(target: Make, entra: EntraServer) -> None:
    member = entra.identities.add_managed("member", "/users/member")
    found = target(entra.credential(member, groups=[entra.alice.object_id]))
    assert found.login == Login(ALICE)


def test_a_password_is_used_where_one_is_given(target: Make) -> None:
    found = target(login=Login("boss", PASSWORD))
    assert not found.uses_tokens
    assert ask(found, "SELECT session_user") == "boss"


def test_without_entra_logins_libpq_finds_the_password(
    azure: Azure, server_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = Cloud.of_twin(azure.twin.environment())
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    found = by_id(server_id, cloud=cloud)
    with pytest.raises(TargetUnreachable, match=r"no password supplied.*Put the password into PGPASSWORD"):
        found.connect()
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert ask(found, "SELECT session_user") == "boss"
    found.close()


def test_a_password_needs_a_user(server_id: str, azure: Azure) -> None:
    with pytest.raises(UsageError, match=r"a password needs a user"):
        by_id(server_id, login=Login(password="x"), cloud=Cloud.of_twin(azure.twin.environment()))


def test_a_stranger_is_told_who_may_log_in(target: Make, entra: EntraServer) -> None:
    stranger = entra.identities.add_managed("stranger", "/users/stranger")
    with pytest.raises(TargetUnreachable) as refused:
        target(entra.credential(stranger)).connect()
    said = str(refused.value)
    assert f"object id {stranger.object_id}, is no Microsoft Entra administrator of entra-server" in said
    assert f"there is: {ALICE}, {entra.identities.default.name}" in said
    assert "azpg:entraAdmins" in said


def test_somebody_elses_role(target: Make, entra: EntraServer) -> None:
    found = target(entra.credential(), login=Login(entra.identities.default.name))
    with pytest.raises(TargetUnreachable, match=r"oid claim.*The token is somebody else's"):
        found.connect()


def test_a_role_that_takes_no_tokens(target: Make, entra: EntraServer) -> None:
    found = target(entra.credential(), login=Login("boss"))
    with pytest.raises(TargetUnreachable, match=r"'boss' has to be a Microsoft Entra administrator"):
        found.connect()


def test_a_database_that_is_not_there(target: Make) -> None:
    with pytest.raises(TargetUnreachable, match=r'database "nowhere" does not exist. Check the name'):
        target().connect("nowhere")


# Tokens on long runs


def test_a_long_run_goes_on_when_its_token_expires(target: Make, entra: EntraServer) -> None:
    """Each login succeeds, with the first token as long as it is good, then with another one."""
    credential = entra.credential(lifetimes=[3.0, 3600])
    found = target(credential, login=Login(ALICE))

    def has_another() -> bool:
        assert ask(found, "SELECT session_user") == ALICE
        return len(credential.issued) == 2

    assert wait_for(has_another, timeout=PATIENCE)
    assert ask(found, "SELECT session_user") == ALICE
    assert len(credential.issued) == 2


def test_a_refused_token_is_replaced_once(target: Make, entra: EntraServer) -> None:
    """This machine's clock says it is good, the server's that it is not."""
    credential = entra.credential(lifetimes=[-60, 3600], claimed=3600)
    found = target(credential, login=Login(ALICE))
    assert ask(found, "SELECT session_user") == ALICE
    assert len(credential.issued) == 2


def test_a_credential_that_has_only_expired_tokens(target: Make, entra: EntraServer) -> None:
    credential = entra.credential(lifetimes=[-60] * 5, claimed=3600)
    with pytest.raises(TargetUnreachable, match=r"access token has expired.*Log in again"):
        target(credential, login=Login(ALICE)).connect()
    assert len(credential.issued) == 2


def test_a_session_outlives_its_token(target: Make, entra: EntraServer) -> None:
    credential = entra.credential(lifetimes=[2.0])
    with target(credential, login=Login(ALICE)).connect() as connection:
        expired = time.time() + 2.0
        assert wait_for(lambda: time.time() > expired, timeout=PATIENCE)
        assert connection.execute("SELECT session_user").fetchone() == (ALICE,)


@pytest.mark.parametrize("autocommit", [True, False])
def test_limits_that_are_meant_for_others_end_no_session(
    target: Make, entra: EntraServer, autocommit: bool
) -> None:
    """Of these, transaction_timeout is none of what can be asked for while connecting."""
    server = Instance("entra-server", home=Home(entra.azure.twin.files.root.parent))
    limits = ("statement_timeout", "transaction_timeout")
    with server.superuser("postgres") as superuser:
        try:
            for limit in limits:
                superuser.execute(f"ALTER DATABASE postgres SET {limit} = '1h'")
            with target().connect(autocommit=autocommit) as session:
                for limit in limits:
                    assert session.execute(f"SHOW {limit}").fetchone() == ("0",)
        finally:
            for limit in limits:
                superuser.execute(f"ALTER DATABASE postgres RESET {limit}")


def test_the_wrong_audience(target: Make, entra: EntraServer) -> None:
    credential = entra.credential(audience="https://management.azure.com")
    with pytest.raises(
        TargetUnreachable, match=r"valid audience claim.*ossrdbms-aad.database.windows.net/.def"
    ):
        target(credential, login=Login(ALICE)).connect()


# What is in the way


def test_an_authority_that_is_not_trusted(target: Make, azure: Azure) -> None:
    other = str(azure.twin.files.root / "ca" / "ca.crt")
    assert Path(other).is_file()
    with pytest.raises(
        TargetUnreachable, match=r"certificate verify failed.*name the right file in PGSSLROOTCERT"
    ):
        target(ca=other).connect()
    with pytest.raises(UsageError, match=r"trusted certificates /nonexistent is not there"):
        target(ca="/nonexistent").connect()


def test_resource_managers_certificate_is_checked(entra: EntraServer) -> None:
    right = entra.cloud()
    wrong = Cloud(right.credential, right.endpoint, str(entra.azure.twin.files.root.parent / "ca" / "ca.crt"))
    found = AzureTarget(wrong, entra.id)
    with pytest.raises(TargetUnreachable, match=r"Resource Manager's certificate is not trusted here"):
        found.connect()
    found.close()


def test_nobody_at_the_address(entra: EntraServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"https://127.0.0.1:{free.getsockname()[1]}"
    right = entra.cloud()
    found = AzureTarget(Cloud(entra.credential(), endpoint, right.ca), entra.id)
    with pytest.raises(TargetUnreachable, match=r"Resource Manager does not answer.*`azpg arm status`"):
        found.connect()
    found.close()


def test_no_such_server(entra: EntraServer) -> None:
    found = AzureTarget(entra.cloud(), ServerId(entra.id.subscription, entra.id.group, "nobody"))
    with pytest.raises(TargetUnreachable, match=r"the server nobody in entra: .*nobody.*Check the id"):
        found.connect()
    found.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "entra-server",
        "/subscriptions/x/resourceGroups/g",
        "/subscriptions/{0}/resourceGroups/g/providers/Microsoft.Sql/servers/s",
    ],
)
def test_what_is_no_servers_id(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no flexible server's resource id: use /subscriptions/ID/"):
        by_id(text)


def test_an_id_in_any_case(entra: EntraServer) -> None:
    assert ServerId.parse(str(entra.id).upper()) == ServerId(entra.id.subscription, "ENTRA", "entra-server")


# Server parameters


def test_what_a_list_parameter_may_hold(target: Make) -> None:
    found = target()
    allowed = found.allowed_values("azure.extensions")
    assert allowed is not None
    assert {"vector", "azure_local_ai"} <= allowed
    assert found.allowed_values("no.such_parameter") is None
    assert found.parameter("max_connections").isdigit()
    with pytest.raises(TargetUnreachable, match=r"server parameter no.such_parameter of entra-server"):
        found.parameter("no.such_parameter")


def test_a_list_keeps_what_somebody_else_put_there(target: Make, entra: EntraServer) -> None:
    first, second = target(), target()
    before = normalise(first.parameter("azure.extensions"))
    assert not first.set_list("azure.extensions", ["vector"])
    assert not second.set_list("azure.extensions", ["PG_TRGM ", "vector"])
    after = normalise(first.parameter("azure.extensions"))
    assert {*before, "vector", "pg_trgm"} == set(after)
    assert after[: len(before)] == before
    found = entra.azure.postgres.configurations.get("entra", "entra-server", "azure.extensions")
    assert found.source == "user-override"


def test_what_is_there_already_is_not_written(target: Make, faults: Callable[..., None]) -> None:
    found = target()
    found.set_list("azure.extensions", ["vector"])
    faults(Rule("error", method="PATCH"), Rule("error", method="PUT"))
    assert not found.set_list("azure.extensions", ["vector"])


def test_a_value_that_the_server_does_not_offer(target: Make) -> None:
    with pytest.raises(TargetUnreachable, match=r"Azure refused: .*InvalidParameterValue.*no_such_extension"):
        target().set_list("azure.extensions", ["no_such_extension"])


def test_a_static_parameter_waits_for_a_restart(target: Make) -> None:
    found = target()
    assert found.set_list("shared_preload_libraries", ["pg_stat_statements", "auto_explain"])
    assert found.set_list("shared_preload_libraries", ["auto_explain"]), "it still waits"
    with found.connect() as before:
        started = before.execute("SELECT pg_postmaster_start_time()").fetchone()
    found.restart()
    with found.connect() as after:
        assert after.execute("SELECT pg_postmaster_start_time()").fetchone() != started
    assert not found.set_list("shared_preload_libraries", ["auto_explain"])
    assert "auto_explain" in found.parameter("shared_preload_libraries")


def test_throttled_and_lost_requests_are_sent_again(target: Make, faults: Callable[..., None]) -> None:
    found = target()
    faults(
        Rule("throttle", times=2), Rule("drop", method="GET", times=1), Rule("error", method="GET", times=1)
    )
    assert found.parameter("work_mem")


def test_endless_throttling_is_said(entra: EntraServer, faults: Callable[..., None]) -> None:
    found = entra.target()
    found.connect().close()
    faults(Rule("throttle"))
    with pytest.raises(TargetUnreachable, match=r"Azure goes on asking for patience"):
        found.parameter("work_mem")
    found.close()


def test_a_failed_operation_is_said(target: Make, faults: Callable[..., None]) -> None:
    faults(Rule("fail", path="*/configurations/*"))
    with pytest.raises(
        TargetUnreachable, match=r"azure.extensions of entra-server: Azure refused: .InternalServer"
    ):
        target().set_list("azure.extensions", ["cube"])


def test_a_busy_server_is_asked_again(
    target: Make, entra: EntraServer, faults: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an operation works on it, Azure refuses all others; what that one has written stays."""
    monkeypatch.setattr("azpg_provision.target.management._FIRST_PAUSE", 3.0)  # that one is over by then
    found = target()
    before = normalise(found.parameter("azure.extensions"))
    faults(Rule("slow", path="*/flexibleservers/entra-server*", delay=0.5, times=1))
    body = {"properties": {"value": join([*before, "lo"]), "source": "user-override"}}
    slow = entra.azure.postgres.configurations.begin_update("entra", "entra-server", "azure.extensions", body)
    found.set_list("azure.extensions", ["intarray"])
    slow.result()
    assert {*before, "lo", "intarray"} == set(normalise(found.parameter("azure.extensions")))


def test_a_server_that_stays_busy(entra: EntraServer, faults: Callable[..., None]) -> None:
    faults(Rule("slow", path="*/flexibleservers/entra-server*", delay=1.5, times=1))
    slow = entra.azure.postgres.configurations.begin_update(
        "entra", "entra-server", "work_mem", {"properties": {"value": "4096", "source": "user-override"}}
    )
    found = entra.target()
    found.management = Management(entra.cloud(), entra.id, patience=0.3)
    with pytest.raises(TargetUnreachable, match=r"ServerIsBusy.*Try again later"):
        found.set_list("azure.extensions", ["dict_int"])
    slow.result()
    found.close()


def test_two_writers_follow_each_other(target: Make) -> None:
    found = target()
    names = ["citext", "unaccent", "isn", "ltree"]
    errors: list[BaseException] = []

    def write(name: str) -> None:
        try:
            found.set_list("azure.extensions", [name])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not errors
    assert set(names) <= set(normalise(found.parameter("azure.extensions")))


def test_a_stopped_server_says_so(azure: Azure, entra: EntraServer, target: Make) -> None:
    azure.postgres.servers.begin_stop("entra", "entra-server").result()
    try:
        with pytest.raises(
            TargetUnreachable, match=r"the server entra-server is Stopped. Start it: `az postgres"
        ):
            target().connect()
    finally:
        azure.postgres.servers.begin_start("entra", "entra-server").result()


def test_no_secret_is_told(entra: EntraServer) -> None:
    credential = entra.credential(audience="https://management.azure.com")
    found = entra.target(credential, login=Login(ALICE))
    with pytest.raises(TargetUnreachable) as refused:
        found.connect()
    shown = [
        str(refused.value),
        repr(found),
        repr(found.login),
        repr(Login("a", PASSWORD)),
        repr(entra.cloud()),
    ]
    for secret in (*credential.issued, PASSWORD):
        assert all(secret not in one for one in shown)
    assert isinstance(credential, ShortLived)
    found.close()
