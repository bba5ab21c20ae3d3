"""Pulumi's resource provider protocol for azure-native, answered by the ARM twin.

The methods are those of the gRPC service; names, and who calls them when, are in Pulumi's provider.proto.
Secrets stay with the engine: it unwraps them before it asks, and marks the same properties of an answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import TypeAlias, TypeVar

import grpc
from azure.core.exceptions import AzureError, HttpResponseError
from google.protobuf import any_pb2, empty_pb2
from google.rpc import status_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from azpg_runtime.errors import PulumiError
from azpg_runtime.pulumi import functions
from azpg_runtime.pulumi.arm import Arm, is_busy
from azpg_runtime.pulumi.journal import Journal
from azpg_runtime.pulumi.kind import Json, Kind, changes, kinds
from azpg_runtime.pulumi.values import has_unknown, over, to_python, to_struct

Context: TypeAlias = grpc.ServicerContext
S = TypeVar("S")
Q = TypeVar("Q")
R = TypeVar("R")
_DIFF = provider_pb2.PropertyDiff


def _answers(method: Callable[[S, Q, Context], R]) -> Callable[[S, Q, Context], R]:
    """Turns errors that people can do something about into what the engine shows."""

    @wraps(method)
    def wrapped(self: S, request: Q, context: Context) -> R:
        try:
            return method(self, request, context)
        except PulumiError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except AzureError as error:
            context.abort(grpc.StatusCode.UNKNOWN, _words(error))
        raise AssertionError("abort raises")

    return wrapped


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One provider process.

    Args:
        connect: how ARM is reached; called when the first request needs it.
        journal: of what is being created.
        version: what the engine is told, the SDK's.
    """

    def __init__(self, connect: Callable[[], Arm], journal: Journal, version: str) -> None:
        self._connect = connect
        self._connected: Arm | None = None
        self._connecting = threading.Lock()
        self._journal = journal
        self._version = version
        self._location: str | None = None

    @property
    def _arm(self) -> Arm:
        with self._connecting:
            if self._connected is None:
                self._connected = self._connect()
            return self._connected

    # The provider itself

    def GetPluginInfo(self, request: empty_pb2.Empty, context: Context) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(
        self, request: provider_pb2.GetSchemaRequest, context: Context
    ) -> provider_pb2.GetSchemaResponse:
        return provider_pb2.GetSchemaResponse(
            schema=f'{{"name": "azure-native", "version": "{self._version}"}}'
        )

    def CheckConfig(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: Context) -> provider_pb2.DiffResponse:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    @_answers
    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: Context
    ) -> provider_pb2.ConfigureResponse:
        self._location = to_python(request.args).get("location")
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Cancel(self, request: empty_pb2.Empty, context: Context) -> empty_pb2.Empty:
        self.cancel()
        return empty_pb2.Empty()

    def cancel(self) -> None:
        """Ends all waiting for Azure, which goes on."""
        if self._connected is not None:
            self._connected.cancel()

    # Resources

    @_answers
    def Check(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        kind, news = _kind(request.urn), to_python(request.news)
        inputs = kind.check(
            news, to_python(request.olds), _name(request.urn), self._location, request.randomSeed
        )
        failures = [
            provider_pb2.CheckFailure(property=name, reason=reason) for name, reason in kind.wrong(inputs)
        ]
        return provider_pb2.CheckResponse(inputs=to_struct(inputs), failures=failures)

    @_answers
    def Diff(self, request: provider_pb2.DiffRequest, context: Context) -> provider_pb2.DiffResponse:
        kind = _kind(request.urn)
        self._journal.end(request.id)
        ignored = set(request.ignoreChanges)
        kinds_of_change = {"add": _DIFF.ADD, "delete": _DIFF.DELETE, "update": _DIFF.UPDATE}
        replacing = {"add": _DIFF.ADD_REPLACE, "delete": _DIFF.DELETE_REPLACE, "update": _DIFF.UPDATE_REPLACE}
        response = provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_NONE, hasDetailedDiff=True, deleteBeforeReplace=True
        )
        for path, change in changes(to_python(request.old_inputs), to_python(request.news)):
            if path in ignored:
                continue
            replaces = kind.replaces(path)
            response.changes = provider_pb2.DiffResponse.DIFF_SOME
            response.diffs.append(path)
            response.detailedDiff[path].kind = (replacing if replaces else kinds_of_change)[change]
            response.detailedDiff[path].inputDiff = True
            if replaces:
                response.replaces.append(path)
        return response

    @_answers
    def Create(self, request: provider_pb2.CreateRequest, context: Context) -> provider_pb2.CreateResponse:
        kind, inputs = _kind(request.urn), to_python(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=to_struct(inputs))
        resource_id = kind.id(inputs, self._arm.subscription)
        if kind.delete == "delete" and not self._journal.began(resource_id, request.urn):
            if self._arm.get(resource_id, kind.api) is not None:
                raise PulumiError(
                    f"{resource_id} exists already, and this stack has not made it",
                    hint=f"Choose another name, or take it over: `pulumi import {kind.token} NAME ID`.",
                )
            self._journal.begin(resource_id, request.urn)
        try:
            answer = self._arm.put(resource_id, kind.api, kind.body(inputs), timeout=request.timeout)
        except AzureError as error:
            self._abort_created(context, kind, resource_id, inputs, error)
        return provider_pb2.CreateResponse(id=resource_id, properties=to_struct(kind.outputs(answer)))

    @_answers
    def Read(self, request: provider_pb2.ReadRequest, context: Context) -> provider_pb2.ReadResponse:
        kind = _kind(request.urn)
        if kind.parse(request.id) is None:
            raise PulumiError(
                f"{request.id} is no id of {kind.token}",
                hint=f"Such an id is {kind.path}.",
            )
        answer = self._arm.get(request.id, kind.api)
        self._journal.end(request.id)
        if answer is None:
            return provider_pb2.ReadResponse()
        inputs = to_python(request.inputs)
        inputs = kind.live(inputs, answer) if inputs else kind.imported(request.id, answer)
        return provider_pb2.ReadResponse(
            id=request.id, inputs=to_struct(inputs), properties=to_struct(kind.outputs(answer))
        )

    @_answers
    def Update(self, request: provider_pb2.UpdateRequest, context: Context) -> provider_pb2.UpdateResponse:
        kind, inputs = _kind(request.urn), to_python(request.news)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=to_struct(over(to_python(request.olds), inputs)))
        answer = self._arm.put(request.id, kind.api, kind.body(inputs), timeout=request.timeout)
        return provider_pb2.UpdateResponse(properties=to_struct(kind.outputs(answer)))

    @_answers
    def Delete(self, request: provider_pb2.DeleteRequest, context: Context) -> empty_pb2.Empty:
        kind = _kind(request.urn)

        def delete() -> None:
            if kind.delete == "default":
                self._reset(kind, request.id)
            else:
                self._arm.delete(request.id, kind.api, timeout=request.timeout)

        # `pulumi destroy` runs no program, so that nobody else tries again.
        self._arm.when_idle(delete, timeout=request.timeout)
        # Unlike azure-native: an offline stack is made again more often than restored.
        if remains := kind.remains(request.id, to_python(request.properties)):
            self._arm.delete(remains, kind.api, timeout=request.timeout)
        self._journal.end(request.id)
        return empty_pb2.Empty()

    @_answers
    def Invoke(self, request: provider_pb2.InvokeRequest, context: Context) -> provider_pb2.InvokeResponse:
        arguments = to_python(request.args)
        if has_unknown(arguments):
            return provider_pb2.InvokeResponse()
        answer = functions.invoke(self._arm, request.tok, arguments)
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(to_struct(answer))
        return response

    def _reset(self, kind: Kind, resource_id: str) -> None:
        """Gives a server parameter its default back, which is what deleting it means."""
        answer = self._arm.get(resource_id, kind.api)
        if answer is None:
            return
        properties = answer.get("properties", {})
        if properties.get("value") != properties.get("defaultValue"):
            body = {"value": properties.get("defaultValue"), "source": properties.get("source")}
            self._arm.put(resource_id, kind.api, {"properties": body})

    def _abort_created(
        self, context: Context, kind: Kind, resource_id: str, inputs: Json, error: AzureError
    ) -> None:
        """Ends a creation that failed; what it left behind goes into Pulumi's state."""
        if is_busy(error):
            # Refused for the moment: the program asks again. Told of what there is, the engine would keep the
            # note of an unfinished creation when the next try succeeds, and update without a cause (pulumi
            # issue 24683). It may be our own request whose answer got lost, and that is still being done.
            raise error
        try:
            answer = self._arm.get(resource_id, kind.api)
        except AzureError:
            raise error from None  # the journal knows; the next `up` goes on
        if answer is None:
            if isinstance(error, HttpResponseError):  # which is an answer: nothing is under way any more
                self._journal.end(resource_id)
            raise error
        left = provider_pb2.ErrorResourceInitFailed(
            id=resource_id,
            properties=to_struct(kind.outputs(answer)),
            inputs=to_struct(kind.live(inputs, answer)),
            reasons=[_words(error)],
        )
        detail = any_pb2.Any()
        detail.Pack(left)
        status = status_pb2.Status(
            code=grpc.StatusCode.UNKNOWN.value[0], message=_words(error), details=[detail]
        )
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.UNKNOWN, _words(error))


def _kind(urn: str) -> Kind:
    token = urn.split("::")[2].rsplit("$", 1)[-1]
    kind = kinds().get(token)
    if kind is None:
        raise PulumiError(
            f"the offline provider does not know the resource type {token}",
            detail=f"It knows {', '.join(sorted(kinds()))}.",
            hint="Run this program against Azure, or take the resource out of the offline stack.",
        )
    return kind


def _name(urn: str) -> str:
    return urn.split("::", 3)[3]


def _words(error: AzureError) -> str:
    """The error as one line; azure-core's own text has the request's headers and a page more."""
    if isinstance(error, HttpResponseError) and error.error is not None:
        return f"{error.error.code}: {error.error.message}"
    return (str(error.message) or type(error).__name__).splitlines()[0]
