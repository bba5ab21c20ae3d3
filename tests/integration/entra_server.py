"""A flexible server of the ARM twin that takes tokens, and credentials whose tokens have a time of their own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from azure.core.credentials import AccessToken
from azure.mgmt.postgresqlflexibleservers import models as pg

from azpg_provision.target.azure import AzureTarget, Login
from azpg_provision.target.cloud import Cloud
from azpg_provision.target.resource import ServerId
from azpg_runtime.arm.identity.identities import Identities, Identity
from azpg_runtime.arm.identity.tokens import Issuer
from tests.integration.azure import Azure, server_model

DATABASE = "https://ossrdbms-aad.database.windows.net"
ALICE = "alice@contoso.com"


@dataclass
class ShortLived:
    """Tokens of the twin's own issuer; `lifetimes` are those of the next ones for the database, in seconds."""

    issuer: Issuer
    identity: Identity
    lifetimes: list[float] = field(default_factory=list)
    audience: str = DATABASE
    issued: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    claimed: float | None = None
    """The lifetime that the credential says, where it is wrong about it."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        database = "ossrdbms" in scopes[0]
        lifetime = self.lifetimes.pop(0) if database and self.lifetimes else 3600.0
        audience = self.audience if database else "https://management.azure.com"
        token = self.issuer.issue(self.identity, audience, lifetime, groups=self.groups)
        if database:
            self.issued.append(token)
        said = self.claimed if self.claimed is not None else lifetime
        return AccessToken(token, int(time.time() + said))


@dataclass
class EntraServer:
    """A running server, of which the twin's default identity and alice are administrators."""

    azure: Azure
    id: ServerId

    @property
    def identities(self) -> Identities:
        return Identities(self.azure.twin.files.identity)

    @property
    def issuer(self) -> Issuer:
        return Issuer(self.azure.twin.files.identity, self.identities)

    @property
    def alice(self) -> Identity:
        return self.identities.add_managed("alice", "/users/alice")

    def credential(self, identity: Identity | None = None, **options: Any) -> ShortLived:
        return ShortLived(self.issuer, identity or self.alice, **options)

    def cloud(self, credential: ShortLived | None = None) -> Cloud:
        """The twin; without a credential, with the managed identity that azure-identity finds."""
        of_twin = Cloud.of_twin(self.azure.twin.environment())
        return of_twin if credential is None else Cloud(credential, of_twin.endpoint, of_twin.ca)

    def target(
        self, credential: ShortLived | None = None, login: Login | None = None, **options: Any
    ) -> AzureTarget:
        return AzureTarget(self.cloud(credential), self.id, login=login, **options)


def make(azure: Azure, group: str, name: str) -> EntraServer:
    """Makes one, which is a real PostgreSQL."""
    azure.group(group)
    model = server_model(auth_config=pg.AuthConfig(active_directory_auth="Enabled", password_auth="Enabled"))
    made = azure.postgres.servers.begin_create_or_update(group, name, model).result()
    server = EntraServer(azure, ServerId.parse(str(made.id)))
    default = server.identities.default
    for object_id, principal in ((default.object_id, default.name), (server.alice.object_id, ALICE)):
        azure.postgres.administrators_microsoft_entra.begin_create_or_update(
            group,
            name,
            object_id,
            pg.AdministratorMicrosoftEntraAdd(
                properties=pg.AdministratorMicrosoftEntraPropertiesForAdd(
                    principal_name=principal, principal_type="ServicePrincipal"
                )
            ),
        ).result()
    return server
