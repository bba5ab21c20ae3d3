"""The server itself: whether it is there, where, how large, which PostgreSQL."""

from __future__ import annotations

import re

from azpg.azure.regions import is_known, nearest
from azpg.profiles import LOCAL_AI, PREVIEW_REGIONS
from azpg_provision.preflight.check import Check, Looks, failed, passed, unknown
from azpg_provision.preflight.needs import Needs
from azpg_provision.preflight.site import NotKnown, Site

_OLDEST = 15
"""The oldest major version that azpg is tested with."""
_OFF = "Disabled"


def looks(site: Site, needs: Needs) -> Looks:
    """The checks."""
    yield "server", lambda: _server(site)
    yield "region", lambda: _region(site, needs)
    yield "sku", lambda: _sku(site, needs)
    yield "version", lambda: _version(site)
    yield "quota", lambda: _quota(site)


def _server(site: Site) -> Check:
    if site.unreadable is not None:
        return failed("server", site.unreadable, "Name another server, or mend what stands in the way.")
    facts = site.facts
    if not facts.is_up:
        how = ""
        if site.local is not None:
            how = f"`azpg up {site.local.twin.name}`"
        elif site.azure is not None:
            how = f"`az postgres flexible-server start --ids {site.azure.id}`, or wait until it is Ready"
        return failed("server", f"{site.target.name} is {facts.state}.", f"Start it: {how}.")
    return passed("server", f"{site.target.name} is {facts.state}.")


def _region(site: Site, needs: Needs) -> Check:
    region = site.facts.location
    wants_preview = LOCAL_AI in needs.extensions and region not in PREVIEW_REGIONS
    if site.azure is None:
        if not is_known(region):
            return _no_region(region)
        if wants_preview:
            return _not_in_preview(region)
        return passed("region", f"The local server stands in for one in {region}.")
    if _word(site.capabilities.restricted) == "Enabled":
        return failed(
            "region",
            f"{region} is closed for this subscription.",
            "Ask Azure's support for access to the region, or choose another one.",
        )
    if wants_preview:
        return _not_in_preview(region)
    return passed("region", f"{region} offers flexible servers to this subscription.")


def _no_region(region: str) -> Check:
    near = nearest(region)
    meant = f"Did you mean {near}? " if near else ""
    return failed(
        "region",
        f"{region} is no region of Azure: no server could be there.",
        f"{meant}Start the local server with another: `azpg up NAME --location {near or 'eastus'}`.",
    )


def _not_in_preview(region: str) -> Check:
    return failed(
        "region",
        f"azure_local_ai was never offered in {region}.",
        f"Choose one of {', '.join(sorted(PREVIEW_REGIONS))}, or embed with azure_ai.",
    )


def _sku(site: Site, needs: Needs) -> Check:
    name = site.facts.sku
    if LOCAL_AI in needs.extensions and not site.suits_local_ai():
        return failed(
            "sku",
            f"azure_local_ai needs a memory-optimised size with at least 4 vCores; the server is {name}.",
            "Scale it to Standard_E4ds_v5 or larger (azpg:sku), or embed with azure_ai.",
        )
    if site.azure is None:
        return passed("sku", f"The local server stands in for {name}.")
    offered = {
        str(sku.name).lower(): (str(edition.name), sku)
        for edition in site.capabilities.supported_server_editions or []
        for sku in edition.supported_server_skus or []
    }
    tier, found = offered.get(name.lower(), ("", None))
    if found is None or _word(found.status) == _OFF:
        why = f": {found.reason}" if found is not None and found.reason else ""
        return unknown(
            "sku",
            f"{name} is no longer offered in {site.facts.location}{why}; the server goes on with it.",
            "Another size can be chosen with azpg:sku.",
        )
    return passed("sku", f"{name}: {tier}, {found.v_cores} vCores.")


def _version(site: Site) -> Check:
    if site.target.kind == "dsn":
        major = site.session().info.server_version // 10_000
        if major < _OLDEST:
            return unknown(
                "version",
                f"PostgreSQL {major} is older than what azpg is tested with.",
                f"Use PostgreSQL {_OLDEST} or newer.",
            )
        return passed("version", f"PostgreSQL {major}.")
    version = site.facts.version
    if site.azure is None:
        return passed("version", f"PostgreSQL {version}.")
    supported = {
        str(one.name): _word(one.status) for one in site.capabilities.supported_server_versions or []
    }
    if version not in supported or supported[version] == _OFF:
        return failed(
            "version",
            f"PostgreSQL {version} is no longer offered in {site.facts.location}.",
            f"Upgrade the server to one of {', '.join(sorted(supported))}.",
        )
    return passed("version", f"PostgreSQL {version}, of {', '.join(sorted(supported))} on offer.")


def _quota(site: Site) -> Check:
    if site.target.kind == "local":
        return passed("quota", "A local server has no quota.")
    facts = site.facts
    family = _family(facts.sku)
    assert site.azure is not None
    for usage in site.azure.management.usages(facts.location):
        name = usage.name.value if usage.name is not None else None
        if name is None or name.lower() != family.lower():
            continue
        used, limit = usage.current_value or 0, usage.limit or 0
        said = f"{used} of {limit} vCores of {name} are in use in {facts.location}"
        if used > limit:
            return failed("quota", f"{said}.", "Ask for a higher quota in Azure's portal, under Quotas.")
        return passed("quota", f"{said}; the server can grow by {limit - used}.")
    raise NotKnown(f"Azure names no quota for {facts.sku} in {facts.location}.")


def _family(sku: str) -> str:
    """The name of a size's quota, such as standardEDSv5Family."""
    found = re.fullmatch(r"Standard_([A-Z])\d+([a-z]*)(?:_(v\d))?", sku, re.IGNORECASE)
    return f"standard{found[1]}{found[2].upper()}{found[3] or ''}Family" if found else sku


def _word(value: object) -> str:
    """An enumeration's value, or the text that it was sent as."""
    return str(getattr(value, "value", value))
