"""Names of what is made: the same stack of the same subscription always gets the same ones."""

from __future__ import annotations

import hashlib
import re
import uuid

_ROLE_ASSIGNMENTS = uuid.UUID("5d6a9ad6-1d3c-5c83-9c0a-6f8b1f0f2a41")
"""The namespace in which role assignments are named; changing it would replace them all."""
LONGEST, LONGEST_GROUP = 63, 90
"""Characters of a DNS label, and of a resource group's name."""


def group(stack: str) -> str:
    """The resource group of a stack."""
    return f"rg-azpg-{_clean(stack)}"[:LONGEST_GROUP].rstrip("-")


def unique(prefix: str, *, subscription: str, group: str, stack: str) -> str:
    """A global DNS label, such as a server's name.

    Eight hexadecimal digits that depend on everything given keep it from being somebody else's.
    """
    digest = hashlib.sha256("/".join([subscription, group, stack]).lower().encode()).hexdigest()[:8]
    room = LONGEST - len(prefix) - len(digest) - 2
    return f"{prefix}-{_clean(stack)[:room].strip('-')}-{digest}"


def role_assignment(*, scope: str, principal: str, role: str) -> str:
    """The UUID of a role assignment, so that making it twice makes one."""
    return str(uuid.uuid5(_ROLE_ASSIGNMENTS, "|".join([scope, principal, role]).lower()))


def _clean(stack: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-") or "stack"
