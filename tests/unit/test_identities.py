"""The directory of identities: kept in one file, the same for every process, without any secret in it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from azpg_runtime.arm.identity.identities import DEFAULT_NAME, Identities, Kind
from azpg_runtime.errors import IdentityError, IdentityNotFound, SecretWrong


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return Identities(tmp_path / "identity")


def test_there_is_a_default_identity_and_it_stays_the_same(identities: Identities, tmp_path: Path) -> None:
    first = identities.default
    again = Identities(tmp_path / "identity")
    assert (first.name, first.kind) == (DEFAULT_NAME, Kind.MANAGED)
    assert (again.default, again.tenant_id, again.header) == (first, identities.tenant_id, identities.header)


def test_making_the_object_touches_nothing(tmp_path: Path) -> None:
    Identities(tmp_path / "identity")
    assert list(tmp_path.iterdir()) == []


def test_application_logs_in_with_its_secret(identities: Identities) -> None:
    made, secret = identities.add_application("deployer")
    assert identities.authenticate(made.client_id, secret) == made
    assert identities.authenticate(made.client_id.upper(), secret) == made
    assert identities.find(made.object_id) == made


def test_secret_is_kept_nowhere(identities: Identities, tmp_path: Path) -> None:
    made, secret = identities.add_application("deployer")
    assert secret not in (tmp_path / "identity" / "directory.json").read_text()
    assert secret not in repr(made)
    assert made.secret not in repr(made)


def test_adding_again_is_a_new_secret_of_the_same_application(identities: Identities) -> None:
    made, before = identities.add_application("the deployer")
    again, after = identities.add_application("the deployer")
    assert again.object_id == made.object_id
    assert identities.authenticate(made.client_id, after) == again
    with pytest.raises(
        SecretWrong, match=r"secret of 'the deployer' is another one.*azpg arm principal add 'the deployer'`"
    ):
        identities.authenticate(made.client_id, before)


def test_only_applications_log_in_and_only_by_client_id(identities: Identities) -> None:
    made, secret = identities.add_application("deployer")
    for key in (identities.default.client_id, made.object_id):
        with pytest.raises(IdentityNotFound, match="is not the client id of an application"):
            identities.authenticate(key, secret)


@pytest.mark.parametrize("key", ["", "nobody"])
def test_nobody(identities: Identities, key: str) -> None:
    with pytest.raises(
        IdentityNotFound, match=r"there is no identity '.*' in this directory\. `azpg arm principal list`"
    ):
        identities.find(key)


def test_managed_identity_is_one_for_each_resource(identities: Identities) -> None:
    made = identities.add_managed("mine", "/subscriptions/s/resourceGroups/g/servers/mine")
    assert identities.add_managed("mine", "/SUBSCRIPTIONS/s/resourcegroups/g/servers/mine") == made
    assert identities.find("/subscriptions/S/resourceGroups/g/servers/MINE") == made
    assert identities.remove(made.object_id)
    assert not identities.remove(made.object_id)
    assert identities.add_managed("mine", made.resource_id).object_id != made.object_id


def test_default_identity_stays(identities: Identities) -> None:
    with pytest.raises(IdentityError, match=f"'{DEFAULT_NAME}' is the default identity, which stays"):
        identities.remove(identities.default.object_id)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 121])
def test_names_that_cannot_be(identities: Identities, name: str) -> None:
    with pytest.raises(IdentityError, match="Use 1 to 120 printable characters"):
        identities.add_application(name)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"tenant_id": "t", "header": "h", "identities": []}'])
def test_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "directory.json").write_text(text)
    with pytest.raises(IdentityError, match=r"directory\.json is damaged: .*Put back a copy of it"):
        _ = Identities(tmp_path).default
    with pytest.raises(IdentityError):
        Identities(tmp_path).add_application("x")
    assert (tmp_path / "directory.json").read_text() == text


def test_nobody_loses_what_others_add(tmp_path: Path) -> None:
    """Each call opens the lock anew, so that threads exclude one another as processes do."""
    barrier = threading.Barrier(4)

    def add(number: int) -> None:
        barrier.wait()
        for each in range(10):
            Identities(tmp_path).add_application(f"a{number}-{each}")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [identity.name for identity in Identities(tmp_path).all()]
    assert sorted(names) == sorted([DEFAULT_NAME, *(f"a{n}-{each}" for n in range(4) for each in range(10))])
