"""The unmodified Azure SDK clients, against an ARM twin."""

from __future__ import annotations

import json
import ssl
import time
import urllib.request
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.error import HTTPError

from azure.core.credentials import AccessToken
from azure.mgmt.cognitiveservices import CognitiveServicesManagementClient
from azure.mgmt.postgresqlflexibleservers import PostgreSQLManagementClient
from azure.mgmt.postgresqlflexibleservers import models as pg
from azure.mgmt.resource.resources import ResourceManagementClient

from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.arm.identity.tokens import Issuer
from azpg_runtime.arm.twin import ArmTwin

PASSWORD = "Correct-Horse-7"
VERSION = "2025-08-01"


class Credential:
    """The default identity's token. How the SDK gets one by itself is tested elsewhere."""

    def __init__(self, twin: ArmTwin) -> None:
        identities = Identities(twin.files.identity)
        issuer = Issuer(twin.files.identity, identities)
        self.token = issuer.issue(identities.default, "https://management.azure.com", 3600)

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(self.token, int(time.time()) + 3600)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: Any


class Azure:
    """Clients of one twin; each connects to it without a proxy."""

    def __init__(self, twin: ArmTwin, **options: Any) -> None:
        self.twin = twin
        environment = twin.environment()
        self.subscription = environment["AZURE_SUBSCRIPTION_ID"]
        self.endpoint = environment["AZPG_ARM_ENDPOINT"]
        self.credential = Credential(twin)
        self._trusted = environment["REQUESTS_CA_BUNDLE"]
        self._options = {
            "base_url": self.endpoint,
            "connection_verify": self._trusted,
            "proxies": {},
        } | options

    @cached_property
    def resources(self) -> ResourceManagementClient:
        return ResourceManagementClient(self.credential, self.subscription, **self._options)

    @cached_property
    def postgres(self) -> PostgreSQLManagementClient:
        return PostgreSQLManagementClient(self.credential, self.subscription, **self._options)

    @cached_property
    def cognitive(self) -> CognitiveServicesManagementClient:
        return CognitiveServicesManagementClient(self.credential, self.subscription, **self._options)

    def close(self) -> None:
        """Closes the connections of the clients that were used."""
        for name in ("resources", "postgres", "cognitive"):
            if name in vars(self):
                vars(self)[name].close()

    def raw(
        self, method: str, path: str, body: Any = None, *, version: str | None = VERSION, **headers: str
    ) -> Reply:
        """One request without the SDK; a path that begins with a slash and no subscription gets this one's."""
        if path.startswith(("/resource", "/providers")):
            path = f"/subscriptions/{self.subscription}{path}"
        url = path if path.startswith("https:") else self.endpoint + path
        if version and "api-version=" not in url:
            url += ("&" if "?" in url else "?") + f"api-version={version}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        own = {"Authorization": f"Bearer {self.credential.token}", "Content-Type": "application/json"}
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            url, data, {name: value for name, value in own.items() if value}, method=method
        )
        context = ssl.create_default_context(cafile=self._trusted)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            response = opener.open(request, timeout=30)
        except HTTPError as error:
            response = error
        with response:
            text = response.read()
            return Reply(
                response.status,
                {name.lower(): value for name, value in response.headers.items()},
                json.loads(text) if text else None,
            )

    def group(self, name: str, location: str = "eastus") -> str:
        """Makes a resource group, and returns its id."""
        made = self.resources.resource_groups.create_or_update(name, {"location": location})
        return str(made.id)

    def put(self, id_: str, body: dict[str, Any], version: str = VERSION) -> Any:
        """Makes a resource of any type, as Pulumi's provider and templates do."""
        poller = self.resources.resources.begin_create_or_update_by_id(
            id_, api_version=version, parameters=json.dumps(body).encode()
        )
        return poller.result()


def server_model(**properties: Any) -> pg.Server:
    """A server as the tests want it, with other properties where they are given."""
    own: dict[str, Any] = {
        "version": "18",
        "administrator_login": "boss",
        "administrator_login_password": PASSWORD,
        "storage": pg.Storage(storage_size_gb=64),
    }
    return pg.Server(
        location="eastus",
        sku=pg.Sku(name="Standard_E4ds_v5", tier="MemoryOptimized"),
        properties=pg.ServerProperties(**(own | properties)),
    )
