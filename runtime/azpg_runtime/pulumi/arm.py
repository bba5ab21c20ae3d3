"""Azure Resource Manager as the provider needs it: GET, PUT, POST and DELETE of ids, by azure-core.

Retries (429, 5xx, lost connections), long-running operations and errors are azure-core's own. Where ARM is,
and who asks, comes from the environment that `azpg arm env` prints.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import cast
from urllib.parse import quote

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import RequestIdPolicy, RetryPolicy
from azure.core.polling import LROPoller
from azure.core.rest import HttpRequest, HttpResponse
from azure.identity import DefaultAzureCredential
from azure.mgmt.core import ARMPipelineClient
from azure.mgmt.core.exceptions import ARMErrorFormat
from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy
from azure.mgmt.core.polling.arm_polling import ARMPolling

from azpg.azure.busy import BUSY
from azpg_runtime.errors import PulumiError
from azpg_runtime.pulumi.kind import Json

_Response = PipelineResponse[HttpRequest, HttpResponse]

SCOPE = "https://management.azure.com/.default"
_POLL = 0.2
"""Seconds between polls where the server names no other time."""
_BACKOFF = 0.05
"""Seconds before the second try of a request, doubled with each further one."""


_STEP = 0.2
"""Seconds after which a cancellation is noticed."""

_PATIENCE, _LONGEST = 120.0, 5.0
"""Seconds for which busy things are asked again, and between two questions at most."""

_GOES_ON = "Azure goes on with it, and `azpg pulumi refresh` tells how it ended"


class Arm:
    """One subscription's resources.

    A timeout is in seconds, and 0 is none; what ARM has begun goes on when it is over.

    Raises `PulumiError` when the environment does not say where ARM is, and what azure-core raises.
    """

    def __init__(self, credential: TokenCredential | None = None) -> None:
        self.endpoint = _needed("AZPG_ARM_ENDPOINT").rstrip("/")
        self.subscription = _needed("AZURE_SUBSCRIPTION_ID")
        self._cancelled = threading.Event()
        self.credential = credential or DefaultAzureCredential()
        # What is sent and received may hold passwords: nothing of it is logged.
        policies = [
            RequestIdPolicy(),
            RetryPolicy(retry_backoff_factor=_BACKOFF),
            ARMChallengeAuthenticationPolicy(self.credential, SCOPE),
        ]
        self._client: ARMPipelineClient[HttpRequest, HttpResponse] = ARMPipelineClient(
            self.endpoint, policies=policies
        )

    def get(self, resource_id: str, api: str) -> Json | None:
        """The resource, or None if there is none."""
        response = self._send("GET", resource_id, api).http_response
        return None if response.status_code == 404 else self._json(response)

    def put(self, resource_id: str, api: str, body: Json, *, timeout: float = 0) -> Json:
        """Creates or updates; returns the resource when the operation has ended well."""
        self._wait(self._send("PUT", resource_id, api, body), timeout)
        found = self.get(resource_id, api)
        if found is None:
            raise PulumiError(f"{resource_id} is not there although ARM accepted it.")
        return found

    def delete(self, resource_id: str, api: str, *, timeout: float = 0) -> None:
        """Deletes, which a resource that is not there is already."""
        response = self._send("DELETE", resource_id, api)
        if response.http_response.status_code not in (204, 404):
            self._wait(response, timeout)

    def when_idle(self, work: Callable[[], None], *, timeout: float = 0) -> None:
        """Does `work`, and again while ARM is busy, as the program's own patience does where one runs."""
        end, pause = time.monotonic() + (timeout or _PATIENCE), _STEP
        while True:
            try:
                return work()
            except HttpResponseError as error:
                if not is_busy(error) or time.monotonic() + pause > end:
                    raise
            if self._cancelled.wait(pause):
                raise AzureError("cancelled while something else was being done there; nothing was changed")
            pause = min(2 * pause, _LONGEST)

    def post(self, resource_id: str, api: str) -> Json:
        """The answer to an action."""
        return self._json(self._send("POST", resource_id, api).http_response)

    def cancel(self) -> None:
        """Ends all waiting, now and later."""
        self._cancelled.set()

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _send(self, method: str, resource_id: str, api: str, body: Json | None = None) -> _Response:
        url = f"{self.endpoint}{quote(resource_id)}"  # a name may have a ? or a space
        request = HttpRequest(method, url, params={"api-version": api}, json=body)
        response = cast(_Response, self._client.send_request(request, _return_pipeline_response=True))
        status = response.http_response.status_code
        if status >= 400 and not (status == 404 and method in ("GET", "DELETE")):
            raise HttpResponseError(response=response.http_response, error_format=ARMErrorFormat)
        return response

    def _wait(self, response: _Response, timeout: float) -> None:
        """Until the long-running operation that `response` announced, if any, has ended."""
        answer = response.http_response
        if answer.status_code == 202 or "azure-asyncoperation" in answer.headers:
            poller = LROPoller(self._client, response, lambda _: None, ARMPolling(_POLL))
            began = time.monotonic()
            while not poller.done():
                poller.wait(_STEP)
                if self._cancelled.is_set():
                    raise AzureError(f"cancelled; {_GOES_ON}")
                if timeout and time.monotonic() - began > timeout and not poller.done():
                    raise AzureError(f"not done after {timeout:g} s, the custom timeout; {_GOES_ON}")
            poller.result()

    @staticmethod
    def _json(response: HttpResponse) -> Json:
        content = response.json()
        if not isinstance(content, dict):
            raise PulumiError("ARM answered with something that is no JSON object.")
        return content


def is_busy(error: AzureError) -> bool:
    """Whether ARM refused something only because something else is being done there."""
    return isinstance(error, HttpResponseError) and error.error is not None and error.error.code in BUSY


def _needed(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise PulumiError(f"{name} is not set. Run `azpg pulumi`, which sets it, or eval `azpg arm env`.")
    return value
