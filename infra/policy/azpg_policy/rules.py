"""The rules as plain functions: a resource in, what is wrong with it in words out."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Properties = Mapping[str, Any]
Resource = tuple[str, Properties]
"""A resource's type token, such as azure-native:dbforpostgresql:Server, and its inputs."""
Check = Callable[[str, Properties], Iterator[str]]

WIDEST = 2**24
"""Addresses in the widest firewall rule, a /8: nobody owns more."""
PASSWORD = "administratorLoginPassword"  # noqa: S105  (the property's name)
_MEMORY_OPTIMISED = re.compile(r"standard_e(?P<cores>\d+)[a-z]*(_v\d+)?", re.IGNORECASE | re.ASCII)
_CREDENTIAL = re.compile(
    r"\b(?:password|pwd|accountkey|sharedaccesskey|apikey|api-key|secret)\s*[=:]\s*\S"
    r"|\b\w+://[^/\s:@]+:[^/\s@]+@"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----",
    re.IGNORECASE,
)
_CREDENTIAL_NAME = re.compile(r"password|passwd|secret|api[-_]?key|access[-_]?key|token", re.IGNORECASE)
_OFF = frozenset({"off", "false", "no", "0"})


def is_kind(token: str, module: str, name: str) -> bool:
    """Whether a type token is this one, of the default or of any other API version."""
    return re.fullmatch(rf"azure-native:{module}(/v\w+)?:{name}", token) is not None


def firewall_is_narrow(token: str, properties: Properties) -> Iterator[str]:
    """No rule for the whole internet, nor for so much of it that it comes to the same."""
    if not is_kind(token, "dbforpostgresql", "FirewallRule"):
        return
    start, end = properties["startIpAddress"], properties["endIpAddress"]
    if int(ipaddress.IPv4Address(end)) - int(ipaddress.IPv4Address(start)) >= WIDEST:
        yield (
            f"The firewall rule {start}-{end} lets in too much of the internet: name the addresses that need "
            "the server, a /8 at most, or use a private network."
        )


def connections_use_tls(token: str, properties: Properties) -> Iterator[str]:
    """TLS is required, and none of its broken versions is taken."""
    if not is_kind(token, "dbforpostgresql", "Configuration"):
        return
    name, value = properties.get("configurationName"), str(properties.get("value", "")).lower()
    if name == "require_secure_transport" and value in _OFF:
        yield "require_secure_transport is off: set it to on, so that nothing is sent in clear text."
    if name == "ssl_min_protocol_version" and value in {"tlsv1", "tlsv1.1"}:
        yield f"ssl_min_protocol_version is {value}, which is broken: use TLSv1.2 or TLSv1.3."


def backups_reach_back(token: str, properties: Properties, *, days: int = 7) -> Iterator[str]:
    """Servers can be restored to any moment of the last days; a replica is restored by its source."""
    if not is_kind(token, "dbforpostgresql", "Server") or properties.get("createMode") == "Replica":
        return
    kept = int((properties.get("backup") or {}).get("backupRetentionDays") or 7)
    if kept < days:
        yield f"Backups are kept for {kept} days, and the policy wants {days}: raise backupRetentionDays."


def local_ai_has_memory(resources: Iterable[Resource]) -> Iterator[str]:
    """A server that allow-lists azure_local_ai is memory-optimised, with at least 4 vCores."""
    resources = list(resources)
    wanted = {
        properties.get("serverName")
        for token, properties in resources
        if is_kind(token, "dbforpostgresql", "Configuration")
        and properties.get("configurationName") == "azure.extensions"
        and "azure_local_ai" in re.split(r"[\s,]+", str(properties.get("value", "")).lower())
    }
    for token, properties in resources:
        if not is_kind(token, "dbforpostgresql", "Server") or properties.get("serverName") not in wanted:
            continue
        sku = str((properties.get("sku") or {}).get("name", ""))
        match = _MEMORY_OPTIMISED.fullmatch(sku)
        if match is None or int(match["cores"]) < 4:
            yield (
                f"{properties.get('serverName')} allow-lists azure_local_ai and runs on {sku or 'no SKU'}: "
                "use a memory-optimised SKU with at least 4 vCores, such as Standard_E4ds_v5."
            )


def nothing_secret_is_shown(token: str, properties: Properties) -> Iterator[str]:
    """No credentials where Azure shows them to every reader: in tags, in server parameters."""
    for name, value in (properties.get("tags") or {}).items():
        if _CREDENTIAL_NAME.search(name) or _CREDENTIAL.search(str(value)):
            yield f"The tag {name} seems to hold a credential, and tags are shown to every reader: remove it."
    if not is_kind(token, "dbforpostgresql", "Configuration"):
        return
    if _CREDENTIAL.search(str(properties.get("value", ""))):
        yield (
            f"The server parameter {properties.get('configurationName')} seems to hold a credential, and "
            "parameters are shown to every reader: remove it."
        )


def models_are_called_without_keys(token: str, properties: Properties) -> Iterator[str]:
    """AI accounts take Entra tokens only: what does not exist cannot leak."""
    if not is_kind(token, "cognitiveservices", "Account"):
        return
    if not (properties.get("properties") or {}).get("disableLocalAuth"):
        yield "The AI account takes keys: set disableLocalAuth, and give identities a role on it instead."


def is_password_of_server(token: str, name: str) -> bool:
    """Whether a property holds the password of a server, which must be encrypted in the stack's state."""
    return is_kind(token, "dbforpostgresql", "Server") and name == PASSWORD
