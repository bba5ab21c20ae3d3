"""What clients ask about an operation that they have started."""

from __future__ import annotations

from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.operation import Operation
from azpg_runtime.arm.operations import RETRY_HEADERS, Operations
from azpg_runtime.arm.state import State
from azpg_runtime.errors import ArmRefusal

_ANSWERS = {"Microsoft.CognitiveServices"}
"""Whose clients want the resource at the end of a PATCH from the Location."""


class Polling:
    """Answers to the URLs in Azure-AsyncOperation and Location."""

    def __init__(self, operations: Operations, state: State) -> None:
        self._operations = operations
        self._state = state

    def status(self, call: Call) -> Answer:
        """How it goes: always 200, with the status in the body."""
        found = self._get(call)
        headers = RETRY_HEADERS if found.status == "InProgress" else {}
        return Answer(body=found.as_json(str(call.address)), headers=headers)

    def result(self, call: Call) -> Answer:
        """202 until it is over; then what went wrong, or nothing, or the resource that was changed."""
        found = self._get(call)
        if found.status == "InProgress":
            return Answer(202, headers={"Location": call.link(str(call.address)), **RETRY_HEADERS})
        if found.status == "Failed":
            raise ArmRefusal(409, found.code or "", found.message or "")
        if not call.address.namespace:  # a deleted group
            return Answer(200)
        resource = self._state.get(found.resource) if call.address.namespace in _ANSWERS else None
        return Answer(204) if resource is None else Answer(body=resource.body)

    def _get(self, call: Call) -> Operation:
        found = self._operations.get(call.address.name.lower())
        if found is None:
            raise ArmRefusal(404, "OperationNotFound", f"There is no operation '{call.address.name}'.")
        return found
