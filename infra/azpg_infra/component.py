"""What all components share."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

LONG = pulumi.CustomTimeouts(create="60m", update="60m", delete="60m")
"""For servers, deployments and private endpoints; the provider's own limit is shorter than Azure needs."""
MEDIUM = pulumi.CustomTimeouts(create="30m", update="30m", delete="30m")
"""For what waits its turn behind other writes to the same server."""


class Component(pulumi.ComponentResource):
    """A component of azpg; its children are made with `self.child()`."""

    def __init__(self, kind: str, name: str, opts: pulumi.ResourceOptions | None) -> None:
        super().__init__(f"azpg:index:{kind}", name, None, opts)

    def child(self, opts: pulumi.ResourceOptions | None = None) -> pulumi.ResourceOptions:
        """Options of a child: those given, and this component as its parent."""
        return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(parent=self))

    def in_turn(
        self, earlier: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions | None = None
    ) -> pulumi.ResourceOptions:
        """Options of a child that waits for the one before it.

        A Flexible Server and an AI account take one management operation at a time: a second one fails with
        ServerIsBusy or RequestConflict, and the provider does not try again.
        """
        waits = pulumi.ResourceOptions(depends_on=list(earlier[-1:]), custom_timeouts=MEDIUM)
        return self.child(pulumi.ResourceOptions.merge(waits, opts))
