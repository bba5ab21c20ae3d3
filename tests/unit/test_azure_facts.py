"""Facts about Azure, each of which stands in one place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from azpg.azure.busy import BUSY, TEMPORARY
from azpg.azure.names import CLOSED_DATABASES, FIREWALL_RULE_NAME, SERVER_NAME, is_reserved_role
from azpg.azure.passwords import weaknesses
from azpg.azure.regions import REGIONS, check_region, display_name, nearest
from azpg.azure.resource_ids import ResourceId, ServerId, is_resource_id
from azpg.azure.skus import SIZES, STORAGE
from azpg.errors import UsageError
from azpg.profiles import PREVIEW_REGIONS, Sku

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "azpg").rglob("*.py"), *(ROOT / "infra").rglob("*.py")]
SOURCES += [*(ROOT / "provision").rglob("*.py"), *(ROOT / "runtime").rglob("*.py")]
GROUP = "/subscriptions/0f0e0d0c-0b0a-0908-0706-050403020100/resourceGroups/g"


# Regions


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_is_the_same_however_it_is_written(name: str) -> None:
    shown = display_name(name)
    assert check_region(shown) == check_region(name) == check_region(shown.upper()) == name
    assert display_name(shown) == shown


def test_regions_of_both_kinds_of_servers_are_known() -> None:
    assert set(REGIONS) >= PREVIEW_REGIONS
    assert len(REGIONS) == 72
    assert not any("  " in shown or ";" in shown for shown in REGIONS.values())


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("easteurope", "westeurope"),
        ("East Europe", "westeurope"),
        ("useast", "eastus"),
        ("us-east-2", "eastus2"),
        ("europe-west", "westeurope"),
        ("northereurope", "northeurope"),
        ("swedencentrl", "swedencentral"),
        ("eastus4", "eastus"),
    ],
)
def test_what_is_no_region_may_mean_one(wrong: str, meant: str) -> None:
    assert nearest(wrong) == meant
    with pytest.raises(UsageError) as caught:
        check_region(wrong)
    assert str(caught.value) == f"{wrong!r} is no Azure region: did you mean {meant}?"


@pytest.mark.parametrize("wrong", ["", "atlantis!", "xx"])
def test_what_is_like_no_region_is_told_what_one_looks_like(wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_region(wrong)
    assert str(caught.value) == f"{wrong!r} is no Azure region: use a name such as eastus or West Europe"


@given(st.text())
def test_any_text_is_a_region_or_refused(text: str) -> None:
    try:
        assert check_region(text) in REGIONS
    except UsageError:
        assert nearest(text) is None or nearest(text) in REGIONS


# Sizes


def test_sizes_are_skus_of_their_tier() -> None:
    for size in SIZES.values():
        sku = Sku.parse(size.name)
        assert (sku.tier, sku.cores) == (size.tier, size.cores)
    assert sorted(STORAGE) == list(STORAGE)


# Names


@pytest.mark.parametrize("name", ["admin", "Admin", "ROOT", "azure_pg_admin", "azuresu", "pg_x", "PG_x"])
def test_names_that_no_admin_has(name: str) -> None:
    assert is_reserved_role(name)


@pytest.mark.parametrize("name", ["postgres", "pgadmin", "boss", "administrators"])
def test_names_that_an_admin_may_have(name: str) -> None:
    assert not is_reserved_role(name)


def test_people_may_work_in_postgres() -> None:
    assert "postgres" not in CLOSED_DATABASES


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (SERVER_NAME, ["abc", "a-1", "a" * 63], ["ab", "-ab", "ab-", "Abc", "a" * 64, "a_b"]),
        (FIREWALL_RULE_NAME, ["a", "A-_1", "a" * 128], ["", "a.b", "a" * 129]),
    ],
)
def test_names_by_pattern(pattern: str, right: list[str], wrong: list[str]) -> None:
    assert all(re.fullmatch(pattern, name) for name in right)
    assert not any(re.fullmatch(pattern, name) for name in wrong)


# Passwords


@pytest.mark.parametrize(
    ("password", "found"),
    [
        ("Correct-Horse-7", []),
        ("Ab1!", ["has the wrong length"]),
        ("Ab1!" * 33, ["has the wrong length"]),
        ("password", ["is too simple"]),
        ("Boss-is-1", ["holds the admin's name"]),
        ("boss", ["has the wrong length", "is too simple", "holds the admin's name"]),
    ],
)
def test_passwords(password: str, found: list[str]) -> None:
    said = list(weaknesses(password, "boss"))
    assert [any(one.startswith(start) for one in said) for start in found] == [True] * len(found)
    assert len(said) == len(found)


@given(st.text(min_size=4))
def test_no_password_is_in_what_is_said_of_it(password: str) -> None:
    if password not in " ".join(weaknesses("", "")) + " ".join(weaknesses("xx", "x")):
        assert password not in " ".join(weaknesses(password, password))


# Codes


def test_busy_is_temporary() -> None:
    assert set(BUSY) < set(TEMPORARY)


# Resource ids


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (f"{GROUP}/providers/Microsoft.X/things/t", True),
        (f"{GROUP}/providers/Microsoft.X/things/t/parts/p", True),
        (f"{GROUP.upper()}/PROVIDERS/Microsoft.X/things/t", True),
        (f"{GROUP}/providers/Microsoft.X/things/t/providers/Microsoft.Y/locks/l", True),
        (GROUP, False),
        (f"{GROUP}/providers/Microsoft.X", False),
        (f"{GROUP}/providers/Microsoft.X/things", False),
        (f"{GROUP}/providers/Microsoft.X/things/t/", False),
        (f"{GROUP}//providers/Microsoft.X/things/t", False),
        (f"{GROUP}/providers/Microsoft.X/things/t"[1:], False),
        ("/subscriptions/s/providers/Microsoft.X/things/t", False),
        ("me", False),
        ("", False),
    ],
)
def test_ids_of_resources(text: str, right: bool) -> None:
    assert is_resource_id(text) is right


@given(st.text(alphabet="/ab", max_size=12) | st.text())
@example("//")
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        found = ResourceId.parse(text)
    except UsageError as error:
        assert "has an empty segment" in str(error)  # noqa: PT017
    else:
        assert ResourceId.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        GROUP,
        f"{GROUP}/providers/Microsoft.DBforPostgreSQL/flexibleServers",
        f"{GROUP}/providers/Microsoft.DBforPostgreSQL/flexibleServers/s",
        f"{GROUP}/providers/Microsoft.DBforPostgreSQL/flexibleServers/shop/databases/d",
        f"{GROUP}/providers/Microsoft.DBforPostgreSQL/flexibleServers/shop".replace("0f0e", "xyz"),
        f"{GROUP}/x/y/providers/Microsoft.DBforPostgreSQL/flexibleServers/shop",
        f"{GROUP}/providers/Microsoft.X/a/b/providers/Microsoft.DBforPostgreSQL/flexibleServers/shop",
        f"{GROUP}/providers/Microsoft.DBforPostgreSQL/flexibleServers/shop"[1:],
    ],
)
def test_ids_that_are_no_servers(text: str) -> None:
    with pytest.raises(UsageError, match="is no flexible server's resource id: use /subscriptions/ID/"):
        ServerId.parse(text)


# Once


@pytest.mark.parametrize(
    "fact",
    [
        "azure_superuser",
        "azure_sys",
        "16384, 32767",
        "16384:",
        '"ServerBusy"',
        "PrincipalNotFound",
        "of lower case, upper case",
        "[a-z0-9][a-z0-9-]{1,61}",
        'replace(" ", "").lower()',
    ],
)
def test_a_fact_stands_in_one_place(fact: str) -> None:
    found = [str(path.relative_to(ROOT)) for path in SOURCES if fact in path.read_text()]
    allowed = [path for path in found if not path.startswith("azpg/azure/")]
    assert len(found) <= 1, found
    assert not allowed, allowed
