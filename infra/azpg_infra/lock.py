"""A lock against deletion by accident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import authorization

from azpg_infra.component import Component


@dataclass(frozen=True, slots=True)
class DeletionLockArgs:
    """What is locked, and everything that must have been made before: a lock holds for all that is below."""

    scope: pulumi.Input[str]
    after: Sequence[pulumi.Resource]


class DeletionLock(Component):
    """Nobody deletes a resource, or what is below it, without removing this first."""

    def __init__(self, name: str, args: DeletionLockArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("DeletionLock", name, opts)
        self.lock = authorization.ManagementLockByScope(
            name,
            scope=args.scope,
            lock_name="azpg",
            level="CanNotDelete",
            notes="Holds a database. Made by azpg: set azpg:lock to false to remove it.",
            opts=self.child(pulumi.ResourceOptions(depends_on=list(args.after))),
        )
        self.register_outputs({"id": self.lock.id})
