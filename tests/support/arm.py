"""All that the ARM twin has, in the test's own process, without HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.catalog import build
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.files import ArmFiles
from azpg_runtime.arm.identity.service import IdentityService
from azpg_runtime.arm.operations import Operations
from azpg_runtime.arm.router import Router
from azpg_runtime.arm.services import Services
from azpg_runtime.arm.settings import Settings
from azpg_runtime.arm.state import State
from azpg_runtime.errors import ArmRefusal
from azpg_runtime.files import make_folder
from azpg_runtime.home import Home
from azpg_runtime.wait import wait_for

PATIENCE = 30
ACCOUNT = {"location": "eastus", "kind": "OpenAI", "sku": {"name": "S0"}}


class Arm:
    """All that the twin has, and a gate before the work of operations.

    Args:
        home: where it keeps its files.
        before: called before an operation's work instead of the gate.
    """

    def __init__(self, home: Home, before: Callable[[Address], None] | None = None) -> None:
        files = ArmFiles(home)
        make_folder(files.root, 0o700)
        self.gates: dict[str, threading.Event] = {}
        self.begun: list[str] = []
        self.state = State(files.state)
        self.operations = Operations(self.state, before=before or self._gate)
        self.identity = IdentityService(home)
        services = Services(home, Settings(), self.state, self.operations, self.identity)
        self.router: Router = build(services)
        self.home = home
        self.subscription = f"/subscriptions/{self.state.fact('subscription')}"
        self.root = f"{self.subscription}/resourceGroups"

    def _gate(self, address: Address) -> None:
        self.begun.append(address.key)
        if address.key in self.gates:
            assert self.gates[address.key].wait(PATIENCE)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request to a path below all groups, or with a slash to a whole one. Raises `ArmRefusal`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        address = Address.parse(path if path.startswith("/") else f"{self.root}/{path}")
        return self.router.answer(Call(method, address, body=body, headers=named))

    def outcomes(self, requests: list[Callable[[], Answer]]) -> list[str]:
        """What requests at the same time are answered: a status, or a refusal's code."""
        start = threading.Barrier(len(requests))
        found: list[str] = []

        def one(request: Callable[[], Answer]) -> None:
            start.wait(PATIENCE)
            try:
                found.append(str(request().status))
            except ArmRefusal as refusal:
                found.append(refusal.code)

        threads = [threading.Thread(target=one, args=[request]) for request in requests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(found) == len(requests)
        return sorted(found)

    def settled(self) -> None:
        """Waits until no operation runs."""
        running = "SELECT count(*) FROM operations WHERE status = 'InProgress'"

        def over() -> bool:
            with self.state.reading() as connection:
                return bool(connection.execute(running).fetchone() == (0,))

        assert wait_for(over, timeout=PATIENCE)

    def close(self) -> None:
        """Opens all gates, and ends."""
        for gate in self.gates.values():
            gate.set()
        self.operations.close()
        self.state.close()
