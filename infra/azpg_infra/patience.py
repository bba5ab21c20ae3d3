"""Trying again what Azure refuses for the moment only.

The provider tries neither of these again. Writing one thing after the other avoids most of them, but not the
first write after a server was made, nor somebody else's write at the same moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pulumi

from azpg.azure.busy import TEMPORARY

TRIES = 8
LONGEST = 60.0


def worth_another_try(errors: Sequence[str]) -> bool:
    """Whether the newest of the errors of one operation, which comes first, is a temporary one."""
    return len(errors) < TRIES and any(code in errors[0] for code in TEMPORARY)


def pause(tries: int) -> float:
    """Seconds to wait after so many tries: 1, 2, 4 and so on, a minute at most."""
    return float(min(LONGEST, 2 ** (tries - 1)))


async def _again(args: pulumi.ErrorHookArgs) -> bool:
    if not worth_another_try(args.errors):
        return False
    await asyncio.sleep(pause(len(args.errors)))
    return True


def with_everything() -> None:
    """Makes every resource of Azure that the program goes on to make patient."""
    hook = pulumi.ErrorHook("azpg-patience", _again)
    patient = pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(on_error=[hook]))

    def add(
        args: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult | None:
        if not args.type_.startswith("azure-native:"):
            return None
        return pulumi.ResourceTransformationResult(
            args.props, pulumi.ResourceOptions.merge(args.opts, patient)
        )

    pulumi.runtime.register_stack_transformation(add)
