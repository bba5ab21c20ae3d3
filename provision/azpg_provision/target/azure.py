"""A flexible server on Azure, by its resource id, or one that the ARM twin has in Azure's place."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import psycopg
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.mgmt.postgresqlflexibleservers import models

from azpg import hostport
from azpg.errors import UsageError
from azpg.extensions import join, normalise
from azpg_provision.errors import TargetUnreachable
from azpg_provision.target import failures
from azpg_provision.target.cloud import Cloud
from azpg_provision.target.connecting import CONNECT_TIMEOUT, OPTIONS, unlimited
from azpg_provision.target.endpoint import Endpoint
from azpg_provision.target.management import Management
from azpg_provision.target.refusals import explained, in_words
from azpg_provision.target.resource import ServerId
from azpg_provision.target.roots import roots
from azpg_provision.target.target import Connection
from azpg_provision.target.tokens import Tokens
from azpg_provision.target.waiting import until_it_answers

_RESTARTED = 300.0
"""Seconds for a server to answer after Azure has restarted it."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, and by what.

    Attributes:
        user: the role; None for whom the token belongs to, or the server's administrator.
        password: None for an Entra token, or what libpq finds (PGPASSWORD, ~/.pgpass) where the server takes
            no tokens.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AiAccount:
    """The account whose models azure_ai calls: its endpoint, and the deployments meant to be there."""

    endpoint: str
    deployments: tuple[str, ...] = ()


class AzureTarget:
    """See `azpg_provision.target.target.Target`. Making the object asks nothing.

    Args:
        cloud: where Azure is.
        server_id: the server.
        login: who logs in.
        ca: a file of certificates to trust for PostgreSQL; None for the system's.
        name: how a person knows it; None for the server's name.
        ai: the AI account that the server is meant to use, where that is known.
    """

    kind = "azure"

    def __init__(
        self,
        cloud: Cloud,
        server_id: ServerId,
        *,
        login: Login | None = None,
        ca: str | None = None,
        name: str | None = None,
        ai: AiAccount | None = None,
    ) -> None:
        self.id = server_id
        self.ai = ai
        self.name = name or server_id.name
        self.management = Management(cloud, server_id)
        self.tokens = Tokens(cloud.credential)
        self._given = login or Login()
        self._ca = ca or cloud.ca

    def close(self) -> None:
        """Closes the connections to Resource Manager."""
        self.management.close()

    # How to get there

    @cached_property
    def server(self) -> models.Server:
        """The server as it was first seen. Raises `TargetUnreachable`."""
        with explained(f"the server {self.id.name} in {self.id.group}"):
            return self.management.server()

    @cached_property
    def endpoint(self) -> Endpoint:
        """Where PostgreSQL listens, and whom its certificate has to be from. Raises `TargetUnreachable`."""
        address = self.server.fully_qualified_domain_name
        if not address:
            raise TargetUnreachable(
                f"the server {self.id.name} is {self._state()} and has no address. Wait until it is Ready."
            )
        host, port = hostport.parse(address)
        return Endpoint(host, port, roots(self._ca))

    @cached_property
    def login(self) -> Login:
        """Who logs in: its password is None for a token. Raises `TargetUnreachable`."""
        given = self._given
        if given.password is not None or (given.user is not None and self.uses_tokens):
            return given
        if not self.uses_tokens:
            return Login(given.user or self.server.administrator_login)
        return Login(self._role_of_token())

    @property
    def uses_tokens(self) -> bool:
        """Whether an Entra token is the password. Raises `TargetUnreachable`."""
        if self._given.password is not None:
            return False
        auth = self.server.auth_config
        return auth is not None and auth.active_directory_auth == "Enabled"

    def _role_of_token(self) -> str:
        """The Entra administrator that the token's owner is, or one of their groups."""
        with explained(f"who logs in to {self.id.name}"):
            owner = self.tokens.owner()
        with explained(f"the Entra administrators of {self.id.name}"):
            administrators = self.management.administrators()
        names = {str(one.object_id).lower(): str(one.principal_name) for one in administrators}
        if owner is not None:
            for object_id in (owner.object_id, *sorted(owner.groups)):
                if name := names.get(object_id):
                    return name
        there = ", ".join(sorted(name for name in names.values() if name)) or "none"
        whose = f"the object id {owner.object_id}" if owner else "no object id"
        raise TargetUnreachable(
            f"the identity that asks, with {whose}, is no Microsoft Entra administrator of {self.id.name}; "
            f"there is: {there}. Add it (azpg:entraAdmins, or `az postgres flexible-server "
            "microsoft-entra-admin create`), log in as one of them, or name the role with --user."
        )

    def connect(self, database: str = "postgres", *, autocommit: bool = True) -> Connection:
        """See `Target`."""
        try:
            return self._connect(database, autocommit=autocommit)
        except psycopg.OperationalError as error:
            if not (self.uses_tokens and failures.is_expired_token(error)):
                raise self._unreachable(error, database) from None
        self.tokens.forget()  # this machine's clock is behind
        try:
            return self._connect(database, autocommit=autocommit)
        except psycopg.OperationalError as error:
            raise self._unreachable(error, database) from None

    def _connect(self, database: str, *, autocommit: bool) -> Connection:
        login, endpoint = self.login, self.endpoint
        secret = login.password
        if self.uses_tokens:
            with explained(f"a token to log in to {self.id.name}"):
                secret = self.tokens.password()
        return unlimited(
            psycopg.connect(
                **OPTIONS,
                **endpoint.parameters(),
                user=login.user,
                password=secret,
                dbname=database,
                autocommit=autocommit,
                connect_timeout=CONNECT_TIMEOUT,
            )
        )

    def _unreachable(self, error: psycopg.OperationalError, database: str) -> TargetUnreachable:
        if (state := self._state_now()) not in {"Ready", "Updating", ""}:
            return TargetUnreachable(
                f"the server {self.id.name} is {state}. Start it: `az postgres flexible-server start "
                f"--ids {self.id}`."
            )
        where = f"{self.endpoint.host}:{self.endpoint.port}"
        return TargetUnreachable(
            f"{self.name} ({where}), database {database}: "
            + failures.in_words(error, user=str(self.login.user), token=self.uses_tokens)
        )

    def _state(self) -> str:
        return str(getattr(self.server.state, "value", self.server.state) or "")

    def _state_now(self) -> str:
        """The server's state, asked again; '' where Azure does not say."""
        with contextlib.suppress(AzureError):
            state = self.management.server().state
            return str(getattr(state, "value", state) or "")
        return ""

    # What it is

    def allowed_values(self, parameter: str) -> frozenset[str] | None:
        """See `Target`."""
        try:
            found = self.management.configuration(parameter)
        except ResourceNotFoundError:
            return None
        except AzureError as error:
            raise TargetUnreachable(
                f"server parameter {parameter} of {self.id.name}: {in_words(error)}"
            ) from None
        return frozenset(normalise(found.allowed_values or "")) or None

    def parameter(self, name: str) -> str:
        """See `Target`."""
        with explained(f"server parameter {name} of {self.id.name}"):
            return self.management.configuration(name).value or ""

    def pending_restart(self, parameter: str) -> bool:
        """See `Target`."""
        with explained(f"server parameter {parameter} of {self.id.name}"):
            return bool(self.management.configuration(parameter).is_config_pending_restart)

    def set_list(self, parameter: str, names: Sequence[str]) -> bool:
        """See `Target`. What the list holds stays in it, in its order: somebody may have added to it."""
        with explained(f"server parameter {parameter} of {self.id.name}"):
            found = self.management.add_to_list(parameter, normalise(join(names)))
        return bool(found.is_config_pending_restart)

    def missing_libraries(self, names: Sequence[str]) -> Mapping[str, str]:
        """None: that cannot be known of a server on Azure."""
        return {}

    def model_trouble(self, source: str, tokenizer: str | None) -> str:
        """Nothing: that cannot be known of a server on Azure."""
        return ""

    def registered_models(self) -> frozenset[str] | None:
        """None: only azure_local_ai knows."""
        return None

    def restart(self) -> None:
        """See `Target`."""
        with explained(f"the restart of {self.id.name}"):
            self.management.restart()
        until_it_answers(self, timeout=_RESTARTED)


def by_id(
    text: str, *, login: Login | None = None, ca: str | None = None, cloud: Cloud | None = None
) -> AzureTarget:
    """The server with a resource id. Raises `UsageError` for what is none."""
    found = ServerId.parse(text)
    if login is not None and login.password is not None and login.user is None:
        raise UsageError("a password needs a user to be of: name it with --user.")
    return AzureTarget(cloud or Cloud.from_environment(), found, login=login, ca=ca)
