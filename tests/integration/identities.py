"""The identity endpoints as a running process, and programs that know nothing of it."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from azpg_runtime.arm.identity import tls
from azpg_runtime.arm.identity.environment import environment
from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.arm.identity.service import IdentityService
from azpg_runtime.arm.identity.tokens import Issuer
from azpg_runtime.home import Home
from tests.conftest import ROOT, new_home, remove_home

PATIENCE = 60
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Service:
    """The endpoints as a running process."""

    home: Home
    identities: Identities
    issuer: Issuer
    port: int
    proxy_port: int

    @property
    def environment(self) -> dict[str, str]:
        return environment(
            self.identities, port=self.port, proxy_port=self.proxy_port, trusted=tls.trusted(self.home)
        )

    def run(self, program: str, **variables: str) -> Any:
        """What a Python program prints as JSON, in an environment without anything of the test's own."""
        done = self.attempt(program, **variables)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def attempt(self, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.home.root)}
        return subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "-c", program],
            check=False,
            env=clean | self.environment | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def ask(
        self, path: str, body: str | None = None, *, content_type: str = FORM, **headers: str
    ) -> tuple[int, Any]:
        """Status and body of one request, as a program without any SDK sends it."""
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}",
            data=None if body is None else body.encode(),
            headers={name.replace("_", "-"): value for name, value in headers.items()}
            | ({} if body is None else {"Content-Type": content_type}),
        )
        context = ssl.create_default_context(cafile=tls.trusted(self.home))
        opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})
        )
        try:
            with opener.open(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@contextmanager
def running_service() -> Iterator[Service]:
    """The endpoints in a home of their own; afterwards nothing is left of either."""
    home = new_home()
    found = IdentityService(home)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    port, proxy_port = (listener.getsockname()[1] for listener in listeners)
    descriptors = [listener.fileno() for listener in listeners]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.integration.identity_service", "--home", str(home.root)),
            *("--fd", str(descriptors[0]), "--proxy-fd", str(descriptors[1])),
        ],
        pass_fds=descriptors,
        cwd=ROOT,
    )
    for listener in listeners:  # callers queue in the sockets until the process serves them
        listener.close()
    try:
        yield Service(home, found.identities, found.issuer, port, proxy_port)
    finally:
        process.terminate()
        process.wait(PATIENCE)
        remove_home(home)
