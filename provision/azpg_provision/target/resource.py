"""The resource id of a flexible server."""

from __future__ import annotations

import re
from dataclasses import dataclass

from azpg.errors import UsageError

TYPE = "Microsoft.DBforPostgreSQL/flexibleServers"
_ID = re.compile(
    r"/subscriptions/(?P<subscription>[0-9a-fA-F-]{36})/resourceGroups/(?P<group>[^/?#\s]{1,90})"
    rf"/providers/{re.escape(TYPE)}/(?P<name>[a-z0-9][a-z0-9-]{{1,61}}[a-z0-9])/?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ServerId:
    """A flexible server's subscription, resource group and name."""

    subscription: str
    group: str
    name: str

    @classmethod
    def parse(cls, text: str) -> ServerId:
        """Reads an id in any case, as ARM takes it. Raises `UsageError` for what is no server's id."""
        found = _ID.fullmatch(text.strip())
        if found is None:
            raise UsageError(
                f"{text!r} is no flexible server's resource id: use /subscriptions/ID/resourceGroups/GROUP/"
                f"providers/{TYPE}/NAME, as `az postgres flexible-server show --query id` prints it."
            )
        return cls(found["subscription"].lower(), found["group"], found["name"].lower())

    def __str__(self) -> str:
        return f"{self.scope}/providers/{TYPE}/{self.name}"

    @property
    def scope(self) -> str:
        """The id of its resource group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
