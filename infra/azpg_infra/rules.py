"""Rules that concern several settings at once, in words.

Each rule names the settings it reads, so that it is left out while one of them is wrong by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from azpg.azure.names import FIREWALL_RULE_NAME, SYSTEM_DATABASES, is_reserved_role
from azpg.azure.passwords import weaknesses
from azpg.azure.skus import STORAGE
from azpg.profiles import LOCAL_AI, PRELOADABLE, offer
from azpg_infra.config import StackConfig

_Check = Callable[[StackConfig], Iterator[str]]
_PARAMETER = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?")
_OWN_KEY = {"azure.extensions": "azpg:extensions", "shared_preload_libraries": "azpg:preloadLibraries"}
_BY_TIER = frozenset({"", "Premium_LRS"})
"""The storage types whose speed depends on their size; the empty one is Azure's default."""
_GUIDE = "`azpg help azure`"


@dataclass(frozen=True, slots=True)
class Rule:
    """A check of several settings.

    Attributes:
        keys: the fields of `StackConfig` it reads; the first one is to blame.
        check: yields what is wrong.
    """

    keys: tuple[str, ...]
    check: _Check


RULES: list[Rule] = []


def _rule(*keys: str) -> Callable[[_Check], _Check]:
    def register(check: _Check) -> _Check:
        RULES.append(Rule(keys, check))
        return check

    return register


OFFER = ("extensions", "profile", "location", "sku")
"""The settings that `not_offered` reads."""


def not_offered(config: StackConfig, real: frozenset[str] | None = None) -> Iterator[str]:
    """What the server does not offer of what is to be allow-listed.

    Args:
        config: the stack's configuration.
        real: what the server itself says it offers, where it could be asked; None asks the profile.
    """
    expected = offer(config.profile, location=config.location, sku=config.sku)
    offered = expected.extensions if real is None else real
    for name in config.extensions:
        if name in offered:
            continue
        if name == LOCAL_AI:
            reason = expected.missing.get(name, "the server does not list it among its allowed values")
            yield (
                f"{name} cannot be had: {reason} (profile {config.profile}). Use azure_ai with Azure OpenAI "
                "embeddings, or the offline twin with profile preview-2024, one of its regions and a "
                f"memory-optimised SKU with at least 4 vCores; {_GUIDE} shows both"
            )
        else:
            whose = f"profile {config.profile}" if real is None else "this server"
            yield f"{name} is not offered by {whose}: use {', '.join(sorted(offered))}"


@_rule("preload_libraries")
def _libraries_are_preloadable(config: StackConfig) -> Iterator[str]:
    for name in config.preload_libraries:
        if name not in PRELOADABLE:
            yield f"{name} cannot be preloaded: use {', '.join(sorted(PRELOADABLE))}"


@_rule("parameters")
def _parameters_have_one_place(config: StackConfig) -> Iterator[str]:
    for name in config.parameters:
        if name in _OWN_KEY:
            yield f"{name} has a key of its own: set {_OWN_KEY[name]}"
        elif not _PARAMETER.fullmatch(name):
            yield f"{name!r} is no server parameter: use a name in lower case, such as work_mem"


@_rule("storage_gb", "storage")
def _the_size_exists(config: StackConfig) -> Iterator[str]:
    if config.storage.type in _BY_TIER and config.storage_gb not in STORAGE:
        yield f"{config.storage_gb} is no size of Premium_LRS: use {', '.join(map(str, STORAGE))}"


@_rule("storage")
def _the_storage_can_do_that(config: StackConfig) -> Iterator[str]:
    storage = config.storage
    if storage.type in _BY_TIER:
        if storage.iops is not None or storage.throughput is not None:
            yield "iops and throughput are chosen with PremiumV2_LRS or UltraSSD_LRS only: leave them out"
        return
    if storage.tier:
        yield f"tier belongs to Premium_LRS: leave it out with {storage.type}"
    if storage.auto_grow:
        yield f"{storage.type} does not grow by itself: set autoGrow to false"


@_rule("high_availability", "sku")
def _high_availability_is_possible(config: StackConfig) -> Iterator[str]:
    if config.high_availability != "Disabled" and config.sku.lower().startswith("standard_b"):
        yield f"{config.sku} is burstable and cannot have a standby: use Disabled, or Standard_E4ds_v5"


@_rule("zones", "high_availability")
def _zones_fit(config: StackConfig) -> Iterator[str]:
    primary, standby = config.zones.primary, config.zones.standby
    if config.high_availability == "Disabled" and standby:
        yield "standby is set, but there is no standby: set azpg:highAvailability, or leave it out"
    if config.high_availability == "ZoneRedundant" and primary and primary == standby:
        yield f"ZoneRedundant needs two zones, and both are {primary}: choose another standby"
    if config.high_availability == "SameZone" and primary and standby and primary != standby:
        yield f"SameZone needs one zone, but {primary} and {standby} are given: leave standby out"


@_rule("encryption", "geo_redundant_backup")
def _every_copy_has_its_key(config: StackConfig) -> Iterator[str]:
    if config.encryption is None:
        return
    has_key = config.encryption.geo_key_uri is not None
    if config.geo_redundant_backup and not has_key:
        yield (
            "geoKeyUri and geoIdentityId are missing: with azpg:geoRedundantBackup the paired region needs "
            "a key of its own"
        )
    if has_key and not config.geo_redundant_backup:
        yield "geoKeyUri is for azpg:geoRedundantBackup, which is false: leave it out, or set that to true"


@_rule("databases")
def _databases_are_new(config: StackConfig) -> Iterator[str]:
    for name in config.databases:
        if name in SYSTEM_DATABASES:
            yield f"{name} is there on every server: leave it out"
    for name in sorted({name for name in config.databases if config.databases.count(name) > 1}):
        yield f"{name} is there twice: name each database once"


@_rule("password_auth", "entra_auth", "entra_admins")
def _somebody_may_connect(config: StackConfig) -> Iterator[str]:
    if config.password_auth:
        return
    if not config.entra_auth:
        yield "false, and azpg:entraAuth too, so that nobody could connect: set one to true"
    elif not config.entra_admins:
        yield "false, and there are no azpg:entraAdmins, so that nobody could connect: name one"


@_rule("entra_admins", "entra_auth")
def _admins_are_distinct(config: StackConfig) -> Iterator[str]:
    if config.entra_admins and not config.entra_auth:
        yield "are named, but azpg:entraAuth is false: set it to true, or leave the admins out"
    ids = [admin.object_id for admin in config.entra_admins]
    for object_id in sorted({each for each in ids if ids.count(each) > 1}):
        yield f"{object_id} is there twice: name each principal once"


@_rule("admin_user", "password_auth")
def _the_admin_may_be_called_so(config: StackConfig) -> Iterator[str]:
    if config.password_auth and is_reserved_role(config.admin_user):
        yield f"{config.admin_user!r} is reserved by Azure or PostgreSQL: use another name, such as pgadmin"


@_rule("admin_password", "password_auth", "admin_user")
def _the_password_is_good(config: StackConfig) -> Iterator[str]:
    """What Azure wants of it, so that it is not found out after minutes; the value is never repeated."""
    if not config.password_auth:
        return
    if config.admin_password is None:
        yield (
            "is missing while passwordAuth is true: run `pulumi config set --secret azpg:adminPassword`, or "
            "set azpg:passwordAuth to false and name azpg:entraAdmins"
        )
        return
    yield from weaknesses(config.admin_password.get_secret_value(), config.admin_user)


@_rule("firewall_rules", "network_mode")
def _rules_only_where_they_count(config: StackConfig) -> Iterator[str]:
    if config.firewall_rules and config.network_mode != "public":
        yield (
            f"firewall rules have no effect with networkMode {config.network_mode}: leave them out, or set "
            "azpg:networkMode to public"
        )
    for name in config.firewall_rules:
        if not re.fullmatch(FIREWALL_RULE_NAME, name):
            yield f"{name!r} cannot be a rule's name: use 1 to 128 letters, digits, hyphens and underscores"


@_rule("ai_public_access", "network_mode", "ai_kind")
def _the_server_reaches_its_models(config: StackConfig) -> Iterator[str]:
    if not config.ai_public_access and config.ai_kind != "none" and config.network_mode != "vnet":
        yield (
            f"false needs networkMode vnet: with {config.network_mode} the server has no way to a private AI "
            "account. Set azpg:networkMode to vnet, or leave azpg:aiPublicAccess true"
        )


@_rule("ai_deployments", "ai_kind")
def _deployments_are_distinct(config: StackConfig) -> Iterator[str]:
    names = [deployment.name for deployment in config.ai_deployments]
    for name in sorted({each for each in names if names.count(each) > 1}):
        yield f"{name} is there twice: give each deployment a name of its own"


@_rule("log_workspace_id", "diagnostics")
def _logs_have_a_place(config: StackConfig) -> Iterator[str]:
    if config.log_workspace_id and not config.diagnostics:
        yield "is set while azpg:diagnostics is false: set that to true, or leave the workspace out"
