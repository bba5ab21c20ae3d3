"""The properties of a flexible server: what Azure fills in, and what it refuses."""

from __future__ import annotations

from azpg.azure.limits import BACKUP_DAYS, PREMIUM_V2_GB
from azpg.azure.passwords import weaknesses
from azpg.azure.skus import SIZES, STORAGE, TIERS
from azpg.errors import UsageError
from azpg.profiles import offer
from azpg_runtime.arm.postgres.refusals import invalid, not_in_twin
from azpg_runtime.arm.state import Json, Resource
from azpg_runtime.errors import ArmRefusal
from azpg_runtime.postgres.bundled import DEFAULT_MAJOR, MAJORS
from azpg_runtime.postgres.roles import check_admin_name

_FRESH = {None, "Default", "Create", "Update"}


def fill(properties: Json) -> None:
    """Fills in what a request left open."""
    properties.setdefault("version", str(DEFAULT_MAJOR))
    storage = properties.setdefault("storage", {})
    size = storage.setdefault("storageSizeGB", 128)
    storage.setdefault("autoGrow", "Disabled")
    storage.setdefault("type", "Premium_LRS")
    if storage["type"] == "Premium_LRS" and size in STORAGE:
        storage.setdefault("tier", STORAGE[size][0])
        storage["iops"] = dict(STORAGE.values()).get(storage["tier"], STORAGE[size][1])
    backup = properties.setdefault("backup", {})
    backup.setdefault("backupRetentionDays", 7)
    backup.setdefault("geoRedundantBackup", "Disabled")
    availability = properties.setdefault("highAvailability", {})
    availability.setdefault("mode", "Disabled")
    availability["state"] = "NotEnabled" if availability["mode"] == "Disabled" else "Healthy"
    authentication = properties.setdefault("authConfig", {})
    authentication.setdefault("activeDirectoryAuth", "Disabled")
    authentication.setdefault("passwordAuth", "Enabled")
    network = properties.setdefault("network", {})
    injected = bool(network.get("delegatedSubnetResourceId"))
    network.setdefault("publicNetworkAccess", "Disabled" if injected else "Enabled")
    properties.setdefault("dataEncryption", {"type": "SystemManaged"})
    properties.setdefault(
        "maintenanceWindow", {"customWindow": "Disabled", "dayOfWeek": 0, "startHour": 0, "startMinute": 0}
    )
    if not properties.get("availabilityZone"):
        properties["availabilityZone"] = "1"
    properties.setdefault("replicationRole", "Primary")
    properties["replica"] = {"role": "Primary", "capacity": 5}
    properties["replicaCapacity"] = 5
    properties.setdefault("privateEndpointConnections", [])


def check(resource: Resource, profile: str) -> None:
    """What is wrong with a server whatever it was before. Raises `ArmRefusal`."""
    properties = resource.properties
    _check_compute(resource.body.get("sku"), properties)
    if properties["version"] not in {str(one) for one in MAJORS}:
        raise invalid("version", f"This machine can run PostgreSQL {' and '.join(map(str, MAJORS))}.")
    _check_storage(properties["storage"])
    days = properties["backup"]["backupRetentionDays"]
    if days not in BACKUP_DAYS:
        raise invalid("backupRetentionDays", f"{days} is not from {BACKUP_DAYS[0]} to {BACKUP_DAYS[-1]}.")
    if {properties["authConfig"]["passwordAuth"], properties["authConfig"]["activeDirectoryAuth"]} == {
        "Disabled"
    }:
        raise invalid("authConfig", "At least one of passwordAuth and activeDirectoryAuth must be Enabled.")
    try:
        offer(profile, location=resource.body["location"], sku=resource.body["sku"]["name"])
    except UsageError as error:
        raise ArmRefusal(400, "LocationNotAvailableForResourceType", f"{error}.") from None


def check_mode(mode: str | None) -> None:
    """Raises `ArmRefusal` for a way to make a server that the twin has not."""
    if mode not in _FRESH:
        raise not_in_twin(f"createMode {mode}")


def check_admin(properties: Json, password: str | None) -> None:
    """Raises `ArmRefusal` for a new server's admin and password that Azure would not take."""
    if properties["authConfig"]["passwordAuth"] == "Disabled":
        return
    login = properties.get("administratorLogin")
    if not login:
        raise invalid("administratorLogin", "It is required where passwordAuth is Enabled.")
    try:
        check_admin_name(login)
    except UsageError as error:
        raise invalid("administratorLogin", f"{error}.") from None
    if password is None:
        raise invalid("administratorLoginPassword", "It is required where passwordAuth is Enabled.")


def check_password(login: str | None, password: str) -> None:
    """Raises `ArmRefusal` for a password that is too weak."""
    if found := list(weaknesses(password, login)):
        raise ArmRefusal(
            400, "PasswordNotComplex", f"Password validation failed. The password {'; it '.join(found)}."
        )
    if any(ord(character) < 32 for character in password):
        raise invalid("administratorLoginPassword", "It has control characters.")


def check_change(old: Resource, new: Resource) -> None:
    """What a server cannot become. Raises `ArmRefusal`."""
    before, after = old.properties, new.properties
    if before["version"] != after["version"]:
        if int(after["version"]) < int(before["version"]):
            raise invalid("version", f"A server of PostgreSQL {before['version']} cannot go back.")
        raise not_in_twin("An upgrade to another major version")
    if after["storage"]["storageSizeGB"] < before["storage"]["storageSizeGB"]:
        raise invalid("storageSizeGB", f"Storage cannot shrink from {before['storage']['storageSizeGB']}.")
    for part, name in (
        (None, "administratorLogin"),
        ("network", "delegatedSubnetResourceId"),
        ("backup", "geoRedundantBackup"),
    ):
        was, is_ = ((one[part] if part else one).get(name) for one in (before, after))
        if was and was != is_:
            raise invalid(name, f"It is {was!r} for the life of the server.")


def _check_compute(sku: Json | None, properties: Json) -> None:
    if sku is None:
        raise invalid(
            "sku", "A server needs a name and a tier, such as Standard_E4ds_v5 and MemoryOptimized."
        )
    size = SIZES.get(sku["name"].lower())
    if size is None:
        names = sorted(one.name for one in SIZES.values() if one.tier == sku["tier"])
        raise invalid("sku.name", f"'{sku['name']}' is none of {', '.join(names)}.")
    if size.tier != sku["tier"]:
        raise invalid("sku.tier", f"{size.name} is of the tier {size.tier}. There are {', '.join(TIERS)}.")
    sku["name"] = size.name
    if size.tier == "Burstable" and properties["highAvailability"]["mode"] != "Disabled":
        raise invalid("highAvailability.mode", "Burstable servers have no high availability.")


def _check_storage(storage: Json) -> None:
    size = storage["storageSizeGB"]
    if storage["type"] == "Premium_LRS":
        if size not in STORAGE:
            raise invalid("storageSizeGB", f"{size} is none of {', '.join(map(str, STORAGE))}.")
    elif size not in PREMIUM_V2_GB:
        raise invalid("storageSizeGB", f"{size} is not from {PREMIUM_V2_GB[0]} to {PREMIUM_V2_GB[-1]}.")
