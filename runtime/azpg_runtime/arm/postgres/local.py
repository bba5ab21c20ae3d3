"""What operations on flexible servers do: each is a local server of its name."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from azpg.azure.regions import short_name
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.services import Services
from azpg_runtime.arm.state import Json, Resource
from azpg_runtime.errors import InstanceError, RuntimeTwinError
from azpg_runtime.files import make_folder, write_atomically
from azpg_runtime.postgres.instance import Instance, Wishes
from azpg_runtime.postgres.roles import DEFAULT_ADMIN

log = logging.getLogger(__name__)

PASSING = {
    "server.create": "Provisioning",
    "server.update": "Updating",
    "server.delete": "Dropping",
    "server.restart": "Restarting",
    "server.start": "Starting",
    "server.stop": "Stopping",
}
"""The state of a server while an operation works on it."""


class LocalServers:
    """The local servers that flexible servers stand for, and the verbs that change them.

    Every verb can be done again from its beginning.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        verb = services.operations.verb
        verb("server.create", self._create, undo=lambda server, _: self.remove(server))
        verb("server.update", self._update, undo=self._restore)
        verb("server.delete", lambda server, _: self.remove(server))
        verb("server.restart", lambda server, _: self._find(server)[1].restart())
        verb("server.start", self._start)
        verb("server.stop", self._stop)

    def is_ours(self, resource: Resource) -> bool:
        """Whether the local server is there, and was made for this resource."""
        home = self._services.instance(resource.address).home
        try:
            return home.description.exists() and home.resource.read_text() == resource.body["id"]
        except FileNotFoundError:
            return False

    def renew_trust(self, servers: Iterable[Resource]) -> None:
        """Tells servers the present keys, which are others when the key was lost or replaced."""
        for server in servers:
            entra = self._services.instance(server.address).entra
            try:
                known = entra.access()
                if known.trust is None or not self.is_ours(server):
                    continue
                trust = self._services.identity.issuer.trust
                if known.trust != trust:
                    entra.allow(password=known.password, trust=trust)
                    log.info("%s takes tokens of the present key", server.address.name)
            except (RuntimeTwinError, OSError) as error:  # others go on, and so does the twin
                log.warning("%s is not told the present key: %s", server.address.name, error)

    def remove(self, server: Address) -> None:
        """Removes a server now, whole or half made."""
        resource = self._services.state.get(server)
        instance = self._services.instance(server)
        if resource is not None and instance.home.resource.is_file():
            if instance.home.resource.read_text() != resource.body["id"]:
                raise InstanceError(f"the local server {instance.name!r} belongs to another resource.")
            instance.discard()
        self._services.delete(server)

    def _find(self, server: Address) -> tuple[Resource, Instance]:
        return self._services.existing(server), self._services.instance(server)

    def _create(self, server: Address, arguments: Json) -> None:
        resource, instance = self._find(server)
        self._services.home.create()
        make_folder(instance.home.root, 0o711 if os.geteuid() == 0 else 0o700)
        write_atomically(instance.home.resource, str(resource.body["id"]))
        own = resource.properties
        instance.up(
            Wishes(
                major=int(own["version"]),
                admin=own.get("administratorLogin") or DEFAULT_ADMIN,
                admin_password=arguments["password"],
                location=short_name(resource.body["location"]),
                sku=resource.body["sku"]["name"],
                profile=self._services.settings.profile,
                created_newly=True,
            )
        )
        self._allow(resource, instance)
        self._note_version(resource, instance)

    def _update(self, server: Address, arguments: Json) -> None:
        resource, instance = self._find(server)
        instance.up(Wishes(sku=resource.body["sku"]["name"], admin_password=arguments["password"]))
        self._allow(resource, instance)
        if arguments["restart"]:  # other compute is another machine
            instance.restart()

    def _restore(self, server: Address, arguments: Json) -> None:
        """A change that failed is none."""
        resource = self._services.existing(server)
        resource.body = arguments["before"]
        self._services.state.put(resource)

    def _start(self, server: Address, _: Json) -> None:
        resource, instance = self._find(server)
        instance.up()
        self._note_version(resource, instance)

    def _stop(self, server: Address, _: Json) -> None:
        self._find(server)[1].down()

    def _allow(self, resource: Resource, instance: Instance) -> None:
        """Lets people log in as the server's authConfig says."""
        wanted = resource.properties["authConfig"]
        entra = wanted["activeDirectoryAuth"] == "Enabled"
        instance.entra.allow(
            password=wanted["passwordAuth"] == "Enabled",
            trust=self._services.identity.issuer.trust if entra else None,
        )

    def _note_version(self, resource: Resource, instance: Instance) -> None:
        """An update of azpg may have brought another minor version."""
        resource.properties["minorVersion"] = instance.status().postgres_version.partition(".")[2]
        self._services.state.put(resource)
