"""One operation, as it is kept and answered."""

from __future__ import annotations

from dataclasses import dataclass

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.state import Json


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, running or over.

    Attributes:
        status: InProgress, Succeeded or Failed.
        code, message: of a failed one.
    """

    id: str
    resource: Address
    status: str
    started: str
    ended: str | None
    code: str | None
    message: str | None

    def as_json(self, path: str) -> Json:
        """What Azure-AsyncOperation answers."""
        found: Json = {"id": path, "name": self.id, "status": self.status, "startTime": self.started}
        if self.ended:
            found["endTime"] = self.ended
        if self.status == "Failed":
            found["error"] = {"code": self.code, "message": self.message}
        return found
