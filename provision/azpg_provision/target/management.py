"""One flexible server as Azure Resource Manager shows it, by the unmodified SDK clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.mgmt.core.exceptions import ARMErrorFormat
from azure.mgmt.postgresqlflexibleservers import PostgreSQLManagementClient, models

from azpg.azure.busy import BUSY
from azpg.extensions import join, normalise
from azpg_provision.errors import ApplyFailed
from azpg_provision.target.cloud import Cloud
from azpg_provision.target.refusals import code
from azpg_provision.target.resource import ServerId

if TYPE_CHECKING:
    from azure.mgmt.cognitiveservices import CognitiveServicesManagementClient
    from azure.mgmt.cognitiveservices import models as cognitive

_ROLES_API = "2022-04-01"
_POLL = 5
"""Seconds between polls where Azure names no other time."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0
_ROUNDS = 3
_PATIENCE = 900.0
"""Seconds for which a busy server is asked again: scaling, or an upgrade by Azure, takes minutes."""

Done = TypeVar("Done")


class Management:
    """What can be asked of a server, and what is around it. Raises azure-core's errors.

    Writes are done one after the other, and again while the server is busy with another one.

    Args:
        cloud: where Azure is.
        server_id: the server.
        patience: seconds for which a busy server is asked again.
    """

    def __init__(self, cloud: Cloud, server_id: ServerId, *, patience: float = _PATIENCE) -> None:
        self.cloud = cloud
        self.id = server_id
        self._patience = patience
        self._one_write = threading.Lock()

    @cached_property
    def _postgres(self) -> PostgreSQLManagementClient:
        options = {"polling_interval": _POLL} | self.cloud.options()
        return PostgreSQLManagementClient(self.cloud.credential, self.id.subscription, **options)

    @cached_property
    def _cognitive(self) -> CognitiveServicesManagementClient:
        from azure.mgmt.cognitiveservices import CognitiveServicesManagementClient  # noqa: PLC0415

        options = self.cloud.options()
        return CognitiveServicesManagementClient(self.cloud.credential, self.id.subscription, **options)

    def close(self) -> None:
        """Closes the connections of the clients that were used."""
        for name in ("_postgres", "_cognitive"):
            if name in vars(self):
                vars(self).pop(name).close()

    # The server

    def server(self) -> models.Server:
        """The server as it is now."""
        return self._postgres.servers.get(self.id.group, self.id.name)

    def administrators(self) -> list[models.AdministratorMicrosoftEntra]:
        """Its Microsoft Entra administrators."""
        return list(self._postgres.administrators_microsoft_entra.list_by_server(self.id.group, self.id.name))

    def configuration(self, name: str) -> models.Configuration:
        """One server parameter."""
        return self._postgres.configurations.get(self.id.group, self.id.name, name)

    def add_to_list(self, name: str, names: Sequence[str]) -> models.Configuration:
        """Adds to a server parameter that is a list what is missing in it, and returns it as it is then.

        What is there stays, in its order. It is read again after it was written: a writer on another
        machine knows nothing of this one, and Azure has no conditional writes.
        """
        with self._one_write:
            for _ in range(_ROUNDS):
                found = self._patiently(lambda: self._add(name, names))
                if set(names) <= set(normalise(found.value or "")):
                    return found
        raise ApplyFailed(
            f"Azure accepts {', '.join(names)} for {name} of {self.id.name} and does not keep it: the list "
            f"is {found.value or 'empty'}. Look who else writes it, and try again."
        )

    def _add(self, name: str, names: Sequence[str]) -> models.Configuration:
        """One try, from what is there now: while the server was busy, somebody may have added to it."""
        found = self.configuration(name)
        there = normalise(found.value or "")
        if set(names) <= set(there):
            return found
        wanted = models.ConfigurationForUpdate(
            properties=models.ConfigurationProperties(
                value=join(dict.fromkeys([*there, *names])), source="user-override"
            )
        )
        self._postgres.configurations.begin_update(self.id.group, self.id.name, name, wanted).result()
        return self.configuration(name)

    def restart(self) -> None:
        """Restarts the server; returns when Azure says that it is done."""
        with self._one_write:
            self._patiently(
                lambda: self._postgres.servers.begin_restart(self.id.group, self.id.name).result()
            )

    def _patiently(self, write: Callable[[], Done]) -> Done:
        deadline = time.monotonic() + self._patience
        pause = _FIRST_PAUSE
        while True:
            try:
                return write()
            except HttpResponseError as error:
                if code(error) not in BUSY or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    # What is around it

    def capabilities(self, region: str) -> list[models.Capability]:
        """What a region offers this subscription."""
        return list(self._postgres.capabilities_by_location.list(region))

    def usages(self, region: str) -> list[models.QuotaUsage]:
        """The vCores in use, and their limits, by family."""
        return list(self._postgres.quota_usages.list(region))

    def accounts(self) -> list[cognitive.Account]:
        """The subscription's AI accounts."""
        return list(self._cognitive.accounts.list())

    def deployments(self, group: str, account: str) -> list[cognitive.Deployment]:
        """The models deployed in an account."""
        return list(self._cognitive.deployments.list(group, account))

    def role_assignments(self, scope: str, principal: str) -> list[dict[str, Any]]:
        """A principal's roles in a scope, as far as Azure tells: at it, above and below it.

        There is a client for this, which would be one more thing to install for one request.
        """
        path = f"{quote(scope)}/providers/Microsoft.Authorization/roleAssignments"
        query = {"api-version": _ROLES_API, "$filter": f"principalId eq '{principal}'"}
        found: list[dict[str, Any]] = []
        request: HttpRequest | None = HttpRequest("GET", path, params=query)
        while request is not None:
            response = self._postgres.send_request(request)
            if response.status_code != 200:
                raise HttpResponseError(response=response, error_format=ARMErrorFormat)
            page = response.json()
            found += page["value"]
            following = page.get("nextLink")
            request = HttpRequest("GET", following) if following else None
        return found
