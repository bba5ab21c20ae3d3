"""What the server lets be installed and preloaded."""

from __future__ import annotations

from functools import partial

from azpg.errors import UsageError
from azpg.extensions import normalise
from azpg.profiles import LOCAL_AI, NEEDS_PRELOAD, offer
from azpg_provision.preflight.check import Check, Looks, failed, passed, unknown
from azpg_provision.preflight.needs import Needs
from azpg_provision.preflight.site import NotKnown, Site

EXTENSIONS, PRELOAD = "azure.extensions", "shared_preload_libraries"
_AVAILABLE = (
    "SELECT pg_catalog.count(*) FROM pg_catalog.pg_available_extensions WHERE name OPERATOR(pg_catalog.=) %s"
)
_WAYS_ON = (
    "On this server, embed with azure_ai and Azure OpenAI (CREATE EXTENSION azure_ai, "
    "azure_openai.create_embeddings). To go on with azure_local_ai, use the twin: `azpg up`, then --local."
)


def looks(site: Site, needs: Needs) -> Looks:
    """The checks, one for each extension and library."""
    for name in needs.extensions:
        yield f"extension.{name}", partial(_extension, site, name)
    libraries = {*needs.preload, *(name for name in needs.extensions if name in NEEDS_PRELOAD)}
    for name in sorted(libraries):
        yield f"preload.{name}", partial(_library, site, name)


def _extension(site: Site, name: str) -> Check:
    id_ = f"extension.{name}"
    offered = site.allowed_values(EXTENSIONS)
    if offered is None:
        return _available(site, id_, name)
    if name not in offered:
        return _not_offered(site, id_, name)
    if _is_missing(site, name):
        return failed(
            id_,
            f"{name} is offered, as on Azure, but the PostgreSQL of this machine does not have it.",
            "Leave it out, or use a PostgreSQL that has it: `azpg up NAME --pg-config PATH`; "
            "`azpg help extensions` says what each has.",
        )
    if name in site.names(EXTENSIONS):
        return passed(id_, f"{name} is offered, and allow-listed.")
    return passed(id_, f"{name} is offered; `azpg apply` allow-lists it.")


def _is_missing(site: Site, name: str) -> bool:
    """Whether a server of this machine lacks what Azure's have; False where there is no login."""
    if _is_live(site) or site.refusal() is not None:
        return False
    return not site.row(_AVAILABLE, name)[0]


def _not_offered(site: Site, id_: str, name: str) -> Check:
    if name != LOCAL_AI:
        return failed(
            id_,
            f"{name} is not among the values that azure.extensions allows on this server.",
            "Leave it out of the spec, or use a server that offers it.",
        )
    reason = "azure_local_ai is not among the values that azure.extensions allows on this server"
    if (preview := _preview_reason(site)) and not _is_live(site):
        return failed(id_, f"{reason}: {preview}.", f"Change that (azpg:location, azpg:sku). {_WAYS_ON}")
    return failed(id_, f"{reason}: it was retired on 2025-03-21.", _WAYS_ON)


def _is_live(site: Site) -> bool:
    return site.azure is not None and not site.azure.management.cloud.is_twin


def _preview_reason(site: Site) -> str:
    """Why the preview of 2024 did not offer it; '' if it did."""
    try:
        return offer("preview-2024", location=site.facts.location, sku=site.facts.sku).missing.get(
            LOCAL_AI, ""
        )
    except (NotKnown, UsageError):
        return ""


def _available(site: Site, id_: str, name: str) -> Check:
    """Where nobody says what may be allowed, the server's own catalogue does what it can."""
    there = site.row(_AVAILABLE, name)[0]
    listed = site.row("SELECT pg_catalog.current_setting('azure.extensions', true)")[0]
    if listed is not None and name in normalise(listed):
        return passed(id_, f"{name} is allow-listed.")
    if name == LOCAL_AI and not there:
        return failed(id_, "azure_local_ai is not there: on Azure it was retired on 2025-03-21.", _WAYS_ON)
    if listed is not None:
        return unknown(
            id_,
            f"{name} is not allow-listed, and a connection string cannot tell whether the server offers it.",
            "Ask for it in azure.extensions, or name the server with --server or --stack.",
        )
    if there:
        return passed(id_, f"{name} is available.")
    return failed(id_, f"{name} is not installed on this server.", "Have it installed, or leave it out.")


def _library(site: Site, name: str) -> Check:
    id_ = f"preload.{name}"
    offered = site.allowed_values(PRELOAD)
    if offered is not None and name not in offered:
        return failed(
            id_,
            f"{name} is not among the values that shared_preload_libraries allows on this server.",
            "Leave it out of the spec, or use a server that offers it.",
        )
    if why := site.target.missing_libraries([name]).get(name):
        listed = "is in shared_preload_libraries, and " if name in site.names(PRELOAD) else "is "
        return failed(
            id_, f"{name} {listed}{why}.", "Leave it out of the spec, or use a PostgreSQL that has it."
        )
    if name in site.names(PRELOAD):
        return passed(id_, f"{name} is in shared_preload_libraries.")
    if offered is None:
        return unknown(
            id_,
            f"{name} is not in shared_preload_libraries, and a connection string cannot change that.",
            "Ask for it, and for a restart; or name the server with --server or --stack.",
        )
    return passed(id_, f"{name} can be preloaded; `azpg apply --allow-restart` does it.")
