"""What flexible servers can be in a region: sizes, versions, quotas, free names."""

from __future__ import annotations

import re

from azure.mgmt.postgresqlflexibleservers import models

from azpg.azure.names import SERVER_NAME
from azpg.azure.regions import REGIONS, short_name
from azpg.azure.resource_ids import SERVER_TYPE
from azpg.azure.skus import SIZES, STORAGE, TIERS, Size
from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.kinds.kind import no_region
from azpg_runtime.arm.postgres import refusals
from azpg_runtime.arm.postgres.servers import Servers
from azpg_runtime.arm.schema.document import check
from azpg_runtime.arm.services import not_found
from azpg_runtime.arm.state import Json
from azpg_runtime.postgres.bundled import DEFAULT_MAJOR, MAJORS

_DEFAULT_SIZES = {
    "Burstable": "Standard_B1ms",
    "GeneralPurpose": "Standard_D4ds_v5",
    "MemoryOptimized": "Standard_E4ds_v5",
}
_QUOTA = 350


class Capabilities:
    """Everything about flexible servers that is no resource."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def of_location(self, call: Call) -> Answer:
        """What a region offers."""
        _region(call)
        return listed([_capabilities()])

    def of_server(self, call: Call) -> Answer:
        """What a server could become."""
        assert call.address.parent is not None
        if self._servers.find(call.address.parent) is None:
            raise not_found(call.address.parent)
        return listed([_capabilities()])

    def check_name(self, call: Call) -> Answer:
        """Whether a server may have a name."""
        wanted = check(models.CheckNameAvailabilityRequest, call.body, "create")
        name, type_ = wanted.get("name", ""), wanted.get("type", SERVER_TYPE)
        if type_.lower() != SERVER_TYPE.lower():
            raise refusals.invalid("type", f"'{type_}' is not {SERVER_TYPE}.")
        found: Json = {"name": name, "type": type_, "nameAvailable": True, "reason": None, "message": ""}
        if not re.fullmatch(SERVER_NAME, name):
            found |= {
                "nameAvailable": False,
                "reason": "Invalid",
                "message": "Use 3 to 63 lower-case letters, digits and hyphens, not a hyphen first or last.",
            }
        elif self._servers.is_taken(name):
            found |= {
                "nameAvailable": False,
                "reason": "AlreadyExists",
                "message": "Specified server name is already used.",
            }
        return Answer(body=found)

    def usages(self, call: Call) -> Answer:
        """How many vCores of each family are in use, of how many."""
        region = _region(call)
        used: dict[str, int] = {}
        for one in self._servers.every():
            if short_name(one.body["location"]) == region:
                size = SIZES[one.body["sku"]["name"].lower()]
                used[_family(size)] = used.get(_family(size), 0) + size.cores
        families = dict.fromkeys(_family(size) for size in SIZES.values())
        return listed(
            [
                {
                    "name": {"value": family, "localizedValue": family},
                    "limit": _QUOTA,
                    "currentValue": used.get(family, 0),
                    "unit": "Count",
                    "id": f"{call.address}/{family}",
                }
                for family in families
            ]
        )

    def zone_suffix(self, call: Call) -> Answer:
        """How the private DNS zone of an injected server ends."""
        return Answer(body="private.postgres.database.azure.com")

    def subnet_usage(self, call: Call) -> Answer:
        """Which subnets of a network servers are in."""
        wanted = check(models.VirtualNetworkSubnetUsageParameter, call.body, "create")
        network = str(wanted.get("virtualNetworkArmResourceId", "")).lower()
        counts: dict[str, int] = {}
        for one in self._servers.every():
            subnet = str(one.properties["network"].get("delegatedSubnetResourceId", ""))
            if network and subnet.lower().startswith(f"{network}/subnets/"):
                name = subnet.rsplit("/", 1)[-1]
                counts[name] = counts.get(name, 0) + 1
        usages = [{"subnetName": name, "usage": count} for name, count in sorted(counts.items())]
        subscription = call.address.subscription
        return Answer(
            body={
                "delegatedSubnetsUsage": usages,
                "location": call.address.names[0],
                "subscriptionId": subscription,
            }
        )


def _region(call: Call) -> str:
    region = short_name(call.address.names[0])
    if region not in REGIONS:
        raise no_region(call.address.names[0], f"resource type '{SERVER_TYPE}'")
    return region


def _family(size: Size) -> str:
    """Such as standardEDSv5Family."""
    match = re.fullmatch(r"Standard_([A-Z])\d+([a-z]*)(?:_(v\d))?", size.name)
    assert match is not None
    return f"standard{match[1]}{match[2].upper()}{match[3] or ''}Family"


def _capabilities() -> Json:
    return {
        "name": "FlexibleServerCapabilities",
        "supportedServerEditions": [_edition(tier) for tier in TIERS],
        "supportedServerVersions": [
            {
                "name": str(major),
                "supportedVersionsToUpgrade": [],
                "status": "Default" if major == DEFAULT_MAJOR else "Available",
            }
            for major in MAJORS
        ],
        "supportedFeatures": [
            {"name": "ZoneRedundantHa", "status": "Enabled"},
            {"name": "GeoBackup", "status": "Enabled"},
            {"name": "StorageAutoGrowth", "status": "Enabled"},
        ],
        "fastProvisioningSupported": "Disabled",
        "geoBackupSupported": "Enabled",
        "zoneRedundantHaSupported": "Enabled",
        "zoneRedundantHaAndGeoBackupSupported": "Enabled",
        "storageAutoGrowthSupported": "Enabled",
        "onlineResizeSupported": "Enabled",
        "restricted": "Disabled",
    }


def _edition(tier: str) -> Json:
    return {
        "name": tier,
        "defaultSkuName": _DEFAULT_SIZES[tier],
        "supportedStorageEditions": [
            {
                "name": "ManagedDisk",
                "defaultStorageSizeMb": 131072,
                "supportedStorageMb": [
                    {
                        "storageSizeMb": size * 1024,
                        "supportedIops": iops,
                        "defaultIopsTier": name,
                        "supportedIopsTiers": [{"name": name, "iops": iops}],
                    }
                    for size, (name, iops) in STORAGE.items()
                ],
            }
        ],
        "supportedServerSkus": [
            {
                "name": size.name,
                "vCores": size.cores,
                "supportedIops": 0,
                "supportedMemoryPerVcoreMb": size.memory,
                "supportedZones": ["1", "2", "3"],
                "supportedHaMode": [] if tier == "Burstable" else ["SameZone", "ZoneRedundant"],
                "supportedFeatures": [],
                "status": "Available",
            }
            for size in SIZES.values()
            if size.tier == tier
        ],
    }
