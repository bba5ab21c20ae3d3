"""Which type of resource a request is for, and what of it is asked."""

from __future__ import annotations

from collections.abc import Callable

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.kinds.kind import Kind
from azpg_runtime.arm.locks import check_locks
from azpg_runtime.arm.paging import page
from azpg_runtime.arm.state import State
from azpg_runtime.errors import ArmRefusal

Handler = Callable[[Call], Answer]
_ALLOWED = "GET, HEAD, PUT, PATCH, DELETE"


class Router:
    """Every type that the twin has."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._kinds: dict[str, Kind] = {}
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._questions: set[str] = set()
        self._beginnings: list[Callable[[], None]] = []

    def add(self, kind: Kind, *, as_: str | None = None) -> None:
        """Adds a type of resource; its addresses have its own type, or `as_` in lower case."""
        self._kinds[as_ or kind.resource_type.lower()] = kind

    def on(self, method: str, type_: str, handler: Handler) -> None:
        """Adds what is no resource: a type as `Address.kind` writes it, without names."""
        self._handlers[method, type_.lower()] = handler

    def on_question(self, type_: str, handler: Handler) -> None:
        """Adds an action (POST) that changes nothing, and so is allowed in spite of locks."""
        self.on("POST", type_, handler)
        self._questions.add(type_.lower())

    def on_start(self, work: Callable[[], None]) -> None:
        """Adds what is to be done before the first request."""
        self._beginnings.append(work)

    def start(self) -> None:
        """Does what is to be done before the first request."""
        for work in self._beginnings:
            work()

    def namespaces(self) -> list[str]:
        """The providers, as they spell themselves."""
        return sorted({kind.resource_type.split("/")[0] for kind in self._kinds.values()})

    def types(self, namespace: str) -> list[str]:
        """The types of a provider, without its name."""
        prefix = f"{namespace}/"
        return sorted(
            one.resource_type.removeprefix(prefix)
            for one in self._kinds.values()
            if one.resource_type.startswith(prefix)
        )

    def remove(self, address: Address) -> None:
        """Removes a resource because what it lies in is removed."""
        kind = self._kinds.get(address.kind)
        if kind is None:
            self._state.delete(address)
        else:
            kind.discard(address)

    def answer(self, call: Call) -> Answer:
        """Does what a request asks for. Raises `ArmRefusal`."""
        self._check_subscription(call.address)
        if call.address.kind not in self._questions:
            check_locks(self._state, call.method, call.address)
        return page(call, self._answer(call))

    def _answer(self, call: Call) -> Answer:
        address = call.address
        method = "GET" if call.method == "HEAD" else call.method
        handler = self._handlers.get((method, address.kind))
        if handler is not None:
            return handler(call)
        if address.is_resource and (kind := self._kinds.get(address.kind)):
            if method == "POST":
                raise _not_allowed(call)
            answer = self._on_resource(kind, call)
            return Answer(204) if call.method == "HEAD" else answer
        if not address.is_resource and (kind := self._kinds.get(address.kind)):
            if method != "GET":
                raise _not_allowed(call)
            return kind.listing(call)
        raise self._unknown(address)

    def _on_resource(self, kind: Kind, call: Call) -> Answer:
        match call.method:
            case "GET" | "HEAD":
                return kind.get(call)
            case "PUT":
                return kind.put(call)
            case "PATCH":
                return kind.patch(call)
            case "DELETE":
                return kind.delete(call)
        raise _not_allowed(call)

    def _check_subscription(self, address: Address) -> None:
        wanted = address.subscription
        if wanted is not None and wanted.lower() != self._state.fact("subscription"):
            raise ArmRefusal(
                404,
                "SubscriptionNotFound",
                f"The subscription '{wanted}' could not be found. The local ARM twin has "
                f"{self._state.fact('subscription')}.",
            )

    def _unknown(self, address: Address) -> ArmRefusal:
        if address.namespace.lower() in {one.lower() for one in self.namespaces()}:
            return ArmRefusal(
                404,
                "InvalidResourceType",
                f"The resource type '{'/'.join(address.types)}' could not be found in the namespace "
                f"'{address.namespace}'. The local ARM twin has "
                f"{', '.join(self.types(_spelled(self, address)))}.",
            )
        if address.namespace:
            return ArmRefusal(
                404,
                "InvalidResourceNamespace",
                f"The resource namespace '{address.namespace}' is invalid. The local ARM twin has "
                f"{', '.join(self.namespaces())}.",
            )
        return ArmRefusal(404, "NotFound", f"The local ARM twin has nothing at '{address}'.")


def _spelled(router: Router, address: Address) -> str:
    return next(one for one in router.namespaces() if one.lower() == address.namespace.lower())


def _not_allowed(call: Call) -> ArmRefusal:
    return ArmRefusal(
        405,
        "HttpMethodNotAllowed",
        f"The HTTP method '{call.method}' is not supported for '{call.address.type}'. Supported are "
        f"{_ALLOWED}.",
        headers={"Allow": _ALLOWED},
    )
