"""What clients ask about an operation that they have started."""

from __future__ import annotations

from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.operations import RETRY_HEADERS, Operation, Operations
from azpg_runtime.errors import ArmRefusal


class Polling:
    """Answers to the URLs in Azure-AsyncOperation and Location."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def status(self, call: Call) -> Answer:
        """How it goes: always 200, with the status in the body."""
        found = self._get(call)
        headers = RETRY_HEADERS if found.status == "InProgress" else {}
        return Answer(body=found.as_json(str(call.address)), headers=headers)

    def result(self, call: Call) -> Answer:
        """202 until it is over, then nothing or what went wrong."""
        found = self._get(call)
        if found.status == "InProgress":
            return Answer(202, headers={"Location": call.link(str(call.address)), **RETRY_HEADERS})
        if found.status == "Failed":
            raise ArmRefusal(409, found.code or "", found.message or "")
        return Answer(204 if call.address.namespace else 200)

    def _get(self, call: Call) -> Operation:
        found = self._operations.get(call.address.name.lower())
        if found is None:
            raise ArmRefusal(404, "OperationNotFound", f"There is no operation '{call.address.name}'.")
        return found
