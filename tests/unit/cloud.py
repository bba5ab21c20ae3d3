"""Runs the Pulumi program with a cloud that only writes down what it is asked for."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import mocks as pulumi_mocks
from pulumi.runtime.settings import SETTINGS, get_root_resource

PROGRAM = Path(__file__).parents[2] / "infra"
SUBSCRIPTION = "0f0e0d0c-0b0a-0908-0706-050403020100"
TENANT = "10111213-1415-1617-1819-1a1b1c1d1e1f"
PRINCIPAL = "20212223-2425-2627-2829-2a2b2c2d2e2f"
PASSWORD = "Correct-Horse-7"
_SECRET = "4dabf18193072939515e22adb298388d"
_NAMES = {
    "ResourceGroup": "resourceGroupName",
    "Server": "serverName",
    "VirtualNetwork": "virtualNetworkName",
    "Subnet": "subnetName",
    "PrivateZone": "privateZoneName",
    "PrivateEndpoint": "privateEndpointName",
    "Account": "accountName",
    "Workspace": "workspaceName",
}
_COMPUTED: dict[str, dict[str, Any]] = {
    "Server": {"identity": {"type": "SystemAssigned", "principalId": PRINCIPAL, "tenantId": TENANT}},
    "Configuration": {"isConfigPendingRestart": False},
}


@dataclass(slots=True)
class Registered:
    """One resource as the program asked for it."""

    token: str
    name: str
    inputs: dict[str, Any]
    secret: frozenset[str]
    options: Any = None

    @property
    def kind(self) -> str:
        return self.token.rpartition(":")[2]

    @property
    def waits_for(self) -> set[str]:
        """`Kind/name` of what must have been made before."""
        return {_short(urn) for urn in self.options.dependencies}

    @property
    def parent(self) -> str:
        return _short(self.options.parent)

    def __getitem__(self, key: str) -> Any:
        return self.inputs[key]


@dataclass(slots=True)
class Cloud(pulumi_mocks.Mocks):
    """Accepts everything, as Azure would answer it.

    Attributes:
        offered: what the server that exists already allows in azure.extensions; None if there is none.
        signed_in: whether Azure knows who is calling.
        computed: outputs by resource name, beyond what was asked for.
        resources: what was made, in order.
        outputs: what the stack exports.
    """

    offered: str | None = None
    signed_in: bool = True
    computed: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: list[Registered] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    secret_outputs: set[str] = field(default_factory=set)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    hooks: list[pulumi.ErrorHook] = field(default_factory=list)

    def new_resource(self, args: pulumi_mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        kind = args.typ.rpartition(":")[2]
        plain = {key: _plain(value) for key, value in args.inputs.items()}
        secret = frozenset(key for key, value in args.inputs.items() if _is_secret(value))
        self.resources.append(Registered(args.typ, args.name, plain, secret))
        name = plain.get(_NAMES.get(kind, ""), args.name)
        state = {**plain, "name": name, **_COMPUTED.get(kind, {})}
        if kind == "Server":
            state["fullyQualifiedDomainName"] = f"{name}.postgres.database.azure.com"
        if kind == "Account":
            endpoint = f"https://{plain['properties']['customSubDomainName']}.openai.azure.com/"
            state["properties"] = {**plain["properties"], "endpoint": endpoint, "endpoints": {}}
        return f"/fake/{kind}/{name}", state | self.computed.get(args.name, {})

    def call(self, args: pulumi_mocks.MockCallArgs) -> dict[str, Any] | tuple[dict[str, Any], list[Any]]:
        self.calls.append((args.token, dict(args.args)))
        match args.token.rpartition(":")[2]:
            case "getClientConfig" if not self.signed_in:
                return {}, [("", "please run az login\nat line 7")]
            case "getClientConfig":
                return {"subscriptionId": SUBSCRIPTION, "tenantId": TENANT, "clientId": "", "objectId": ""}
            case "getConfiguration":
                if self.offered is None:
                    # As the engine answers; an exception here would be one of the connection to it.
                    return {}, [("", "ResourceNotFound: there is no such server")]
                return {"allowedValues": self.offered, "name": args.args["configurationName"]}
            case "listAccountKeys":
                return {"key1": "key-number-one", "key2": "key-number-two"}
        raise AssertionError(args.token)

    def register_error_hook(self, hook: pulumi.ErrorHook) -> None:
        self.hooks.append(hook)

    def named(self, kind: str, name: str) -> Registered:
        """The last one of a kind and name: a component comes before the resource that it is made of."""
        return [each for each in self.resources if (each.kind, each.name) == (kind, name)][-1]

    def all(self, kind: str) -> list[Registered]:
        return [resource for resource in self.resources if resource.kind == kind]

    def one(self, kind: str) -> Registered:
        (found,) = self.all(kind)
        return found


class _Monitor(pulumi_mocks.MockMonitor):
    """Also writes down the options of each resource, as the engine is sent them."""

    mocks: Cloud

    def RegisterResource(self, request: Any) -> Any:
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type != "pulumi:pulumi:Stack":
            made = {(each.token, each.name): each for each in self.mocks.resources}
            made[request.type, request.name].options = request
        return response


def up(
    config: Mapping[str, Any] | None = None,
    cloud: Cloud | None = None,
    *,
    stack: str = "dev",
    plain_password: bool = False,
) -> Cloud:
    """Runs the program; `config` by key without `azpg:`, where None takes the password away."""
    values = {"adminPassword": PASSWORD, **(config or {})}
    texts = {
        f"azpg:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value is not None
    }
    cloud = cloud or Cloud()
    with _event_loop():
        _run(cloud, texts, [] if plain_password else ["azpg:adminPassword"], stack)
    return cloud


@contextmanager
def _event_loop() -> Iterator[None]:
    """One for Pulumi, whatever other tests have left behind, and one for each thread: its mocks want that."""
    loops: list[asyncio.AbstractEventLoop] = []

    def begin() -> None:
        loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(loops[-1])

    begin()
    threads = ThreadPoolExecutor(initializer=begin)
    loops[0].set_default_executor(threads)
    try:
        yield
    finally:
        threads.shutdown()
        asyncio.set_event_loop(None)
        for loop in loops:
            loop.close()


def _run(cloud: Cloud, texts: dict[str, str], secret: list[str], stack: str) -> None:
    pulumi_mocks.set_mocks(cloud, project="azpg", stack=stack, preview=False, monitor=_Monitor(cloud))
    pulumi.runtime.set_all_config(texts, secret)

    SETTINGS.callbacks = cloud  # type: ignore[assignment]  # which the engine, not the monitor, calls
    if (earlier := get_root_resource()) is not None:  # set_mocks keeps the stack of the run before
        earlier.outputs = {}  # type: ignore[attr-defined]
        earlier._transformations = []

    @pulumi.runtime.test
    def program() -> pulumi.Output[Any]:
        runpy.run_path(str(PROGRAM), run_name="__main__")
        root = get_root_resource()
        assert root is not None
        outputs: dict[str, Any] = root.outputs  # type: ignore[attr-defined]

        async def resolve() -> None:
            for name, value in outputs.items():
                output = pulumi.Output.from_input(value)
                cloud.outputs[name] = await output.future()
                if await output.is_secret():
                    cloud.secret_outputs.add(name)

        return pulumi.Output.from_input(resolve())

    program()


def _short(urn: str) -> str:
    kind, name = urn.split("::")[-2:]
    return f"{kind.rpartition(':')[2]}/{name}"


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and _SECRET in value


def _plain(value: Any) -> Any:
    if _is_secret(value):
        return _plain(value["value"])
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
