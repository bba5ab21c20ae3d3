"""The names that Azure keeps for itself, and what it takes for a name.

Sources: for the admin's login the quickstart of Flexible Server (2024-12-11: 1 to 63 characters, none of
seven names, nothing that begins with pg_), and microsoft/vscode-cosmosdb issue 1756 (`Admin` is refused like
`admin`). `postgres` is not among them, and templates that were exported from running servers have it.
azuresu and the databases are on every server. For the rest: resource-name-rules of Azure Resource Manager.
"""

from __future__ import annotations

SUPERUSERS = ("azuresu", "azure_superuser")
"""What the service's own superuser is called, also in older pages."""
RESERVED_ROLES = frozenset(
    {"admin", "administrator", "azure_pg_admin", "guest", "public", "root", *SUPERUSERS}
)
"""Logins that a server admin cannot have, in lower case."""
SYSTEM_DATABASES = frozenset({"azure_maintenance", "azure_sys", "postgres", "template0", "template1"})
"""The databases that every server has, and that cannot be dropped."""
CLOSED_DATABASES = SYSTEM_DATABASES - {"postgres"}
"""Those of them that people cannot work in."""
NAME_LIMIT = 63
"""Bytes in the name of a role or a database."""
SERVER_NAME = r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"
"""What a server's name matches: a label of DNS."""
FIREWALL_RULE_NAME = r"[A-Za-z0-9_-]{1,128}"


def is_reserved_role(name: str) -> bool:
    """Whether Azure refuses a login of this name."""
    return name.lower() in RESERVED_ROLES or name.lower().startswith("pg_")
