"""Server parameters, as the local server has them."""

from __future__ import annotations

from azure.mgmt.postgresqlflexibleservers import models

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.postgres import refusals
from azpg_runtime.arm.postgres.parts import Part, refused
from azpg_runtime.arm.postgres.servers import Servers
from azpg_runtime.arm.schema.document import check
from azpg_runtime.arm.services import not_found
from azpg_runtime.arm.state import Json
from azpg_runtime.errors import ParameterRefused
from azpg_runtime.postgres.parameters import EXTENSIONS, Parameter

_SOURCES = ("user-override", "system-default")
_DOCUMENTATION = "https://www.postgresql.org/docs/current/runtime-config.html"
_DOCUMENTATIONS = {EXTENSIONS: "https://go.microsoft.com/fwlink/?linkid=2274269"}
"""As Azure answers, where that was seen."""


class Configurations(Part):
    """Microsoft.DBforPostgreSQL/flexibleServers/configurations: all exist; PUT changes one."""

    resource_type = "Microsoft.DBforPostgreSQL/flexibleServers/configurations"
    model = models.Configuration
    patch_model = models.ConfigurationForUpdate

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers)
        self.services.operations.verb("configuration.set", self._set)

    def get(self, call: Call) -> Answer:
        """One parameter."""
        return Answer(body=self._body(call.address, self._parameter(call.address)))

    def listing(self, call: Call) -> Answer:
        """All parameters."""
        self.server(call.address)
        parent = call.address.parent
        assert parent is not None
        return listed(
            [
                self._body(parent.child("configurations", one.name), one)
                for one in self.instance(call.address).parameters()
            ]
        )

    def put(self, call: Call) -> Answer:
        """Changes a parameter."""
        return self._write(call, check(models.Configuration, call.body, "create"))

    def patch(self, call: Call) -> Answer:
        """Changes a parameter, which is all that PUT does."""
        return self._write(call, check(models.ConfigurationForUpdate, call.body, "update"))

    def delete(self, call: Call) -> Answer:
        """There is no such request: the default is written back instead."""
        raise refusals.method_not_allowed(call.method, self.resource_type, "GET, PUT, PATCH")

    def _write(self, call: Call, body: Json) -> Answer:
        parameter = self._parameter(call.address)
        wanted = body.get("properties", {})
        source = wanted.get("source", "user-override")
        if source not in _SOURCES:
            raise refusals.invalid("source", f"'{source}' is none of {', '.join(_SOURCES)}.")
        value = wanted.get("value")
        if value is None and source == "user-override":
            raise refusals.invalid(
                "value", "A configuration needs a value; source system-default returns to the default."
            )
        if parameter.is_read_only:
            raise refusals.invalid(parameter.name, "The server parameter is read-only.")
        reset = source == "system-default" and value in {None, parameter.default_value}
        named = self.spelled(call.address).parent
        assert named is not None
        address = named.child("configurations", parameter.name)
        return self.begin(call, "configuration.set", address, {"value": None if reset else value})

    def _set(self, address: Address, arguments: Json) -> None:
        instance, value = self.instance(address), arguments["value"]
        try:
            if value is None:
                instance.reset_parameter(address.name)
            else:
                instance.set_parameter(address.name, value)
        except ParameterRefused as error:
            raise refused(error) from None

    def _parameter(self, address: Address) -> Parameter:
        self.server(address)
        instance = self.instance(address)
        try:
            return instance.parameter(address.name)
        except ParameterRefused:
            for one in instance.parameters():
                if one.name.lower() == address.name.lower():
                    return one
            raise not_found(address.spelled(self.resource_type)) from None

    def _body(self, address: Address, one: Parameter) -> Json:
        placed = self.spelled(address)
        return {
            "id": f"{placed.parent}/configurations/{one.name}",
            "name": one.name,
            "type": self.resource_type,
            "properties": {
                "value": one.value,
                "description": one.description,
                "defaultValue": one.default_value,
                "dataType": one.data_type,
                "allowedValues": one.allowed_values,
                "source": one.source,
                "isDynamicConfig": one.is_dynamic_config,
                "isReadOnly": one.is_read_only,
                "isConfigPendingRestart": one.is_config_pending_restart,
                **({"unit": one.unit} if one.unit else {}),
                "documentationLink": _DOCUMENTATIONS.get(one.name, _DOCUMENTATION),
            },
        }
