"""Availability profiles: which extensions a server offers, depending on when, where and on what it runs.

``preview-2024`` is the time in which azure_local_ai could be had; ``azure-2026`` is what Azure offers now.
Sources: the Flexible Server documentation of 2024-12-08 for the regions and the SKU rule, the allowed
values of 2026-05 for the second profile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from azpg.azure.regions import short_name
from azpg.errors import UsageError

PREVIEW_REGIONS = frozenset(
    {"australiaeast", "eastus", "francecentral", "japaneast", "uksouth", "westeurope", "westus"}
)
LOCAL_AI = "azure_local_ai"
DEFAULT_PRELOAD = ("pg_cron", "pg_stat_statements")
"""What `shared_preload_libraries` holds on a new server."""
PRELOADABLE = frozenset(
    """
    age anon auto_explain azure_storage pg_cron pg_duckdb pg_failover_slots pg_hint_plan pg_partman_bgw
    pg_prewarm pg_squeeze pg_stat_statements pgaudit pglogical timescaledb wal2json
    """.split()
)
"""The allowed values of `shared_preload_libraries`."""
NEEDS_PRELOAD = frozenset(
    "age azure_storage pg_cron pg_squeeze pg_stat_statements pgaudit pglogical timescaledb".split()
)
"""The extensions that do not work unless the library of the same name is preloaded."""
_SKU = re.compile(r"standard_(?P<family>[bde])(?P<cores>\d+)[a-z]*(_v\d+)?", re.IGNORECASE | re.ASCII)
_REGION = re.compile(r"[a-z][a-z0-9]*")
_TIERS = {"b": "Burstable", "d": "GeneralPurpose", "e": "MemoryOptimized"}

COMMON = frozenset(
    """
    address_standardizer address_standardizer_data_us age amcheck azure_ai azure_storage bloom btree_gin
    btree_gist citext cube dblink dict_int dict_xsyn earthdistance fuzzystrmatch hll hstore hypopg intagg
    intarray isn lo login_hook ltree orafce pageinspect pg_buffercache pg_cron pg_diskann pg_freespacemap
    pg_hint_plan pg_partman pg_prewarm pg_repack pg_squeeze pg_stat_statements pg_trgm pg_visibility pgaudit
    pgcrypto pglogical pgrouting pgrowlocks pgstattuple plpgsql plv8 postgis postgis_raster postgis_sfcgal
    postgis_tiger_geocoder postgis_topology postgres_fdw semver session_variable sslinfo tablefunc tds_fdw
    timescaledb tsm_system_rows tsm_system_time unaccent uuid-ossp vector
    """.split()
)


@dataclass(frozen=True, slots=True)
class Sku:
    """A compute size such as Standard_E4ds_v5."""

    name: str
    tier: str
    cores: int

    @classmethod
    def parse(cls, name: str) -> Sku:
        """Raises `UsageError` for what is no Flexible Server SKU."""
        match = _SKU.fullmatch(name)
        if match is None:
            raise UsageError(
                f"{name!r} is no Flexible Server SKU: use a name such as Standard_E4ds_v5, "
                "Standard_D4ds_v5 or Standard_B2s"
            )
        return cls(name, _TIERS[match["family"].lower()], int(match["cores"]))


@dataclass(frozen=True, slots=True)
class Offer:
    """What one server offers.

    Attributes:
        extensions: the allowed values of `azure.extensions`.
        missing: for names that people look for and this server lacks, why.
    """

    extensions: frozenset[str]
    missing: dict[str, str]


def offer(profile: str, *, location: str, sku: str, created_newly: bool = True) -> Offer:
    """What a server offers.

    Args:
        profile: `preview-2024` or `azure-2026`.
        location: a region, such as eastus or "East US".
        sku: a compute size, such as Standard_E4ds_v5.
        created_newly: whether the server was made after the preview of azure_local_ai had begun.

    Raises `UsageError` for an unknown profile or SKU, or no region.
    """
    size = Sku.parse(sku)
    region = short_name(location)
    if not _REGION.fullmatch(region):
        raise UsageError(f"{location!r} is no Azure region: use a name such as eastus or West Europe")
    match profile:
        case "preview-2024":
            reason = _preview_reason(region, size, created_newly=created_newly)
        case "azure-2026":
            reason = "azure_local_ai was retired on 2025-03-21"
        case _:
            raise UsageError(f"profile {profile!r} is unknown: use preview-2024 or azure-2026")
    if reason:
        return Offer(COMMON, {LOCAL_AI: reason})
    return Offer(COMMON | {LOCAL_AI}, {})


def _preview_reason(region: str, sku: Sku, *, created_newly: bool) -> str:
    if not created_newly:
        return "only servers made after the preview began had it"
    if region not in PREVIEW_REGIONS:
        return f"the region {region} was not in the preview; {', '.join(sorted(PREVIEW_REGIONS))} were"
    if sku.tier != "MemoryOptimized" or sku.cores < 4:
        return f"{sku.name} is not a memory-optimised SKU with at least 4 vCores, such as Standard_E4ds_v5"
    return ""
