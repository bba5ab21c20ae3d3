"""What a server offers, depending on when, where and on what it runs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg.errors import UsageError
from azpg.profiles import COMMON, LOCAL_AI, PREVIEW_REGIONS, Sku, offer

E4 = "Standard_E4ds_v5"
REASON_SKU = "is not a memory-optimised SKU with at least 4 vCores, such as Standard_E4ds_v5"


@pytest.mark.parametrize(
    ("name", "tier", "cores"),
    [
        ("Standard_B1ms", "Burstable", 1),
        ("Standard_B20ms", "Burstable", 20),
        ("Standard_D2s_v3", "GeneralPurpose", 2),
        ("Standard_D4ads_v5", "GeneralPurpose", 4),
        ("Standard_E4ds_v5", "MemoryOptimized", 4),
        ("standard_e96DS_V5", "MemoryOptimized", 96),
    ],
)
def test_sku(name: str, tier: str, cores: int) -> None:
    assert Sku.parse(name) == Sku(name, tier, cores)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "E4ds_v5",
        "Standard_",
        "Standard_Eds_v5",
        "Standard_F4s",
        "Standard_E4ds_v",
        " Standard_E4",
        "Standard_E4\n",
        "Standard_E٤ds_v5",
        "\u017ftandard_E4ds_v5",  # which upper-cases to an S
    ],
)
def test_what_is_no_sku(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        Sku.parse(name)
    assert str(caught.value) == (
        f"{name!r} is no Flexible Server SKU: use a name such as Standard_E4ds_v5, Standard_D4ds_v5 or Standard_B2s"
    )
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError):
        offer("azure-2026", location="eastus", sku=name)


@settings(deadline=None)
@given(
    name=st.text(max_size=30)
    | st.from_regex(r"(?i)standard_[bdef]\d{1,6}[a-z]{0,3}(_v\d{1,2})?", fullmatch=True)
)
def test_any_name_is_a_sku_or_a_usage_error(name: str) -> None:
    try:
        sku = Sku.parse(name)
    except UsageError:
        return
    assert sku.name == name
    assert sku.tier in {"Burstable", "GeneralPurpose", "MemoryOptimized"}
    assert str(sku.cores) in name or name.find("0") >= 0


@pytest.mark.parametrize("region", sorted(PREVIEW_REGIONS))
def test_the_preview_had_it_in_seven_regions(region: str) -> None:
    offered = offer("preview-2024", location=region, sku=E4)
    assert offered.extensions == COMMON | {LOCAL_AI}
    assert offered.missing == {}
    assert len(PREVIEW_REGIONS) == 7


@pytest.mark.parametrize("written", ["East US", "EASTUS", "east us"])
def test_a_region_may_be_written_as_the_portal_does(written: str) -> None:
    assert LOCAL_AI in offer("preview-2024", location=written, sku=E4).extensions


@pytest.mark.parametrize(
    "location", ["", " ", "\t", "caf\udce9", "éast", "east-us", "[red]", "1", "eastus\n"]
)
@pytest.mark.parametrize("profile", ["preview-2024", "azure-2026"])
def test_what_is_no_region(profile: str, location: str) -> None:
    with pytest.raises(UsageError) as caught:
        offer(profile, location=location, sku=E4)
    assert str(caught.value) == (f"{location!r} is no Azure region: use a name such as eastus or West Europe")


def test_other_regions_lack_it_and_say_why() -> None:
    offered = offer("preview-2024", location="North Europe", sku=E4)
    assert offered.extensions == COMMON
    assert offered.missing == {
        LOCAL_AI: "the region northeurope was not in the preview; australiaeast, eastus, francecentral, japaneast, "
        "uksouth, westeurope, westus were"
    }


@pytest.mark.parametrize("sku", ["Standard_E2ds_v5", "Standard_D8ds_v5", "Standard_B20ms"])
def test_smaller_or_other_servers_lack_it_and_say_why(sku: str) -> None:
    offered = offer("preview-2024", location="eastus", sku=sku)
    assert offered.extensions == COMMON
    assert offered.missing == {LOCAL_AI: f"{sku} {REASON_SKU}"}


@pytest.mark.parametrize("region", ["eastus", "northeurope"])
def test_since_its_retirement_no_server_has_it(region: str) -> None:
    offered = offer("azure-2026", location=region, sku=E4)
    assert offered.extensions == COMMON
    assert offered.missing == {LOCAL_AI: "azure_local_ai was retired on 2025-03-21"}


@pytest.mark.parametrize("profile", ["", "preview", "PREVIEW-2024"])
def test_unknown_profiles(profile: str) -> None:
    with pytest.raises(UsageError) as caught:
        offer(profile, location="eastus", sku=E4)
    assert str(caught.value) == f"profile {profile!r} is unknown: use preview-2024 or azure-2026"


def test_what_every_server_offers() -> None:
    assert {"vector", "azure_ai", "pg_diskann", "plpgsql", "uuid-ossp"} <= COMMON
    assert LOCAL_AI not in COMMON
    assert all(name == name.strip().lower() for name in COMMON)
