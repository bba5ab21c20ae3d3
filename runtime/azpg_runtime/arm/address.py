"""What a path of Azure Resource Manager names, and the answer to one that names nothing."""

from __future__ import annotations

from typing import Self

from azpg.azure.resource_ids import ResourceId
from azpg.errors import UsageError
from azpg_runtime.errors import ArmRefusal


class Address(ResourceId):
    """A path of a request, or in its body."""

    __slots__ = ()

    @classmethod
    def parse(cls, path: str) -> Self:
        """Raises `ArmRefusal` for a path with empty segments."""
        try:
            return super().parse(path)
        except UsageError as error:
            raise ArmRefusal(400, "InvalidResourceId", str(error)) from None
