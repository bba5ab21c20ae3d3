"""Replies of Azure's that the ARM twin never gives: the SDK's own clients on a server that says just that."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken

from azpg_provision.errors import ApplyFailed, TargetUnreachable
from azpg_provision.preflight.check import Status
from azpg_provision.preflight.needs import NO_SPEC
from azpg_provision.preflight.run import run
from azpg_provision.target.azure import AzureTarget
from azpg_provision.target.cloud import Cloud
from azpg_provision.target.resource import ServerId
from azpg_runtime.arm.identity import tls
from azpg_runtime.home import Home

SERVER = ServerId("0f0e0d0c-0b0a-0908-0706-050403020100", "group", "mute")
Replies = dict[str, Any]


class AnyToken:
    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken("token", int(time.time()) + 3600)


@pytest.fixture
def replies() -> Replies:
    """What is said of an address that ends so; writes change nothing."""
    return {
        f"/flexibleservers/{SERVER.name}": {
            "location": "eastus",
            "sku": {"name": "Standard_E4ds_v5", "tier": "MemoryOptimized"},
            "properties": {"version": "18", "state": "Ready"},
        }
    }


@pytest.fixture
def target(replies: Replies, tmp_path: Path) -> Iterator[AzureTarget]:
    """A server of which nothing is known but what `replies` holds; every list is empty."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0].lower()
            found = [reply for end, reply in replies.items() if path.endswith(end)]
            self.say(200, found[0] if found else {"value": []})

        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.say(202, {}, location=f"https://{self.headers['Host']}/operation", **{"retry-after": "0"})

        def say(self, status: int, reply: Any, **headers: str) -> None:
            body = json.dumps(reply).encode()
            self.send_response(status)
            for name, value in (headers | {"content-length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    home = Home(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certify(home))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        cloud = Cloud(AnyToken(), f"https://127.0.0.1:{server.server_port}", str(tls.trusted(home)))
        found = AzureTarget(cloud, SERVER)
        yield found
        found.close()
        server.shutdown()
        thread.join()


def test_a_region_that_nothing_is_said_of(target: AzureTarget) -> None:
    found = {check.id: check for check in run(target, NO_SPEC)}
    assert {found[one].status for one in ("region", "sku", "version", "quota")} == {Status.UNKNOWN}
    assert found["region"].reason == "Azure says nothing of eastus."
    assert found["quota"].reason == "Azure names no quota for Standard_E4ds_v5 in eastus."


def test_a_server_without_an_address(target: AzureTarget, replies: Replies) -> None:
    (about,) = replies.values()
    about["properties"]["state"] = "Starting"
    with pytest.raises(TargetUnreachable) as refused:
        target.connect()
    assert str(refused.value) == ("the server mute is Starting and has no address. Wait until it is Ready.")


@pytest.mark.parametrize(("value", "said"), [("vector", "vector"), ("", "empty")])
def test_a_list_that_does_not_keep_what_it_is_given(
    target: AzureTarget, replies: Replies, value: str, said: str
) -> None:
    replies["/configurations/azure.extensions"] = {"name": "azure.extensions", "properties": {"value": value}}
    with pytest.raises(ApplyFailed) as refused:
        target.set_list("azure.extensions", ["vector", "azure_ai"])
    assert str(refused.value) == (
        f"Azure accepts vector, azure_ai for azure.extensions of mute and does not keep it: the list is {said}. "
        "Look who else writes it, and try again."
    )
