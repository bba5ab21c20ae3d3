"""The error codes by which Azure refuses what it will take a moment later.

Sources: Azure/azure-postgresql issue 134 and Azure/bicep-registry-modules issue 4451 (servers, the second
code being the older one), the azure-native provider's own list (networks and endpoints), and reports of
users (deployments of one account; a principal that was made a moment ago).
"""

from __future__ import annotations

BUSY = (
    "ServerIsBusy",
    "ServerBusy",
    "AnotherOperationInProgress",  # networks and endpoints
    "RequestConflict",  # deployments of one account
)
"""Something else is being done to the same server, network or account."""
TEMPORARY = (
    *BUSY,
    "PrincipalNotFound",  # an identity that has not reached all of Entra yet
)
"""All that is worth another try."""
