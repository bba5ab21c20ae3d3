"""What an instance is, is kept; what no instance can be is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from azpg.errors import AzpgError, UsageError
from azpg_runtime.errors import InstanceError
from azpg_runtime.postgres.account import own_account
from azpg_runtime.postgres.description import Description, Wishes

ONE = Description(name="one", os_user="azpg", port=20001)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    ONE.save(tmp_path / "instance.json")
    assert Description.load(tmp_path / "instance.json") == ONE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"port": "20001"}, "its port is no int"),
        ({"port": True}, "its port is no int"),
        ({"port": 65536}, "65536 is no TCP port"),
        ({"durable": 1}, "its durable is no bool"),
        ({"os_user": None}, "its os_user is no str"),
        ({"admin": "root"}, "cannot be the server admin"),
        ({"major": 9}, "PostgreSQL 9 is not bundled"),
        ({"build": "nobody's"}, 'there is no build "nobody\'s" of PostgreSQL'),
        ({"build": "embedded", "major": 16}, "the build 'embedded' has no PostgreSQL 16"),
        ({"sku": "huge"}, "is no Flexible Server SKU"),
        ({"profile": "azure-2099"}, "is unknown"),
        ({"unknown": 1}, "unexpected keyword argument"),
        ({"version": 2}, "another version of azpg"),
    ],
)
def test_a_damaged_description_says_what_is_wrong(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "instance.json"
    ONE.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InstanceError, match=said) as caught:
        Description.load(path)
    assert caught.value.message.startswith(f"{path} is damaged: ")
    assert caught.value.hint == "Restore the file; the data lie beside it, untouched."


@pytest.mark.parametrize("content", ["", "[]", "7", "null", "{", '{"version": 1}'])
def test_what_is_no_description(tmp_path: Path, content: str) -> None:
    path = tmp_path / "instance.json"
    path.write_text(content)
    with pytest.raises(InstanceError, match="is damaged"):
        Description.load(path)


def test_an_older_description_gets_the_new_defaults(tmp_path: Path) -> None:
    path = tmp_path / "instance.json"
    path.write_text(json.dumps({"version": 1, "name": "one", "os_user": "azpg", "port": 20001}))
    assert Description.load(path) == ONE


def test_an_older_azpg_knows_all_that_is_written_of_an_instance_without_a_build(tmp_path: Path) -> None:
    """Up to e0fcee3 a property that it did not know was damage, and docs/upgrade.md tells how to go back."""
    ONE.save(tmp_path / "instance.json")
    assert "build" not in json.loads((tmp_path / "instance.json").read_text())


def test_nothing_is_not_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Description.load(tmp_path / "instance.json")


def test_wishes_change_what_can_change() -> None:
    wishes = Wishes(port=20002, location="westeurope", sku="standard_b2s", created_newly=False)
    changed = ONE.changed(wishes)
    assert (changed.port, changed.fixed_port) == (20002, True)
    assert (changed.location, changed.sku, changed.created_newly) == ("westeurope", "standard_b2s", False)
    assert ONE.changed(Wishes()) == ONE


@pytest.mark.parametrize("wishes", [Wishes(major=16), Wishes(admin="alice"), Wishes(os_user="other")])
def test_wishes_that_come_too_late(wishes: Wishes) -> None:
    with pytest.raises(InstanceError, match="it cannot become") as caught:
        ONE.changed(wishes)
    assert caught.value.hint == "Use another name, or `azpg down one --delete` first."


@pytest.mark.parametrize("wishes", [Wishes(profile="x"), Wishes(sku="x")])
def test_wishes_that_azure_does_not_know(wishes: Wishes) -> None:
    with pytest.raises(UsageError):
        ONE.changed(wishes)


@pytest.mark.parametrize("wishes", [Wishes(major=9), Wishes(admin="azure_pg_admin"), Wishes(sku="x")])
def test_a_new_instance_is_checked(wishes: Wishes) -> None:
    with pytest.raises(AzpgError):
        Description.new("one", wishes, os_user="azpg")


def test_what_it_offers_follows_its_properties() -> None:
    assert "azure_local_ai" in ONE.offer.extensions
    for wishes, reason in (
        (Wishes(sku="Standard_B2s"), "is not a memory-optimised SKU"),
        (Wishes(sku="Standard_E2ds_v5"), "with at least 4 vCores"),
        (Wishes(location="northeurope"), "was not in the preview"),
        (Wishes(created_newly=False), "only servers made after the preview began had it"),
        (Wishes(profile="azure-2026"), "retired on 2025-03-21"),
    ):
        offered = ONE.changed(wishes).offer
        assert "azure_local_ai" not in offered.extensions
        assert reason in offered.missing["azure_local_ai"]


def test_a_region_that_there_is_not_is_refused_only_when_it_is_chosen(tmp_path: Path) -> None:
    """A server that an earlier azpg made there goes on."""
    for wishes in (Wishes(location="easteurope"), Wishes(location="East Europe", sku="Standard_B2s")):
        with pytest.raises(UsageError, match="is no Azure region: did you mean westeurope"):
            Description.new("one", wishes, os_user="azpg")
        with pytest.raises(UsageError, match="is no Azure region: did you mean westeurope"):
            ONE.changed(wishes)
    assert ONE.changed(Wishes(location="West Europe")).location == "West Europe"
    older = replace(ONE, location="easteurope", admin="Admin")
    older.save(tmp_path / "instance.json")
    assert Description.load(tmp_path / "instance.json") == older
    assert older.changed(Wishes(sku="Standard_E2ds_v5")).location == "easteurope"
    with pytest.raises(UsageError, match="'Admin' cannot be the server admin"):
        Description.new("one", Wishes(admin="Admin"), os_user="azpg")


def test_the_own_account_has_a_name() -> None:
    assert own_account().name


# Of several bundled PostgreSQL of one major


def test_a_build_is_kept_until_another_is_asked_for(tmp_path: Path) -> None:
    assert ONE.build == ""
    other = ONE.changed(Wishes(build="pixeltable"))
    other.save(tmp_path / "instance.json")
    kept = Description.load(tmp_path / "instance.json")
    assert kept.build == "pixeltable"
    assert kept.changed(Wishes(port=20002)).build == "pixeltable"
    assert kept.changed(Wishes(build="embedded")).build == "embedded"


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (Wishes(build="debian"), "there is no build 'debian' of PostgreSQL. Use embedded or pixeltable."),
        (Wishes(build=""), "there is no build '' of PostgreSQL. Use embedded or pixeltable."),
        (
            Wishes(major=16, build="embedded"),
            "the build 'embedded' has no PostgreSQL 16. Use --build pixeltable.",
        ),
        (
            Wishes(build="embedded", pg_config="/opt/pg/bin/pg_config", major=18),
            "the build 'embedded' comes with azpg; /opt/pg/bin/pg_config is that of another PostgreSQL. "
            "Leave out --build, or use another name for an instance without --pg-config.",
        ),
    ],
)
def test_a_build_that_cannot_be(wishes: Wishes, said: str) -> None:
    with pytest.raises(InstanceError) as caught:
        Description.new("one", wishes, os_user="azpg")
    assert str(caught.value) == said


def test_an_instance_with_a_pg_config_has_no_build() -> None:
    brought = Description(name="one", os_user="azpg", pg_config="/opt/pg/bin/pg_config")
    with pytest.raises(InstanceError, match="the build 'pixeltable' comes with azpg; /opt/pg/bin/pg_config"):
        brought.changed(Wishes(build="pixeltable"))
