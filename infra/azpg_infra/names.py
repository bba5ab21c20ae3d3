"""The names of a stack's resources."""

from __future__ import annotations

from dataclasses import dataclass

from azpg_infra import naming
from azpg_infra.caller import Caller
from azpg_infra.config import StackConfig


@dataclass(frozen=True, slots=True)
class Names:
    """Those that are given, and those that are derived."""

    group: str
    server: str
    ai: str
    workspace: str

    @classmethod
    def of(cls, config: StackConfig, *, stack: str, caller: Caller) -> Names:
        """The names of a stack."""
        group = config.resource_group or naming.group(stack)

        def unique(prefix: str) -> str:
            return naming.unique(prefix, subscription=caller.subscription_id, group=group, stack=stack)

        return cls(
            group=group,
            server=config.server_name or unique("azpg"),
            ai=config.ai_name or unique("azpg-ai"),
            workspace=unique("azpg-logs"),
        )
